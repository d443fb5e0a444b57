"""Letterboxing and normalising, against TensorFlow's own."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.model import Model
from detect_faces.preprocessing import letterbox_size, network_input
from tests.detect_faces.tensorflow_resizing import legacy_resize, noise

MODEL = Model("m", Path("m"), 320, 320, (), True, 127.0, 2 / 255, -1.0, 0.01, 0.45, 400, 0.5)


def aspect_preserving_size(width: int, height: int, input_width: int, input_height: int) -> tuple[int, int]:
    """What tf.compat.v1.image.resize_images, and with it the OD API's resize_to_range, makes of an image."""
    shape = tf.compat.v1.image.resize_images(
        tf.zeros((height, width, 1), tf.uint8),
        (input_height, input_width),
        method=tf.compat.v1.image.ResizeMethod.NEAREST_NEIGHBOR,
        preserve_aspect_ratio=True,
    ).shape
    return shape[1], shape[0]


@settings(max_examples=300, deadline=None)
@given(width=st.integers(5, 2000), height=st.integers(5, 2000), side=st.sampled_from([300, 320, 512, 640]))
def test_letterbox_size_is_tensorflows(width, height, side):
    if max(width, height) < 200 * min(width, height):
        assert letterbox_size(width, height, side, side) == aspect_preserving_size(width, height, side, side)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((1, 1), (320, 320)),
        ((640, 320), (320, 160)),
        ((320, 1281), (80, 320)),
        ((4000, 2), (320, 1)),  # TensorFlow would make it zero pixels high
        ((1, 65500), (1, 320)),
    ],
)
def test_letterbox_size(image, expected):
    assert letterbox_size(*image, 320, 320) == expected


def test_network_input_is_rgb_normalised_and_padded_below():
    image = np.zeros((160, 320, 3), np.uint8)
    image[...] = (255, 0, 51)  # blue 1, green 0, red 0.2
    pixels, size = network_input(image, MODEL)
    assert size == (320, 160)
    assert pixels.shape == (1, 320, 320, 3) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, :160], np.broadcast_to([-0.6, -1, 1], (160, 320, 3)), atol=1e-6)
    np.testing.assert_allclose(pixels[0, 160:], 127 * 2 / 255 - 1, atol=1e-6)


def test_network_input_stretches_as_the_graph_does():
    pixels, size = network_input(noise(40, 20), dataclasses.replace(MODEL, letterbox=False), as_graph=True)
    assert size == (320, 320)
    expected = legacy_resize(noise(40, 20), 320, 320)[..., ::-1] * 2 / 255 - 1
    np.testing.assert_allclose(pixels[0], expected, atol=9 * 2 / 255)  # see test_resizing
