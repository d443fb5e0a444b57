"""Changes of colour in JAX and in OpenCV against TensorFlow's, and how much of them is drawn."""

from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

from training import augmentation, colour, image_colours

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 20, 3)).astype(np.uint8)
IMAGES[0, :4] = 200  # grey
IMAGES[1, :4] = (255, 0, 0)
IMAGES[2, :4] = 0


def in_jax(changes, amounts) -> np.ndarray:
    return np.asarray(colour.apply(changes, IMAGES, np.float32(amounts)))


def in_opencv(changes, amounts) -> np.ndarray:
    before = IMAGES.copy()
    done = [image_colours.apply(changes, image, own) for image, own in zip(IMAGES, amounts, strict=True)]
    assert np.array_equal(IMAGES, before) and all(image.dtype == np.float32 for image in done)
    return np.stack(done)


both = pytest.mark.parametrize("apply", [in_jax, in_opencv])


@both
@pytest.mark.parametrize(
    ("name", "amounts", "change"),
    [
        ("random_adjust_brightness", (-0.15, 0, 0.15), tf.image.adjust_brightness),
        ("random_adjust_contrast", (0.7, 1, 1.3), tf.image.adjust_contrast),
        ("random_adjust_saturation", (0.6, 1, 1.4), tf.image.adjust_saturation),
        ("random_adjust_saturation", (0, 3, 10), tf.image.adjust_saturation),
        ("random_adjust_hue", (-0.02, 0, 0.02), tf.image.adjust_hue),
        ("random_adjust_hue", (-0.5, 0.3, 0.9), tf.image.adjust_hue),
    ],
)
def test_as_tensorflow_changes_colours(apply, name, amounts, change):
    found = apply([{"name": name}], np.array(amounts)[:, None])
    for image, amount, ours in zip(IMAGES, amounts, found, strict=True):
        true = np.clip(change(tf.constant(image, tf.float32) / 255, amount) * 255, 0, 255)
        np.testing.assert_allclose(ours, true, atol=0.02)


@both
def test_grey_is_that_of_the_od_api(apply):
    import_module("training.od_api")  # puts the shims in place
    from object_detection.core import preprocessor

    found = apply([{"name": "random_rgb_to_gray"}], [[1], [0], [1]])
    for image, grey, ours in zip(IMAGES, (1, 0, 1), found, strict=True):
        true = preprocessor._rgb_to_grayscale(tf.constant(image, tf.float32)).numpy() if grey else image
        np.testing.assert_allclose(
            ours, np.broadcast_to(true, image.shape), atol=0.05
        )  # OpenCV's luma has a digit more


@both
def test_changes_come_in_their_order_and_are_cut_in_between(apply):
    changes = [{"name": "random_adjust_brightness"}, {"name": "random_adjust_contrast"}]
    found = apply(changes, [[0.5, 0.5]] * 3)
    bright = np.clip(IMAGES + 127.5, 0, 255)
    mean = bright.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(found, mean + (bright - mean) * 0.5, atol=0.02)


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        ({"name": "random_adjust_brightness", "max_delta": 0.2}, -0.2, 0.2),
        ({"name": "random_adjust_contrast", "min_delta": 0.7, "max_delta": 1.3}, 0.7, 1.3),
        ({"name": "random_adjust_saturation", "min_delta": 0.6, "max_delta": 1.4}, 0.6, 1.4),
        ({"name": "random_adjust_hue", "max_delta": 0.02}, -0.02, 0.02),
        ({"name": "random_rgb_to_gray", "probability": 0.1}, 1, 0),
        ({"name": "random_horizontal_flip", "probability": 0.5}, 1, 0),
    ],
)
def test_amounts(change, low, high):
    assert augmentation.amount(change, 0.0) == pytest.approx(low)
    assert augmentation.amount(change, 0.9999999) == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize("module", [colour, image_colours])
def test_each_change_has_its_function(module):
    assert set(augmentation.COLOURS) == set(module._CHANGES)
