"""Crops around faces: whole, of the size asked for, and the boxes still on the faces."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from training.face_crop import GREY, FaceCrop
from training.od_api.inputs import cropped

INPUT = (64, 96)  # height, width
CROP = FaceCrop(share=1.0, min_size=12, max_size=24, max_zoom=2.5)


def cut(image, boxes, weights=None, crop=CROP, seed=0):
    """The crop of boxes (N, 4) xyxy in pixels, as numpy arrays: image, kept, boxes yxyx in pixels of it, weights."""
    height, width = image.shape[:2]
    yxyx = np.asarray(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] / ([height, width] * 2)
    weights = np.ones(len(yxyx)) if weights is None else weights
    found = cropped(
        crop,
        tf.constant(image),
        tf.constant(yxyx, tf.float32),
        tf.constant(weights, tf.float32),
        INPUT,
        tf.constant([seed, 7]),
    )
    pixels, kept, placed, counted = (value.numpy() for value in found)
    assert pixels.shape == (*INPUT, 3)
    return pixels, kept, placed * ([*INPUT] * 2), counted


def picture(width, height, boxes):
    """Black, with white faces."""
    image = np.zeros((height, width, 3), np.uint8)
    for x_min, y_min, x_max, y_max in boxes:
        image[y_min:y_max, x_min:x_max] = 255
    return image


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 300), st.integers(20, 300), st.data())
def test_a_face_is_whole_and_of_the_size_asked_for(seed, width, height, data):
    side = data.draw(st.integers(9, min(width, height)))  # of 8 rounding decides
    x, y = data.draw(st.integers(0, width - side)), data.draw(st.integers(0, height - side))
    box = (x, y, x + side, y + side)
    pixels, kept, ((y_min, x_min, y_max, x_max),), weights = cut(picture(width, height, [box]), [box], seed=seed)
    assert kept.tolist() == [0] and weights.tolist() == [1]
    size = np.sqrt((y_max - y_min) * (x_max - x_min))
    whole = min(INPUT[0] / height, INPUT[1] / width)  # where the whole image is shown
    allowed = np.clip([12, 24], side * whole / 1.25, side * 2.5)
    assert allowed[0] * 0.9 - 1 <= size <= allowed[1] * 1.1 + 1 or max(y_max - y_min, x_max - x_min) <= INPUT[0]
    assert y_min >= 0 and x_min >= 0 and y_max <= INPUT[0] and x_max <= INPUT[1]
    inner = pixels[int(np.ceil(y_min)) + 3 : int(y_max) - 3, int(np.ceil(x_min)) + 3 : int(x_max) - 3]
    assert inner.size == 0 or inner.min() > 250
    mask = np.ones(INPUT, bool)
    mask[max(int(y_min) - 3, 0) : int(y_max) + 4, max(int(x_min) - 3, 0) : int(x_max) + 4] = False
    assert set(np.unique(pixels[mask].round())) <= set(range(GREY + 1))  # black, grey, and their blends


def test_sizes_are_drawn_between_both_ends():
    box = (100, 100, 150, 150)
    image = picture(400, 400, [box])
    sizes = [np.ptp(cut(image, [box], seed=seed)[2][0][[0, 2]]) for seed in range(60)]
    assert 11.5 <= min(sizes) < 14 and 21 < max(sizes) <= 24.5
    assert np.median(np.log(sizes)) == pytest.approx(np.log(np.sqrt(12 * 24)), abs=0.15)


def test_faces_whose_middle_is_outside_do_not_count():
    faces = [(190, 190, 210, 210), *((x, 190, x + 20, 210) for x in range(0, 400, 21) if not 165 < x < 215)]
    image = picture(400, 400, faces)
    seen = 0
    for seed in range(20):
        _, kept, placed, weights = cut(image, faces, weights=[1] + [0.5] * (len(faces) - 1), seed=seed)
        assert 0 in kept or len(kept)
        for index, (y_min, x_min, y_max, x_max), weight in zip(kept, placed, weights, strict=True):
            full = x_max - x_min >= 0.99 * (y_max - y_min)
            if not full and x_min > 0.01 and (x_max - x_min) < 0.45 * (y_max - y_min):  # cut at the right edge
                assert weight == 0
                seen += 1
            if full:
                assert weight == (1 if index == 0 else 0.5)
    assert seen


def test_faces_that_do_not_count_are_not_cropped_to():
    image = picture(300, 300, [(10, 10, 40, 40), (200, 200, 280, 280)])
    for seed in range(10):
        _, kept, placed, _ = cut(image, [(10, 10, 40, 40), (200, 200, 280, 280)], weights=[1, 0], seed=seed)
        row = kept.tolist().index(0)
        assert 11 < np.ptp(placed[row][[0, 2]]) < 25


@pytest.mark.parametrize("boxes", [[], [(10, 10, 14, 14)]])
def test_without_a_face_to_crop_to_the_image_is_taken_whole(boxes):
    image = picture(200, 100, [(0, 0, 200, 100)])
    scales = []
    for seed in range(20):
        pixels, kept, _, _ = cut(image, boxes, seed=seed)
        assert len(kept) <= len(boxes)
        scales.append((pixels > 250).all(-1).mean())
    assert min(scales) > 0.4 and max(scales) > 0.7


def test_the_seed_decides():
    box = (100, 100, 150, 150)
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    one, again, other = (cut(image, [box], seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
