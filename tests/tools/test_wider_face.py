"""The WIDER FACE format: what is read, what is refused and where, and round trips."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage
from tools.formats import wider_face
from tools.report import Report


def load(annotations, images, classes=None):
    lines = []
    report = Report(show=lines.append)
    return list(wider_face.load(annotations, images, classes, report)), report, lines


def test_load(wider):
    images, annotations = wider
    loaded, report, lines = load(annotations, images)
    assert [image.name for image in loaded] == [
        "0--Parade/a.jpg",
        "0--Parade/b.jpg",
        "1--Group/c.jpg",
        "1--Group/d.jpg",
    ]
    assert [len(image) for image in loaded] == [2, 0, 1, 1]
    first = loaded[0]
    assert (first.width, first.height, first.classes) == (48, 32, ("face", "face"))
    assert first.xyxy.tolist() == [[1, 2, 11, 14], [20.25, 3.5, 28.25, 13.25]]
    assert first.source.is_file()
    assert {name: values.tolist() for name, values in first.flags.items()} == {
        "blur": [0, 2],
        "expression": [0, 1],
        "illumination": [0, 1],
        "invalid": [0, 1],
        "occlusion": [0, 2],
        "pose": [0, 1],
        "ignore": [0, 1],
    }
    assert loaded[3].xyxy.tolist() == [[100, 100, 105, 105]]  # beyond the edge, as annotated
    assert report.dropped == {"zero or negative size": 1}
    assert lines == []


@pytest.mark.parametrize(
    "text, boxes, problems",
    [
        ("a.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n", [0], []),
        ("a.jpg\r\n1\r\n1 1 2 2 0 0 0 0 0 0 \r\n", [1], []),
        ("\ufeffa.jpg\n0\n\n", [0], []),
        ("a.jpg\n0\nb.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n", [0, 1], []),
        ("5\na.jpg\n0\n", [0], ["line 1: comes before the first image path"]),
        ("a.jpg\nb.jpg\n0\n", [0], ["line 1: a.jpg: nothing follows it"]),
        ("a.jpg\nmany\nb.jpg\n0\n", [0], ["line 1: a.jpg: a number of faces must follow, not 'many'"]),
        ("a.jpg\n-1\nb.jpg\n0\n", [0], ["line 1: a.jpg: a number of faces must follow"]),
        ("a.jpg\n2\n1 1 2 2 0 0 0 0 0 0\nb.jpg\n0\n", [0], ["line 1: a.jpg: 2 faces are announced, 1 lines follow"]),
        ("a.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n3 3 2 2 0 0 0 0 0 0\nb.jpg\n0\n", [0], ["line 1: a.jpg: 1 faces are ann"]),
        ("a.jpg\n0\n1 1 2 2 0 0 0 0 0 0\nb.jpg\n0\n", [0], ["line 1: a.jpg: 0 faces are announced, 1 lines"]),
        ("a.jpg\n2\n1 1 2 2 0 0 0 0 0 0\n1 1 2 2\n", [1], ["line 4: not `x y width height` and six flags"]),
        ("a.jpg\n1\n1 1 2 x 0 0 0 0 0 0\n", [0], ["line 3: not `x y width height`"]),
        ("a.jpg\n1\n1 1 2 2 0.5 0 0 0 0 0\n", [0], ["line 3: not `x y width height`"]),
        (
            "a.jpg\n1\nnan 1 2 2 0 0 0 0 0 0\n",
            [0],
            ["line 3: the box is 'nan 1 2 2 0 0 0 0 0 0': a side is not a finite"],
        ),
        ("a.jpg\n1\n1 inf 2 2 0 0 0 0 0 0\n", [0], ["line 3: the box is .*not a finite"]),
        ("a.jpg\n0\na.jpg\n0\n", [0], ["line 3: a.jpg is there twice, first on line 1"]),
        ("none.jpg\n0\na.jpg\n0\n", [0], ["line 1: none.jpg: no such file"]),
        ("x" * 300 + ".jpg\n0\na.jpg\n0\n", [0], ["line 1: x+.jpg: no such file"]),
        ("../a.jpg\n0\na.jpg\n0\n", [0], ["line 1: ../a.jpg: .*not a path inside"]),
        ("broken.jpg\n0\na.jpg\n0\n", [0], ["line 1: broken.jpg: not a JPEG"]),
    ],
)
def test_bad_items_are_named_and_the_rest_is_read(tmp_path, picture, text, boxes, problems):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "gt.txt").write_bytes(text.encode())
    loaded, report, lines = load(tmp_path / "gt.txt", tmp_path)
    assert [len(image) for image in loaded] == boxes
    assert report.problems == len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert re.search(f"gt.txt, {problem}", line)


def test_nothing_to_go_on_with(wider, tmp_path):
    images, annotations = wider
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    for arguments, message in [
        ((tmp_path / "none.txt", images), "No such file"),
        ((tmp_path / "empty.txt", images), "not a WIDER FACE"),
        ((tmp_path / "binary.txt", images), "not text"),
        ((annotations, tmp_path / "none"), "no such folder"),
        ((annotations, None), "give --images"),
        ((annotations, images, {"head": "face"}), "one class, face"),
    ]:
        with pytest.raises(UserError, match=message):
            load(*arguments)


def test_class_name(wider):
    images, annotations = wider
    assert load(annotations, images, {"face": "head"})[0][2].classes == ("head",)


hundredths = st.integers(0, 4000).map(lambda value: value / 100)
faces = st.lists(
    st.tuples(hundredths, hundredths, st.integers(1, 900), st.integers(1, 900), *[st.integers(0, 1)] * 6), max_size=6
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faces=faces)
def test_round_trip(tmp_path, picture, faces):
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "images" / "a.jpg").write_bytes(picture())
    xyxy = [[x, y, x + width / 100, y + height / 100] for x, y, width, height, *_ in faces]
    flags = {flag: [face[4 + i] for face in faces] for i, flag in enumerate(wider_face._FLAGS)}
    flags["ignore"] = flags["invalid"]
    image = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",) * len(faces), tmp_path / "images" / "a.jpg", flags)
    wider_face.save([image], tmp_path, Report())
    (again,), report, lines = load(tmp_path / wider_face.ANNOTATIONS, tmp_path / "images")
    assert not lines and not report.dropped
    np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-9)
    assert {k: v.tolist() for k, v in again.flags.items()} == {k: v.tolist() for k, v in image.flags.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("a.jpg0 1-\nne"), max_size=80))
def test_any_text_is_read_or_refused(tmp_path, picture, text):
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "gt.txt").write_text(text)
    try:
        load(tmp_path / "gt.txt", tmp_path)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "name, images, boxes, empty, bad", [("wider_dev", 400, 4897, 0, 0), ("wider_train_640", 3553, 64853, 13, 0)]
)
def test_real_sets(shared_wider, name, images, boxes, empty, bad):
    folder, annotations = shared_wider(name)
    loaded, report, _ = load(annotations, folder)
    assert (len(loaded), sum(map(len, loaded))) == (images, boxes)
    assert (report.dropped["zero or negative size"], report.problems) == (empty, bad)
