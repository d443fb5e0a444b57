"""Large pictures made smaller for a network. Pillow is the oracle for means."""

import numpy as np
import pytest
from PIL import Image

from detect_faces import Detector, Faces
from detect_faces.images import Picture
from detect_faces.shrinking import shrunk


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


def test_what_is_enough_depends_on_the_detector(tiny_model):
    side = Detector(tiny_model).model.width
    assert Detector(tiny_model).enough_side == 2 * side
    assert Detector(tiny_model, tile=64).enough_side == Detector(tiny_model, whole=True).enough_side == 0
    assert Detector("haar").enough_side == 0
    assert Detector("fast", input_size=640).enough_side == 2 * 640


def test_a_detector_sees_means_of_a_large_picture(tiny_model):
    """Each pixel of its 16 x 16 input is a face that scores what is red there: of every other pixel, a half."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2, ::2, 2] = image[1::2, 1::2, 2] = 255
    means, pixels = Detector(tiny_model).detect(image, 0.0), Detector(tiny_model, whole=True).detect(image, 0.0)
    np.testing.assert_allclose(means.scores[: 16 * 16], 0.5, atol=0.01)
    assert np.abs(pixels.scores - 0.5).max() > 0.4
    assert means.xyxy[:, 2].max() == pytest.approx(64)


def test_large_tiles_are_seen_as_means_too(tiny_model):
    image = np.zeros((256, 256, 3), np.uint8)
    image[::2, ::2, 2] = image[1::2, 1::2, 2] = 255
    means, pixels = (Detector(tiny_model, tile=128, whole=whole).detect(image, 0.0) for whole in (False, True))
    np.testing.assert_allclose(means.scores, 0.5, atol=0.01)
    assert np.abs(pixels.scores - 0.5).max() > 0.4
    # Cells of 8 px of the tiles, and the picture's own of 16.
    assert means.xyxy.min(axis=0).tolist() == [0, 0, 8, 8]
    assert means.xyxy.max(axis=0).tolist() == [248, 248, 256, 256]
    assert set(np.diff(means.xyxy[:, ::2], axis=1).ravel().tolist()) == {8, 16}


def test_faces_of_a_reduced_picture_come_back_in_its_pixels():
    picture = Picture(np.zeros((7, 12, 3), np.uint8), 100, 60)
    found = picture.in_its_pixels(Faces([[3, 0, 12, 7]], [0.5]))
    np.testing.assert_allclose(found.xyxy, [[25, 0, 100, 60]], rtol=1e-6)
    same = Faces([[3, 0, 12, 7]], [0.5])
    assert Picture(picture.image, 12, 7).in_its_pixels(same) is same
