"""Resizing against TensorFlow's own: whole images, and parts of them; grey is where there is no image."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.resizing import resize_bilinear, resize_part
from tests.detect_faces.tensorflow_resizing import legacy_resize, noise

GREY = 127
SIZE = (64, 96)  # height, width


def by_tensorflow(image, offset, extent):
    """The part by itself, padded with grey, and then resized."""
    whole = np.pad(image, ((400, 400), (400, 400), (0, 0)), constant_values=GREY)
    (y, x), (height, width) = offset, extent
    part = whole[400 + y : 400 + y + height, 400 + x : 400 + x + width]
    return tf.compat.v1.image.resize_bilinear(part[None].astype(np.float32), SIZE)[0].numpy()


@pytest.mark.parametrize(
    ("offset", "extent"),
    [
        ((10, 20), (160, 240)),
        ((100, 200), (33, 50)),  # enlarged
        ((0, 0), (240, 320)),
        ((17, 40), SIZE),
        ((-30, -50), (200, 300)),
        ((-20, -100), (400, 600)),  # more than the image
        ((150, 250), (128, 192)),
    ],
)
def test_pixels_are_those_of_tensorflow(offset, extent):
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (240, 320), "bicubic").numpy().clip(0, 255).astype(np.uint8)
    ours, true = resize_part(image, offset, extent, SIZE, GREY), by_tensorflow(image, offset, extent)
    assert ours.shape == (*SIZE, 3) and ours.dtype == np.uint8
    # Not at the last pixels: behind those of a part there is the image. Nor where it ends: grey is blended there.
    inside = np.zeros(SIZE, bool)
    scale = np.array(extent) / SIZE
    rows, columns = (start + np.arange(count) * step for start, count, step in zip(offset, SIZE, scale, strict=True))
    inside[:-2, :-2] = np.outer((rows >= 0) & (rows < 239), (columns >= 0) & (columns < 319))[:-2, :-2]
    beyond = ~np.outer((rows > -1) & (rows < 240), (columns > -1) & (columns < 320))
    difference = np.abs(ours.astype(np.float32) - true)[inside]
    assert inside.sum() > 500 and difference.mean() < 1 and difference.max() < 12  # it computes in 32nds of a pixel
    assert (ours[beyond] == GREY).all()
    assert beyond.any() == (min(offset) < 0 or any(np.add(offset, extent) > (240, 320)))


SIZES = [  # width and height of the image, then of the result
    ((1, 1), (1, 1)),
    ((1, 1), (320, 320)),
    ((320, 320), (1, 1)),
    ((320, 320), (320, 320)),
    ((2, 3), (320, 213)),
    ((1, 500), (1, 320)),
    ((640, 427), (320, 213)),
    ((1920, 1280), (320, 213)),
    ((319, 321), (320, 320)),
    ((4000, 3000), (320, 240)),
    ((3999, 2251), (640, 360)),
]


# Rounded to the nearest 32nd of a pixel along both axes, and to a whole number: of noise, the worst that there is.
WORST = 2 * 255 / 64 + 1


@pytest.mark.parametrize(("image", "result"), SIZES)
def test_resizes_as_tensorflow(image, result):
    pixels = noise(*image)
    ours = resize_bilinear(pixels, *result)
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(ours, legacy_resize(pixels, *result), atol=WORST)


side = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(width=side, height=side, new_width=side, new_height=side)
def test_resizes_as_tensorflow_at_any_size(width, height, new_width, new_height):
    pixels = noise(width, height)
    np.testing.assert_allclose(
        resize_bilinear(pixels, new_width, new_height), legacy_resize(pixels, new_width, new_height), atol=WORST
    )


@pytest.mark.parametrize(("image", "result"), [*SIZES, ((65500, 40), (640, 2)), ((3, 33000), (1, 320))])
def test_pixels_lie_where_tensorflows_do(image, result):
    """Of slopes, where no rounding hides a shift: half a pixel to the side would be three times this far away."""
    y, x = np.mgrid[: image[1], : image[0]].astype(np.float64)
    waves = [127.5 + 127.5 * np.sin(axis / 16 * np.pi) for axis in (x, y)]
    pixels = np.stack([waves[0], waves[1], np.zeros_like(x)], axis=-1).round().astype(np.uint8)
    difference = np.abs(resize_bilinear(pixels, *result) - legacy_resize(pixels, *result))
    thinned = max(image) > 32766  # for OpenCV to take it; between every second pixel of a wave the chord lies lower
    assert difference.max() <= 0.5 + 2 * 127.5 * np.pi / 16 / 64 + 0.01 + 3 * thinned


def test_a_part_of_a_long_image_keeps_its_pixels():
    """A panorama that OpenCV does not take whole: a crop of it is not made of every second pixel."""
    image = np.random.default_rng(0).integers(0, 256, (60, 40_000, 3), np.uint8)
    ours = resize_part(image, (-10, 39_900), (80, 120), (80, 120), GREY)
    assert np.array_equal(ours[10:70, :100], image[:, 39_900:])
    assert (ours[:10] == GREY).all() and (ours[70:] == GREY).all() and (ours[:, 100:] == GREY).all()
