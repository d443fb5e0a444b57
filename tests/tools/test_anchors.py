"""Anchors and their best IoU, by hand and against pycocotools on all anchors; test_anchors_od_api has the OD API."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from detect_faces.errors import UserError
from tools import anchors, input_size, pipeline_config
from tools.anchors import Grid

SSDLITE, FASTER_RCNN = "ssdlite_mobilenet_v2_320_face", "faster_rcnn_inception_resnet_v2_atrous_oid_face"


@pytest.fixture
def ssd(tmp_path):
    """A function from an anchor generator, and a feature extractor, to the pipeline of an SSD."""

    def write(generator, extractor='type: "ssd_mobilenet_v2_keras" num_layers: 2'):
        path = tmp_path / "ssd.config"
        path.write_text(
            "model { ssd { image_resizer { identity_resizer {} } matcher { argmax_matcher {} } "
            f"feature_extractor {{ {extractor} }} anchor_generator {{ {generator} }} }} }}"
        )
        return pipeline_config.read(path)

    return write


def exact_ious(boxes, grids, window, outside):
    """(N, A) IoU with each anchor: the oracle."""
    found = anchors.xyxy(grids)
    width, height = window
    if outside == "drop":
        found = found[(found[:, :2] >= 0).all(axis=1) & (found[:, 2] <= width) & (found[:, 3] <= height)]
    elif outside == "clip":
        found = np.clip(found, 0, [width, height, width, height])
    xywh = [np.hstack([each[:, :2], each[:, 2:] - each[:, :2]]) for each in (boxes, found)]
    return np.asarray(mask.iou(*xywh, [0] * len(found))).reshape(len(boxes), len(found))


def test_ssd_anchors_by_hand(ssd):
    pipeline = ssd("ssd_anchor_generator { num_layers: 2 min_scale: 0.25 max_scale: 0.64 aspect_ratios: 4 }")
    first, second = anchors.build(pipeline, 64, 32)
    assert (first.rows, first.columns, first.stride, first.offset) == (2, 4, (16, 16), (8, 8))
    # of the short side: 0.1, and 0.25 in the shapes 2:1 and 1:2
    assert first.shapes == pytest.approx(np.array([[3.2, 3.2], [8 / 2**0.5, 8 * 2**0.5], [8 * 2**0.5, 8 / 2**0.5]]))
    assert (second.rows, second.columns, second.stride, second.offset) == (1, 2, (32, 32), (16, 16))
    # 0.64 as 4:1, and the geometric mean of 0.64 and 1 as a square
    assert second.shapes == pytest.approx(np.array([[10.24, 40.96], [25.6, 25.6]]))
    boxes = anchors.xyxy([first, second])
    assert len(boxes) == 2 * 4 * 3 + 2 * 2
    assert boxes[0] == pytest.approx([6.4, 6.4, 9.6, 9.6])
    assert boxes[3] == pytest.approx([22.4, 6.4, 25.6, 9.6])  # columns before rows
    assert boxes[-4] == pytest.approx([16 - 20.48, 16 - 5.12, 16 + 20.48, 16 + 5.12])  # not clipped
    assert boxes[-1] == pytest.approx([35.2, 3.2, 60.8, 28.8])


def test_multiscale_anchors_by_hand(ssd):
    generator = "multiscale_anchor_generator { min_level: 4 max_level: 5 anchor_scale: 2 aspect_ratios: [1, 4] }"
    pipeline = ssd(generator)
    fine, coarse = anchors.build(pipeline, 48, 64)
    root = 2**0.5
    assert fine.shapes == pytest.approx(np.array([[32, 32], [32 * root, 32 * root], [16, 64], [16 * root, 64 * root]]))
    assert (fine.rows, fine.columns, fine.stride, fine.offset) == (4, 3, (16, 16), (8, 8))
    # 48 is no multiple of 32: the first column is centred on the edge, unless inputs differ in size
    assert (coarse.rows, coarse.columns, coarse.offset) == (2, 2, (16, 0))
    assert anchors.build(pipeline, 48, 64, fixed=False)[1].offset == (16, 16)


def test_anchors_of_our_pipelines():
    ssd = anchors.build(pipeline_config.read(SSDLITE), 320, 320)
    assert [len(grid) for grid in ssd] == [1200, 600, 150, 54, 24, 6]
    assert anchors.xyxy(ssd)[0] == pytest.approx(
        [8 - 8 * 0.8**0.5, 8 - 8 / 0.8**0.5, 8 + 8 * 0.8**0.5, 8 + 8 / 0.8**0.5]
    )
    (rpn,) = anchors.build(pipeline_config.read(FASTER_RCNN), 1024, 600)
    assert len(rpn) == len(anchors.xyxy([rpn])) == 115200
    assert (rpn.rows, rpn.columns, rpn.offset) == (75, 128, (0, 0))
    assert rpn.shapes[4].tolist() == [64, 64]  # scales change before aspect ratios
    assert rpn.shapes[5].tolist() == [128, 128]


@pytest.mark.parametrize(
    "generator, extractor, message",
    [
        (
            "ssd_anchor_generator { aspect_ratios: 1 }",
            'type: "ssd_nobody"',
            "feature_extractor: the layers of 'ssd_nob",
        ),
        (
            "ssd_anchor_generator { aspect_ratios: 1 }",
            'type: "faster_rcnn_resnet50_keras"',
            "not known here; known are",
        ),
        (
            "ssd_anchor_generator { aspect_ratios: 1 }",
            'type: "ssd_mobilenet_v2_keras" num_layers: 5',
            "line 1: anchor_generator: is for 6 layers, but ssd_mobilenet_v2_keras has 5",
        ),
        ("multiscale_anchor_generator { aspect_ratios: 1 }", 'type: "ssd_mobilenet_v2"', "for 5 layers, but .* has 6"),
    ],
)
def test_refused(ssd, generator, extractor, message):
    with pytest.raises(UserError, match=message):
        anchors.build(ssd(generator, extractor), 320, 320)


@st.composite
def scenes(draw):
    """(grids, boxes, window): layers with few cells, and boxes inside the window."""
    number = st.floats(0.5, 60)
    window = draw(st.tuples(st.integers(8, 50), st.integers(8, 50)))
    grids = [
        Grid(
            draw(st.integers(1, 6)),
            draw(st.integers(1, 6)),
            (draw(st.floats(1, 20)), draw(st.floats(1, 20))),
            (draw(st.floats(-10, 30)), draw(st.floats(-10, 30))),
            np.array(draw(st.lists(st.tuples(number, number), min_size=1, max_size=3))),
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    # in eighths of a pixel, and now and then right at the edge
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        sides = []
        for edge in window:
            low = draw(st.integers(0, 8 * edge - 1))
            sides.append((low / 8, draw(st.integers(low + 1, 8 * edge)) / 8))
        boxes.append([sides[0][0], sides[1][0], sides[0][1], sides[1][1]])
    return grids, np.array(boxes, np.float64).reshape(-1, 4), window


@pytest.mark.parametrize("outside", ["keep", "drop", "clip"])
@given(scene=scenes())
def test_the_nearest_cell_has_the_best_anchor(outside, scene):
    grids, boxes, window = scene
    found = list(anchors.shape_ious(grids, boxes, window, outside))
    assert len(found) == sum(len(grid.shapes) for grid in grids)
    counts = np.concatenate(anchors.count(grids, window, outside))
    index = 0
    for grid in grids:
        for shape in grid.shapes:
            alone = Grid(grid.rows, grid.columns, grid.stride, grid.offset, shape[None])
            exact = exact_ious(boxes, [alone], window, outside)
            assert counts[index] == exact.shape[1]
            np.testing.assert_allclose(found[index], exact.max(axis=1, initial=0), atol=1e-9)
            index += 1


@pytest.mark.parametrize("outside", ["keep", "drop", "clip"])
def test_match(outside):
    pipeline, window = pipeline_config.read(FASTER_RCNN), (320, 200)
    grids = [*anchors.build(pipeline, *window), *anchors.build(pipeline_config.read(SSDLITE), *window)]
    rng = np.random.default_rng(1)
    centre, size = rng.uniform(0, 1, (300, 2)) * window, np.exp(rng.uniform(1, 5, (300, 2)))
    boxes = np.clip(np.hstack([centre - size / 2, centre + size / 2]), 0, [*window, *window])
    found = anchors.match(grids, boxes, window, outside, 0.5)
    shapes = [
        [Grid(grid.rows, grid.columns, grid.stride, grid.offset, shape[None]) for shape in grid.shapes]
        for grid in grids
    ]
    exact = [[exact_ious(boxes, [each], window, outside).max(axis=1, initial=0) for each in layer] for layer in shapes]
    by_shape = np.concatenate(exact)
    np.testing.assert_allclose(found.best, by_shape.max(axis=0), atol=1e-12)
    assert found.reached.tolist() == (by_shape >= 0.5).sum(axis=1).tolist()
    assert found.layer_reached.tolist() == [(np.max(layer, axis=0) >= 0.5).sum() for layer in exact]
    has_one = by_shape.max(axis=0) > 0
    assert found.best_for.sum() == has_one.sum() > 250
    if outside != "clip":  # where clipped anchors coincide, so do their IoU
        assert found.best_for.tolist() == np.bincount(by_shape[:, has_one].argmax(axis=0), minlength=45).tolist()
    assert (found.centred >= found.best - 1e-12).all() or outside == "clip"


def test_centred_iou():
    boxes = np.array([[10, 10, 20, 30], [0, 0, 5, 5], [0, 0, 40, 10]], float)
    # inside of it, around it, and across it
    assert anchors.centred_iou((40, 20), boxes) == pytest.approx([200 / 800, 25 / 800, 200 / (800 + 400 - 200)])


@pytest.mark.parametrize(
    "resizer, image, whole",
    [
        (("KeepAspectRatioResizer", {"min_dimension": 320, "max_dimension": 320}), (320, 213), (320, 213)),
        (
            ("KeepAspectRatioResizer", {"min_dimension": 320, "max_dimension": 400, "pad_to_max_dimension": True}),
            (400, 266),  # 320 for the short side would make the long one 481
            (400, 400),
        ),
        (("KeepAspectRatioResizer", {"min_dimension": 200, "max_dimension": 400}), (300, 200), (300, 200)),
        (("FixedShapeResizer", {"height": 300, "width": 200}), (200, 300), (200, 300)),
        (("IdentityResizer", {}), (640, 426), (640, 426)),
        (("ConditionalShapeResizer", {"size_threshold": 320}), (320, 213), (320, 213)),
        (("ConditionalShapeResizer", {"size_threshold": 700}), (640, 426), (640, 426)),
        (("ConditionalShapeResizer", {"size_threshold": 852, "condition": "SMALLER"}), (1280, 852), (1280, 852)),
        (("PadToMultipleResizer", {"multiple": 32}), (640, 426), (640, 448)),
    ],
)
def test_input_sizes(resizer, image, whole):
    name, values = resizer
    message = pipeline_config.message_class(name)(**values)
    assert input_size.resized(message, 640, 426) == (image, whole)
    turned = input_size.resized(message, 426, 640)
    assert turned == ((image, whole) if name == "FixedShapeResizer" else (image[::-1], whole[::-1]))
