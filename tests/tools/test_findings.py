"""Findings: each kind at its edges, against independent oracles."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from tools import findings
from tools.annotations import AnnotatedImage


def image(*boxes, width=100, height=80, classes=None, name="a.jpg", source=b"", **flags):
    return AnnotatedImage(name, width, height, list(boxes), classes or ("face",) * len(boxes), source, flags)


def kinds(*boxes, options=None, **more):
    return [(each.kind, each.box) for each in findings.in_boxes(image(*boxes, **more), **(options or {}))]


@pytest.mark.parametrize(
    "boxes, more, expected",
    [
        ([], {}, []),
        ([(10, 10, 30, 40)], {}, []),
        ([(0, 0, 50, 80), (50, 0, 100, 80)], {}, []),  # up to the edges
        # size
        ([(10, 10, 14, 14)], {}, []),
        ([(10, 10, 13.9, 14)], {}, [("tiny", 0)]),
        ([(10, 10, 14, 13.9)], {}, [("tiny", 0)]),
        ([(10, 10, 13, 13)], {"ignore": [1]}, []),
        ([(10, 10, 13, 13)], {"group_of": [1]}, []),
        ([(10, 10, 13, 13)], {"group_of": [-1]}, [("tiny", 0)]),
        ([(10, 10, 13, 13)], {"options": {"min_size": 2}}, []),
        ([(10, 10, 20, 20)], {"options": {"input_size": 39}}, [("tiny", 0)]),  # 3.9 px of 39
        ([(10, 10, 20, 20)], {"options": {"input_size": 40}}, []),
        ([(10, 10, 20, 20)], {"options": {"input_size": 39}, "width": 80, "height": 97}, []),  # the long side is 97
        # no area
        ([(10, 10, 10, 40)], {}, [("zero-size", 0)]),
        ([(10, 10, 40, 10)], {"ignore": [1]}, [("zero-size", 0)]),
        # shape
        ([(10, 10, 20, 50)], {}, []),
        ([(10, 10, 20, 50.5)], {}, [("elongated", 0)]),
        ([(10, 10, 50.5, 20)], {}, [("elongated", 0)]),
        ([(10, 10, 50.5, 20)], {"ignore": [1]}, []),
        # the edge
        ([(-0.001, 0, 50, 80.001)], {}, []),  # rounding
        ([(-0.5, 0, 50, 80)], {}, [("beyond-edge", 0)]),
        ([(50, 50, 101, 80)], {}, [("beyond-edge", 0)]),
        ([(50, 50, 90, 81)], {}, [("beyond-edge", 0)]),
        ([(100, 10, 110, 20)], {}, [("outside", 0)]),
        ([(-10, 10, 0, 20)], {}, [("outside", 0)]),
        ([(10, 80, 20, 90)], {}, [("outside", 0)]),
        ([(10, -20, 20, -10)], {}, [("outside", 0)]),
        # the whole image
        ([(0, 0, 95, 80)], {}, []),
        ([(0, 0, 95.1, 80)], {}, [("covers-image", 0)]),
        ([(-100, -100, 95, 80)], {}, [("beyond-edge", 0)]),  # counted inside the image
        # twice
        ([(10, 10, 30, 40), (10, 10, 30, 40)], {}, [("duplicate-box", 1)]),
        ([(10, 10, 30, 40), (10, 10, 30, 40)], {"classes": ("face", "head")}, []),
        ([(0, 0, 10, 10), (0, 0, 9, 10)], {}, []),  # IoU 0.9
        ([(0, 0, 10, 10), (0, 0, 9.1, 10)], {}, [("duplicate-box", 1)]),
        ([(5, 5, 5, 5), (5, 5, 5, 5)], {}, [("zero-size", 0), ("duplicate-box", 1), ("zero-size", 1)]),
        # many, in the order of the boxes
        (
            [(10, 10, 13, 13), (20, 20, 40, 40), (90, 10, 120, 30), (20, 20, 40, 40)],
            {},
            [("tiny", 0), ("beyond-edge", 2), ("duplicate-box", 3)],
        ),
    ],
)
def test_boxes(boxes, more, expected):
    assert kinds(*boxes, **more) == expected


@pytest.mark.parametrize("number, expected", [(100, []), (101, [("crowd", None)])])
def test_crowd(number, expected):
    boxes = [(10 * (i % 40), 10 * (i // 40), 10 * (i % 40) + 8, 10 * (i // 40) + 8) for i in range(number)]
    assert kinds(*boxes, width=400, height=400) == expected


def test_text_and_numbers():
    found = findings.in_boxes(
        image((10, 10, 30, 40), (10, 10, 30, 40), (-2.5, 10, 30, 20), (60, 20, 62, 60), width=100, height=80)
    )
    assert [str(each) for each in found] == [
        "a.jpg, box 2: the same as box 1 (IoU 1.000)",
        "a.jpg, box 3: (-2.5, 10, 30, 20) reaches 2.5 px out of the 100 x 80 px",
        "a.jpg, box 4: 2 x 40 px at (60, 20): one side is 20.0 times the other",
        "a.jpg, box 4: 2 x 40 px at (60, 20)",
    ]
    assert [each.number for each in found] == [1, 2.5, 20, 2]
    assert [each.severity for each in found] == ["warning", "note", "warning", "warning"]


boxes = arrays.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 12).map(float))


@given(boxes=boxes, names=st.lists(st.sampled_from(["face", "head"]), min_size=12, max_size=12))
def test_duplicates_as_pycocotools_sees_them(boxes, names):
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    picture = image(*boxes.tolist(), classes=tuple(names[: len(boxes)]))
    expected = {}
    sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    for i in range(len(boxes)):
        for j in range(i):
            iou = mask.iou(sides[[i]], sides[[j]], [0])[0, 0] if sides[[i, j], 2:].all() else 0.0
            if (boxes[i] == boxes[j]).all():
                iou = 1.0
            if names[i] == names[j] and iou > max(0.5, expected.get(i, 0)):
                expected[i] = iou
    found = {each.box: each.number for each in findings.duplicate_boxes(picture, 0.5)}
    assert found == pytest.approx(expected)


def test_ten_thousand_boxes_in_one_image(monkeypatch):
    chance = np.random.default_rng(0)
    low = chance.uniform(0, 900, (2000, 2)).round()
    high = low + chance.uniform(5, 9, (2000, 2)).round()
    many = image(*np.hstack([low, high]).tolist(), width=1000, height=1000)
    whole = findings.duplicate_boxes(many)
    monkeypatch.setattr(findings, "_PAIRS_AT_ONCE", 7001)  # in blocks of three boxes
    assert findings.duplicate_boxes(many) == whole
    monkeypatch.undo()
    same = image(*[(10, 10, 30, 30)] * 10_000, width=1000, height=1000)
    assert len(findings.duplicate_boxes(same)) == 9_999


@given(
    size=st.tuples(st.integers(1, 8000), st.integers(1, 8000)),
    sides=st.tuples(*[st.floats(0, 1, width=32)] * 4),
)
def test_records_hold_no_box_beyond_the_edge(size, sides):
    """float32 fractions, as records hold them."""
    xs, ys = sorted(np.float32(sides[:2])), sorted(np.float32(sides[2:]))
    box = (xs[0] * float(size[0]), ys[0] * float(size[1]), xs[1] * float(size[0]), ys[1] * float(size[1]))
    found = findings.over_the_edge(image(box, width=size[0], height=size[1]))
    assert not [each for each in found if each.kind == "beyond-edge"]


@pytest.mark.parametrize(
    "name, form, orientation, expected",
    [
        ("a.jpg", "JPEG", 1, []),
        ("a.JPEG", "JPEG", 1, []),
        ("a.jpg", "PNG", 1, ["a.jpg: is a PNG file"]),
        ("a.png", "JPEG", 1, ["a.png: is a JPEG file"]),
        ("a.bmp", "WEBP", 1, ["a.bmp: is a WebP file"]),
        ("a.jpg", "JPEG", 6, ["a.jpg: EXIF orientation 6"]),
        ("a", "JPEG", 1, []),
        ("a.dat", "JPEG", 1, []),
    ],
)
def test_files(tmp_path, picture, name, form, orientation, expected):
    data = picture(form=form)
    assert [str(e) for e in findings.in_file(image(name=name, source=tmp_path), data, orientation)] == expected


def test_the_name_of_an_image_in_a_record_says_nothing(picture):
    assert findings.in_file(image(name="a.webp", source=b""), picture(), 1) == []


@pytest.mark.parametrize(
    "boxes, label_map, expected",
    [
        ({}, {"face": 1}, ["'face'"]),
        ({"face": 3}, {"face": 1}, []),
        ({"face": 3}, {"face": 1, "head": 2}, ["'head'"]),
        (
            {"face": 3, "Face": 1200},
            {"face": 1},
            ["'Face': 1,200 boxes, the first in 1.jpg; take it with --class Face=f"],
        ),
    ],
)
def test_classes(boxes, label_map, expected):
    found = findings.in_classes(boxes, {name: f"{i}.jpg" for i, name in enumerate(boxes)}, label_map)
    assert len(found) == len(expected)
    for each, text in zip(found, expected, strict=True):
        assert str(each).startswith(text)
