"""Anonymising: what is left of a face, where there is a change and where there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces import Faces
from detect_faces.anonymise import BLOCKS, anonymise

METHODS = ["blur", "pixelate", "fill"]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def one(*box: float) -> Faces:
    return Faces([box], [0.9])


@pytest.mark.parametrize(
    ("method", "count", "block"),
    [("blur", 1, 6), ("blur", 4, 4), ("blur", 5, 12), ("blur", 5, 200), ("pixelate", 2, 5), ("pixelate", 8, 125)],
)
def test_two_faces_with_the_same_mean_colours_become_the_same(method, count, block):
    """Whatever their detail, so that nobody can tell from the result which of them it was."""
    side = block * count
    one_face = noise(side, side)
    # Another face: each block's pixels in another order.
    blocks = one_face.reshape(count, block, count, block, 3).transpose(0, 2, 1, 3, 4).reshape(count, count, -1, 3)
    other = np.roll(blocks, block + 1, axis=2)
    other_face = other.reshape(count, count, block, block, 3).transpose(0, 2, 1, 3, 4).reshape(side, side, 3)
    assert (one_face != other_face).mean() > 0.9
    pictures = [
        anonymise(face, one(0, 0, side, side), method, margin=0, shape="box") for face in (one_face, other_face)
    ]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize(("side", "colours"), [(3, 1), (8, 4), (16, 16), (60, 64), (600, 64)])
def test_pixelated_faces_have_no_more_colours_than_blocks_however_large_they_are(side, colours):
    picture = anonymise(noise(side, side), one(0, 0, side, side), "pixelate", margin=0, shape="box")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= colours


def test_a_sharpened_blur_does_not_bring_the_face_back():
    """Twenty rounds of Richardson-Lucy with the blur's own width leave as little of the face as the blur did."""
    face = cv2.GaussianBlur(noise(200, 200, 1), (0, 0), 4)
    face = cv2.normalize(face, None, 0, 255, cv2.NORM_MINMAX)
    blurred = anonymise(face, one(0, 0, 200, 200), "blur", margin=0, shape="box").astype(np.float32) + 1
    sigma = 200 / BLOCKS["blur"] / 2
    guess = blurred.copy()
    for _ in range(20):
        guess *= cv2.GaussianBlur(blurred / cv2.GaussianBlur(guess, (0, 0), sigma), (0, 0), sigma)
    assert abs(np.corrcoef(face.ravel(), guess.ravel())[0, 1]) < 0.5
    assert np.corrcoef(face.ravel(), cv2.GaussianBlur(face, (0, 0), 2).ravel())[0, 1] > 0.9  # where it is not removed


@pytest.mark.parametrize("method", METHODS)
def test_the_default_ellipse_holds_the_whole_box_and_the_rest_of_the_picture_stays(method):
    image = noise(300, 300)
    picture = anonymise(image, one(100, 120, 160, 200), method, colour=(1, 2, 3))
    changed = (picture != image).any(axis=2)
    inside = np.s_[120:200, 100:160]
    assert changed[inside].mean() > 0.99  # a pixel may have had its new colour before
    if method == "fill":
        assert (picture[inside] == (1, 2, 3)).all()
    changed[120 - 18 : 200 + 18, 100 - 14 : 160 + 14] = False
    assert not changed.any()
    assert (image == noise(300, 300)).all()  # it works on a copy


def test_a_box_is_all_of_it():
    picture = anonymise(noise(90, 90), one(10.5, 20, 40, 60), "fill", margin=0, shape="box")
    painted = (picture == 0).all(axis=2)
    assert painted[20:60, 10:40].all() and painted.sum() <= 40 * 30 + 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize(
    "box",
    [
        (-20, -20, 30, 30), (80, 80, 130, 130), (-50, -50, 500, 500), (0, 0, 1, 1), (99, 99, 100, 100),
        (5.2, 5.2, 5.4, 5.4), (7, 7, 7, 7), (0, 0, 100, 1),
    ],
)  # fmt: skip
def test_borders_and_small_boxes(method, shape, box):
    image = noise(100, 100)
    picture = anonymise(image, one(*box), method, margin=0, shape=shape, colour=(255, 255, 255))
    if method == "fill":
        assert (picture == 255).all(axis=2).any()
        x, y = (int(np.clip((low + high) / 2, 0, 99)) for low, high in ((box[0], box[2]), (box[1], box[3])))
        assert (picture[y, x] == 255).all()


@given(
    st.lists(st.tuples(*[st.floats(-300, 300)] * 4), max_size=5),
    st.sampled_from(METHODS),
    st.sampled_from(["ellipse", "box"]),
    st.sampled_from([(1, 1, 3), (40, 7), (13, 50, 1), (50, 50, 4)]),
    st.floats(0, 3),
)
def test_any_boxes_in_any_picture(boxes, method, shape, size, margin):
    image = np.full(size, 90, np.uint8)
    picture = anonymise(image, Faces(boxes, np.ones(len(boxes))), method, margin=margin, shape=shape, colour=(90,) * 3)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    if method != "fill":
        assert (picture == image).all()  # the mean of one colour


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_faces(method):
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 900, (1000, 2))
    faces = Faces(np.hstack([corners, corners + rng.uniform(1, 100, (1000, 2))]), rng.random(1000))
    image = noise(1000, 1000)
    picture = anonymise(image, faces, method)
    for x_min, y_min, x_max, y_max in faces.xyxy.astype(int)[::50]:
        if min(x_max - x_min, y_max - y_min) > 20:
            before, after = (part[y_min:y_max, x_min:x_max].astype(float).ravel() for part in (image, picture))
            assert after.std() == 0 or abs(np.corrcoef(before, after)[0, 1]) < 0.4


@pytest.mark.parametrize("wrong", [{"method": "smear"}, {"shape": "star"}])
def test_unknown_names_are_said(wrong):
    with pytest.raises(ValueError, match="blur, pixelate, fill"):
        anonymise(noise(9, 9), Faces.empty(), **wrong)


def test_what_is_no_image_is_refused():
    for wrong in (np.zeros((9, 9, 3)), np.zeros((9, 9, 5), np.uint8), np.zeros(9, np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            anonymise(wrong, Faces.empty())
