"""Boxes from encodings: the OD API's own box coder on the same anchors gives the same."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces.box_decoding import BoxDecoder, BoxDecoding, Grid, sigmoid
from tools import anchors

SIZE = (192, 128)  # width, height
SCALES = (10.0, 8.0, 5.0, 4.0)
GRIDS = (
    Grid((8, 12), (8.0, 8.0), (16.0, 16.0), ((20.0, 16.0), (28.0, 22.4))),
    Grid((4, 6), (16.0, 15.0), (32.0, 32.0), ((50.0, 40.0),)),
)


ANCHORS = 8 * 12 * 2 + 4 * 6


def decoder() -> BoxDecoder:
    return BoxDecoder(BoxDecoding(SCALES, {SIZE: GRIDS}), SIZE)


def by_the_od_api(encodings: np.ndarray) -> np.ndarray:
    import_module("training.od_api")  # puts the shims in place
    import tensorflow as tf
    from object_detection.box_coders import faster_rcnn_box_coder
    from object_detection.core import box_list

    grids = [anchors.Grid(*grid.cells, grid.stride, grid.offset, np.array(grid.shapes)) for grid in GRIDS]
    yxyx = anchors.xyxy(grids)[:, [1, 0, 3, 2]] / np.tile(SIZE[::-1], 2)
    coder = faster_rcnn_box_coder.FasterRcnnBoxCoder(SCALES)
    return coder.decode(encodings, box_list.BoxList(tf.constant(yxyx, tf.float32))).get().numpy()


def test_as_the_od_api_decodes():
    decode = decoder()
    encodings = np.random.default_rng(0).normal(0, 3, (ANCHORS, 4)).astype(np.float32)
    assert sum(map(len, GRIDS)) == ANCHORS
    found = decode(encodings, np.arange(ANCHORS))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_the_od_api(encodings), rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(0, 215), max_size=20))
def test_only_those_that_are_chosen(chosen):
    decode = decoder()
    encodings = np.random.default_rng(1).normal(0, 3, (ANCHORS, 4)).astype(np.float32)
    everything = decode(encodings, np.arange(ANCHORS))
    assert np.array_equal(decode(encodings, np.array(chosen, np.intp)), everything[chosen])


def test_nothing_overflows():
    decode = decoder()
    with np.errstate(all="raise"):
        boxes = decode(np.full((ANCHORS, 4), 1e4, np.float32), np.arange(ANCHORS))
        scores = sigmoid(np.float32([-1e4, -2, 0, 2, 1e4]))
    assert np.isfinite(boxes).all()
    assert scores == pytest.approx([0, 0.1192, 0.5, 0.8808, 1], abs=1e-4) and scores.dtype == np.float32
