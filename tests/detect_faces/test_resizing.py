"""Resizing: as the graph does it against TensorFlow's own; by means against means over the areas of pixels."""

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.resizing import resize_as_graph, resize_by_means, resize_part
from tests.detect_faces.tensorflow_resizing import legacy_resize, noise

GREY = 127
SIZE = (64, 96)  # height, width

# Rounded to the nearest 32nd of a pixel along both axes, and to a whole number: of noise, the worst that there is.
WORST = 2 * 255 / 64 + 1


def means(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel of the result is the mean of the area it covers, with the shares of pixels that it covers in part."""
    for axis, count in enumerate((height, width)):
        edges = np.linspace(0, image.shape[axis], count + 1)
        pixels = np.arange(image.shape[axis])
        shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        shares = shares.clip(0) * count / image.shape[axis]
        image = np.moveaxis(np.tensordot(shares, image, (1, axis)), 0, axis)
    return image


@pytest.mark.parametrize("factor", [2, 4])
def test_smaller_images_are_means(factor):
    image = noise(500, 400)
    size = 500 // factor, 400 // factor
    np.testing.assert_allclose(resize_by_means(image, *size), means(image, *size[::-1]), atol=1)


@pytest.mark.parametrize(
    ("image", "size"),
    [
        *[((500, 400), size) for size in ((320, 213), (320, 320), (100, 400), (130, 101), (30, 17), (7, 5))],
        ((40_000, 3), (640, 1)),
        ((2, 70_000), (1, 320)),
    ],
)
def test_at_other_factors_they_are_nearly(image, size):
    """Of noise, where nothing is like its neighbours."""
    image = noise(*image)
    wanted = means(image, *size[::-1])
    errors = [np.abs(resize(image, *size) - wanted).mean() for resize in (resize_by_means, resize_as_graph)]
    assert errors[0] < 0.4 * errors[1]


def test_larger_images_are_interpolated_where_they_are():
    image = noise(30, 20)
    wanted = tf.image.resize(image.astype(np.float32), (50, 70))
    np.testing.assert_allclose(resize_by_means(image, 70, 50), wanted, atol=1)


def test_what_fits_is_left_alone():
    image = noise(32, 20)
    assert resize_by_means(image, 32, 20) is image


@pytest.mark.parametrize("offset", [(0, 0), (-3, -5), (17, 40)])
@pytest.mark.parametrize("extent", [(32, 48), (45, 51), SIZE, (90, 144), (128, 192), (150, 210)], ids=str)
def test_what_is_in_a_part_stays_where_it_is(offset, extent):
    """TensorFlow's v1 moves it, by half a pixel of the image where that is halved."""
    middle, spread = np.add(offset, np.divide(extent, 2)), np.divide(extent, 8)
    y, x = (np.arange(length) + 0.5 for length in (300, 400))
    heights = [np.exp(-(((axis - at) / width) ** 2)) for axis, at, width in zip((y, x), middle, spread, strict=True)]
    bump = (250 * np.outer(*heights)).round().astype(np.uint8)
    part = resize_part(np.dstack([bump] * 3), offset, extent, SIZE, 0)[..., 0].astype(float)
    for axis, (start, length, count) in enumerate(zip(offset, extent, SIZE, strict=True)):
        places = start + (np.arange(count) + 0.5) / count * length
        found = np.average(places, weights=part.sum(1 - axis))
        assert abs(found - middle[axis]) < 0.05


@pytest.mark.parametrize(
    ("offset", "extent", "error"),
    [
        ((10, 20), (128, 192), 1),
        ((-20, -100), (256, 384), 1),  # more than the image
        ((10, 20), (192, 288), 6),
        ((3, 5), (83, 131), 10),
        ((0, 0), (163, 229), 8),
    ],
)
def test_smaller_parts_are_means(offset, extent, error):
    image = noise(320, 240)
    whole = np.pad(image, ((200, 200), (200, 200), (0, 0)), constant_values=GREY)
    (y, x), (height, width) = offset, extent
    wanted = means(whole[200 + y : 200 + y + height, 200 + x : 200 + x + width].astype(float), *SIZE)
    assert np.abs(resize_part(image, offset, extent, SIZE, GREY) - wanted).mean() <= error


@pytest.mark.parametrize("size", [(320, 240), (200, 150), (90, 60), (640, 480), (31, 17)])
def test_training_sees_what_detection_sees(size):
    """A crop that is the whole image, and the image: interpolated to the 32nd of a pixel, and more finely."""
    image = noise(320, 240)
    part = resize_part(image, (0, 0), image.shape[:2], size[::-1], GREY)
    difference = np.abs(part.astype(int) - resize_by_means(image, *size))
    assert difference.mean() < 1.5 and difference.max() <= WORST


def test_beyond_the_image_is_grey():
    part = resize_part(noise(320, 240), (-30, -50), (200, 300), SIZE, GREY)
    grey = (part == GREY).all(axis=2)
    assert grey[:9].all() and grey[:, :15].all() and grey.mean() < 0.35
    part = resize_part(noise(320, 240), (150, 250), (128, 192), SIZE, GREY)
    assert (part[46:] == GREY).all() and (part[:, 36:] == GREY).all()


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


@pytest.mark.parametrize(("image", "result"), SIZES)
def test_resizes_as_tensorflow(image, result):
    pixels = noise(*image)
    ours = resize_as_graph(pixels, *result)
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(ours, legacy_resize(pixels, *result), atol=WORST)


side = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(width=side, height=side, new_width=side, new_height=side)
def test_resizes_as_tensorflow_at_any_size(width, height, new_width, new_height):
    pixels = noise(width, height)
    np.testing.assert_allclose(
        resize_as_graph(pixels, new_width, new_height), legacy_resize(pixels, new_width, new_height), atol=WORST
    )


@pytest.mark.parametrize(("image", "result"), [*SIZES, ((65500, 40), (640, 2)), ((3, 33000), (1, 320))])
def test_pixels_lie_where_tensorflows_do(image, result):
    """Of slopes, where no rounding hides a shift: half a pixel to the side would be three times this far away."""
    y, x = np.mgrid[: image[1], : image[0]].astype(np.float64)
    waves = [127.5 + 127.5 * np.sin(axis / 16 * np.pi) for axis in (x, y)]
    pixels = np.stack([waves[0], waves[1], np.zeros_like(x)], axis=-1).round().astype(np.uint8)
    difference = np.abs(resize_as_graph(pixels, *result) - legacy_resize(pixels, *result))
    thinned = max(image) > 32766  # for OpenCV to take it; between every second pixel of a wave the chord lies lower
    assert difference.max() <= 0.5 + 2 * 127.5 * np.pi / 16 / 64 + 0.01 + 3 * thinned


def test_a_part_of_a_long_image_keeps_its_pixels():
    """A panorama that OpenCV does not take whole: a crop of it is not made of every second pixel."""
    image = np.random.default_rng(0).integers(0, 256, (60, 40_000, 3), np.uint8)
    ours = resize_part(image, (-10, 39_900), (80, 120), (80, 120), GREY)
    assert np.array_equal(ours[10:70, :100], image[:, 39_900:])
    assert (ours[:10] == GREY).all() and (ours[70:] == GREY).all() and (ours[:, 100:] == GREY).all()


def test_a_crop_of_all_of_a_long_image_takes_little_memory():
    """A panorama, in a crop as high as it is long: nearly all of that is grey."""
    image = np.full((60, 30_000, 3), 255, np.uint8)
    tracemalloc.start()
    try:
        part = resize_part(image, (-15_000, 0), (30_000, 30_000), (320, 320), GREY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6
    assert (part[:159] == GREY).all() and (part[162:] == GREY).all()
