"""Tiling: every pixel is looked at, and a face is found once wherever the tiles end."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces import Detector
from detect_faces.tiling import MIN_TILE, OVERLAP, cut_boxes, merge, tile_side, tiles

side = st.integers(1, 3000)


@given(side, side, st.integers(MIN_TILE, 1500))
def test_every_pixel_is_covered_and_neighbours_overlap(width, height, tile):
    parts = tiles(width, height, tile)
    assert parts[-1].tolist() == [0, 0, width, height]
    assert (parts[:, :2] >= 0).all() and (parts[:, 2:] <= [width, height]).all()
    assert len(np.unique(parts, axis=0)) == len(parts)
    levels = {}
    for part in parts[:-1]:
        levels.setdefault(max(part[2:] - part[:2]), []).append(part)
    assert sorted(levels) == [tile * 2**k for k in range(len(levels))]
    assert not levels or max(levels) * 2 >= max(width, height)
    for level, members in levels.items():
        xs, ys = ({(part[axis], part[axis + 2]) for part in members} for axis in (0, 1))
        assert len(members) == len(xs) * len(ys)  # a grid
        for spans, length in ((sorted(xs), width), (sorted(ys), height)):
            assert spans[0][0] == 0 and spans[-1][1] == length
            for (_, end), (start, _) in pairwise(spans):
                assert end - start >= int(OVERLAP * level) - 1


@given(st.data())
def test_a_face_of_any_size_is_whole_in_some_tile_that_is_not_much_larger(data):
    tile, width, height = data.draw(st.integers(64, 400)), data.draw(side), data.draw(side)
    size = data.draw(st.floats(1, max(1.0, 0.9 * min(width, height))))
    x, y = (data.draw(st.floats(0, max(0.0, length - size))) for length in (width, height))
    parts = tiles(width, height, tile)
    whole = (parts[:, :2] <= [x, y]).all(axis=1) & (parts[:, 2:] >= [x + size, y + size]).all(axis=1)
    assert whole.any()
    smallest = (parts[whole, 2:] - parts[whole, :2]).max(axis=1).min()
    # In a tile of the smallest size, or no smaller in it than an eighth, less the rounding of where tiles begin.
    assert smallest <= max(tile, 8 * (size + 2))


@pytest.mark.parametrize(
    ("tile", "size", "input_side", "expected"),
    [
        (None, (9000, 9000), 320, None),
        (512, (512, 300), 320, None),
        (512, (513, 300), 320, 512),
        ("auto", (959, 959), 320, None),
        ("auto", (960, 100), 320, 640),
        ("auto", (100, 2000), 640, 1280),
        ("auto", (9000, 9000), None, None),
    ],
)
def test_tile_side(tile, size, input_side, expected):
    assert tile_side(tile, *size, input_side) == expected


def test_boxes_that_an_inner_edge_cuts():
    part = np.array([100, 0, 200, 100])
    boxes = np.array(
        [
            [100, 10, 120, 30],  # at the left edge
            [100.9, 10, 120, 30],
            [103, 10, 120, 30],
            [150, 0, 170, 20],  # at the top of the picture
            [190, 50, 204, 70],  # beyond the right edge
            [150, 90, 160, 100],
        ],
        float,
    )
    assert cut_boxes(boxes, part, 300, 300).tolist() == [True, True, False, False, True, True]
    assert cut_boxes(boxes, part, 200, 100).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("boxes", "scores", "cut", "kept"),
    [
        # A whole face and the halves that two tiles saw of it, surer of themselves.
        ([[0, 0, 100, 100], [0, 0, 55, 100], [45, 0, 100, 100]], [0.6, 0.9, 0.8], [0, 1, 1], [0]),
        # Two parts of a face that nobody saw whole; and two that share too little to be of one face.
        ([[0, 0, 60, 100], [25, 0, 100, 100]], [0.7, 0.9], [1, 1], [1]),
        ([[0, 0, 60, 100], [40, 0, 100, 100]], [0.7, 0.9], [1, 1], [1, 0]),
        # Neighbours, of which an edge cuts one.
        ([[0, 0, 50, 50], [48, 0, 90, 50]], [0.7, 0.9], [0, 1], [1, 0]),
        # The same face at two levels.
        ([[0, 0, 50, 50], [1, 1, 51, 50]], [0.7, 0.9], [0, 0], [1]),
        # A cut face behind a small whole one.
        ([[40, 40, 60, 60], [0, 0, 100, 100]], [0.9, 0.8], [0, 1], [0, 1]),
        ([], [], [], []),
    ],
)
def test_merge(boxes, scores, cut, kept):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    assert merge(boxes, np.array(scores), np.array(cut, bool), 0.45, 100).tolist() == kept


def with_faces(height: int, width: int, *corners: tuple[int, int]) -> np.ndarray:
    """A black picture with red squares of 2 x 2 pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    for y, x in corners:
        image[y : y + 2, x : x + 2, 2] = 255
    return image


def test_faces_too_small_for_the_whole_are_found_once_wherever_tiles_end(tiny_model):
    """The tiny model sees one pixel of two in a tile of 32, and one of eight in the whole of this picture."""
    detector = Detector(tiny_model, tile=32)
    for y in range(0, 128, 6):
        for x in (0, 30, 32, 62, 64, 126):
            found = detector.detect(with_faces(128, 128, (y, x)))
            small = found.select(found.sizes[:, 0] < 3)  # on higher levels they are faces of more pixels
            np.testing.assert_allclose(small.xyxy, [[x, y, x + 2, y + 2]], atol=1e-3)


def test_auto_leaves_pictures_alone_that_fit(tiny_model):
    image = with_faces(47, 47, (7, 9), (30, 30))
    plain, tiled = Detector(tiny_model), Detector(tiny_model, tile="auto")
    np.testing.assert_array_equal(plain.detect(image, 0.0).xyxy, tiled.detect(image, 0.0).xyxy)


def test_boxes_stay_in_the_picture(tiny_model):
    found = Detector(tiny_model, tile=32).detect(np.full((70, 100, 3), 255, np.uint8), 0.0)
    assert len(found) > 400  # more than the model's own limit for one look
    assert (found.xyxy >= 0).all() and (found.xyxy <= [100, 70, 100, 70]).all()
