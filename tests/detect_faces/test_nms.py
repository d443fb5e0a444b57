"""Non-maximum suppression against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detect_faces.nms import non_max_suppression


def boxes_of(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.hstack([corners, corners + sizes]).astype(np.float32)


# Small whole numbers, so that equal scores, equal boxes and an IoU of exactly the threshold all occur.
@st.composite
def coarse_boxes(draw):
    n = draw(st.integers(0, 30))
    corners = draw(arrays(np.int32, (n, 2), elements=st.integers(0, 6)))
    sizes = draw(arrays(np.int32, (n, 2), elements=st.integers(1, 6)))
    scores = draw(arrays(np.int32, n, elements=st.integers(1, 9)))
    return boxes_of(corners, sizes), scores.astype(np.float32) / 10


@settings(max_examples=200, deadline=None)
@given(coarse_boxes(), st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 1.0]), st.integers(1, 40))
def test_keeps_what_tensorflow_keeps(boxes_and_scores, iou_threshold, max_boxes):
    boxes, scores = boxes_and_scores
    expected = tf.image.non_max_suppression(boxes, scores, max_boxes, iou_threshold).numpy()
    np.testing.assert_array_equal(non_max_suppression(boxes, scores, iou_threshold, max_boxes), expected)


@pytest.mark.parametrize("seed", range(5))
def test_keeps_what_tensorflow_keeps_of_many(seed):
    rng = np.random.default_rng(seed)
    boxes = boxes_of(rng.uniform(0, 1, (2000, 2)), rng.uniform(0.01, 0.1, (2000, 2)))
    scores = rng.uniform(0, 1, 2000).astype(np.float32)
    expected = tf.image.non_max_suppression(boxes, scores, 400, 0.45).numpy()
    np.testing.assert_array_equal(non_max_suppression(boxes, scores, 0.45, 400), expected)
