"""Large pictures made smaller for a network. Pillow is the oracle for means."""

import numpy as np
import pytest
from PIL import Image

from detect_faces import Detector, Faces
from detect_faces.shrinking import enough_side, in_pixels_of, shrunk


@pytest.mark.parametrize(
    ("size", "side", "becomes"),
    [
        ((100, 60), 0, (100, 60)),
        ((100, 60), 51, (100, 60)),
        ((100, 60), 50, (50, 30)),
        ((60, 101), 25, (15, 25)),
        ((100, 60), 1, (12, 7)),  # an eighth at most
        ((100, 1), 10, (12, 1)),
    ],
)
def test_as_small_as_leaves_enough(size, side, becomes):
    assert shrunk(np.zeros((size[1], size[0], 3), np.uint8), side).shape == (becomes[1], becomes[0], 3)


def test_pixels_are_means():
    image = np.random.default_rng(0).integers(0, 256, (80, 160, 3), np.uint8)
    oracle = Image.fromarray(image).resize((40, 20), Image.Resampling.BOX)
    assert np.abs(shrunk(image, 40).astype(int) - np.asarray(oracle)).max() <= 1


def test_faces_come_back_in_pixels_of_the_picture():
    small = np.zeros((7, 12, 3), np.uint8)
    found = in_pixels_of(Faces([[3, 0, 12, 7]], [0.5]), small, 100, 60)
    np.testing.assert_allclose(found.xyxy, [[25, 0, 100, 60]], rtol=1e-6)
    same = Faces([[3, 0, 12, 7]], [0.5])
    assert in_pixels_of(same, small, 12, 7) is same


def test_what_is_enough_depends_on_the_detector(tiny_model):
    side = Detector(tiny_model).model.width
    assert enough_side(Detector(tiny_model), None) == 2 * side
    assert enough_side(Detector(tiny_model), 99) == 198
    assert enough_side(Detector(tiny_model, tile=64), None) == 0
    assert enough_side(Detector("haar"), None) == 0
