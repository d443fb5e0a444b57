"""Cutting faces out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces import Faces
from detect_faces.crops import crop_boxes


def test_crops_show_the_faces_best_first():
    image = np.arange(100 * 200, dtype=np.uint16).reshape(100, 200)
    faces = Faces([[10, 20, 30, 50], [150, 0, 200, 90]], [0.5, 0.9])
    large, small = faces.crops(image)
    np.testing.assert_array_equal(large, image[:90, 150:])
    np.testing.assert_array_equal(small, image[20:50, 10:30])
    small[...] = 0
    assert image[20, 10]  # they are copies
    assert Faces.empty().crops(image) == []


@pytest.mark.parametrize(
    ("box", "margin", "square", "expected"),
    [
        ((10, 20, 30, 50), 0, False, (10, 20, 30, 50)),
        ((10.6, 20.4, 29.2, 49.9), 0, False, (10, 20, 30, 50)),  # every pixel that it touches
        ((10, 20, 30, 50), 0.5, False, (0, 5, 40, 65)),
        ((10, 20, 30, 50), 0, True, (5, 20, 35, 50)),
        ((0, 0, 20, 40), 0, True, (0, 0, 40, 40)),  # moved inside
        ((170, 60, 200, 100), 0.5, True, (120, 20, 200, 100)),
        ((20, 0, 180, 100), 0, True, (50, 0, 150, 100)),  # no larger than the image's shorter side
        ((-30, -30, -10, -10), 0, False, (0, 0, 1, 1)),
        ((199.5, 99.5, 260, 160), 0, False, (199, 99, 200, 100)),
        ((50, 50, 50, 50), 0, True, (50, 50, 51, 51)),
    ],
)
def test_where_it_cuts(box, margin, square, expected):
    assert crop_boxes([box], 200, 100, margin=margin, square=square).tolist() == [list(expected)]


side = st.integers(1, 300)


@given(st.lists(st.tuples(*[st.floats(-400, 400)] * 4), max_size=4), side, side, st.floats(0, 2), st.booleans())
def test_crops_are_inside_and_never_empty(boxes, width, height, margin, square):
    cuts = crop_boxes(np.reshape(boxes, (-1, 4)), width, height, margin=margin, square=square)
    assert cuts.shape == (len(boxes), 4)
    assert (cuts[:, :2] >= 0).all() and (cuts[:, 2:] <= (width, height)).all() and (cuts[:, :2] < cuts[:, 2:]).all()
    if square:
        assert (cuts[:, 2] - cuts[:, 0] == cuts[:, 3] - cuts[:, 1]).all()
