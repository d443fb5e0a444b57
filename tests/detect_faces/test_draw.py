"""Drawing: where there is paint, and where there is none."""

import numpy as np
import pytest

from detect_faces import Faces
from detect_faces.draw import draw


def painted(image: np.ndarray, *boxes) -> np.ndarray:
    before = image.copy()
    picture = draw(image, Faces(list(boxes), np.linspace(1, 0.5, len(boxes))))
    np.testing.assert_array_equal(image, before)  # draws on a copy
    assert picture.shape == image.shape and picture.dtype == np.uint8
    return (picture != image).any(axis=-1)


@pytest.mark.parametrize("side", [1, 300, 4000])
def test_no_faces_no_paint(side):
    assert not painted(np.full((side, side, 3), 90, np.uint8)).any()


@pytest.mark.parametrize(("side", "line"), [(300, 1), (1000, 2), (4000, 10)])
def test_the_frame_is_on_the_box_and_as_thick_as_the_image_is_large(side, line):
    paint = painted(np.full((side, side, 3), 90, np.uint8), np.array([0.25, 0.4, 0.5, 0.8]) * side)
    centre = 0.6
    row = np.flatnonzero(paint[int(centre * side)])
    left, right = row[row < 0.4 * side], row[row > 0.4 * side]
    assert abs(left.mean() - 0.25 * side) < line and abs(right.mean() - 0.5 * side) < line
    assert line <= len(left) <= 2 * line + 3
    assert not paint[int(0.45 * side) : int(0.75 * side), int(0.3 * side) : int(0.45 * side)].any()  # the face is free


def test_the_score_is_above_the_box_or_inside_at_the_top_of_the_picture():
    image = np.full((500, 500, 3), 90, np.uint8)
    assert painted(image, [100, 100, 200, 200])[90:98, 102:125].all()
    assert painted(image, [100, 0, 200, 100])[3:10, 102:125].all()


def test_boxes_beyond_the_picture_and_crowds():
    image = np.full((200, 300, 3), 90, np.uint8)
    painted(image, [-50, -50, 400, 400], [290, 190, 310, 210], [5, 5, 5, 5])
    small = [[x, y, x + 4, y + 4] for x in range(0, 300, 6) for y in range(0, 200, 6)]
    assert not painted(image, *small)[2::6, 2::6].any()  # no labels over faces smaller than they are
