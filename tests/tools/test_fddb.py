"""FDDB ellipse lists: ellipse and box, what is read, what is refused and where, and round trips."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage
from tools.formats import fddb, wider_face
from tools.report import Report

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(annotations, images, classes=None):
    lines = []
    report = Report(show=lines.append)
    return list(fddb.load(annotations, images, classes, report)), report, lines


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "pictures"
    for name in ("2002/08/11/big/img_591.jpg", "a.jpg", "b.png", "C.JPG", "twin.jpg", "twin.png", "7.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(form="PNG" if name.endswith("png") else "JPEG"))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize(
    "ellipse, box",
    [
        ((10, 5, 0, 20, 30), (10, 25, 30, 35)),
        ((10, 5, math.pi / 2, 20, 30), (15, 20, 25, 40)),
        ((10, 5, -math.pi / 2, 20, 30), (15, 20, 25, 40)),
        ((10, 5, math.pi, 20, 30), (10, 25, 30, 35)),
        ((10, 5, math.pi / 4, 0, 0), (-math.sqrt(62.5), -math.sqrt(62.5), math.sqrt(62.5), math.sqrt(62.5))),
        ((7, 7, 1.234, 20, 30), (13, 23, 27, 37)),
    ],
)
def test_box_of_an_ellipse(ellipse, box):
    assert fddb.ellipse_box(*ellipse) == pytest.approx(box, abs=1e-12)


@given(
    major=st.floats(1, 500), ratio=st.floats(0.05, 1), angle=st.floats(-7, 7), x=st.floats(-99, 999), y=st.floats(0, 9)
)
def test_box_is_tight(major, ratio, angle, x, y):
    minor = major * ratio
    t = np.linspace(0, 2 * np.pi, 20001)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = turn @ np.stack([major * np.cos(t), minor * np.sin(t)]) + [[x], [y]]
    sampled = [*points.min(axis=1), *points.max(axis=1)]
    np.testing.assert_allclose(fddb.ellipse_box(major, minor, angle, x, y), sampled, atol=1e-6 * major)


def test_load(images, tmp_path):
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_text(
        "2002/08/11/big/img_591\n1\n8.5 4.25 0.0 20.0 16.0  1\na\n2\n8 4 1.5707963267948966 20 16  1\n0 4 0 20 16 1\n"
    )
    (tmp_path / "FDDB-fold-02-ellipseList.txt").write_text("b\n0\nC\n1\n100 50 0 0 0  1\n7\n0\n")
    (tmp_path / "FDDB-fold-02.txt").write_text("not to be read\n")
    loaded, report, lines = load(tmp_path, images, {"face": "head"})
    assert [image.name for image in loaded] == ["2002/08/11/big/img_591.jpg", "a.jpg", "b.png", "C.JPG", "7.jpg"]
    assert [image.xyxy.round(9).tolist() for image in loaded] == [
        [[11.5, 11.75, 28.5, 20.25]],
        [[16, 8, 24, 24]],
        [],
        [[-100, -50, 100, 50]],  # beyond the edge, as annotated
        [],
    ]
    assert (loaded[0].width, loaded[0].height, loaded[0].classes) == (48, 32, ("head",))
    assert loaded[0].source == images / "2002/08/11/big/img_591.jpg"
    assert report.dropped == {"zero size": 1}
    assert report.class_names == {"face": 4}
    assert lines == []
    assert [image.name for image in load(tmp_path / "FDDB-fold-02-ellipseList.txt", images)[0]] == [
        "b.png",
        "C.JPG",
        "7.jpg",
    ]


@pytest.mark.parametrize(
    "text, boxes, problems",
    [
        ("\ufeffa\r\n1\r\n8 4 0 20 16  1\r\n", [1], []),
        ("a.jpg\n1\n8 4 0 20 16 1\n", [1], []),
        ("7\n1\n8 4 0 20 16 1\n", [1], []),
        ("8 4 0 20 16 1\n8 4 0 20 16 1\na\n0\n", [0], ["line 1: comes before the first image path: '8 4 0"]),
        ("b\na\n0\n", [0], ["line 1: b: a number of faces must follow; the image"]),
        ("a\n0\nb\n", [0], ["line 3: b: a number of faces must follow"]),
        ("b\n-1\na\n0\n", [0], ["line 1: b: a number of faces must follow, not '-1'"]),
        ("b\n1.5\na\n0\n", [0], ["line 1: b: a number of faces must follow, not '1.5'"]),
        (f"b\n{'9' * 5000}\na\n0\n", [0], ["line 1: b: 9{40} faces are announced, 0 lines follow"]),
        ("b\n2\n8 4 0 20 16 1\na\n0\n", [0], ["line 1: b: 2 faces are announced, 1 lines follow"]),
        ("b\n1\n8 4 0 20 16 1\n8 4 0 20 16 1\na\n0\n", [0], ["line 1: b: 1 faces are announced, 2 lines follow"]),
        ("a\n2\n8 4 0 20 16 1\n8 4 0 20 16\n", [1], ["line 4: not `major_axis_radius minor.*'8 4 0 20 16'; this face"]),
        ("a\n2\n8 4 0 20 x 1\n8 4 0 20 16 1\n", [1], ["line 3: not `major_axis_radius"]),
        ("a\n1\n8 4 0 20 16 0.93\n", [0], ["line 3: not `major_axis_radius"]),
        ("a\n1\n8 4 0 20 16 1 1\n", [0], ["line 3: not `major_axis_radius"]),
        ("a\n1\n-8 4 0 20 16 1\n", [0], ["line 3: the ellipse is '-8 4 0 20 16 1': a radius is negative"]),
        ("a\n1\n8 -4 0 20 16 1\n", [0], ["line 3: .*a radius is negative"]),
        ("a\n1\n8 4 nan 20 16 1\n", [0], ["line 3: .*a value is not a finite number"]),
        ("a\n1\n8 inf 0 20 16 1\n", [0], ["line 3: .*a value is not a finite number"]),
        ("a\n1\n1e308 4 0 1e308 16 1\n", [0], ["line 3: .*a side is not a finite number"]),
        ("a\n0\na\n0\n", [0], ["line 3: a: is there twice, first in .*gt.txt, line 1"]),
        ("a\n0\na.jpg\n0\n", [0], ["line 3: a.jpg: is there twice"]),
        ("none\n0\na\n0\n", [0], ["line 1: none: no none.jpg or other image of this name"]),
        ("n" * 300 + "\n0\na\n0\n", [0], ["line 1: n+: no n+.jpg or other"]),
        ("../a\n0\na\n0\n", [0], ["line 1: ../a: .*not a path inside"]),
        ("twin\n0\na\n0\n", [0], ["line 1: twin: more than one file of this name: twin.jpg and twin.png"]),
        ("broken\n0\na\n0\n", [0], ["line 1: broken: not a JPEG"]),
    ],
)
def test_bad_items_are_named_and_the_rest_is_read(images, tmp_path, text, boxes, problems):
    (tmp_path / "gt.txt").write_bytes(text.encode())
    loaded, report, lines = load(tmp_path / "gt.txt", images)
    assert [len(image) for image in loaded] == boxes
    assert report.problems == len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert re.search(f"gt.txt, {problem}", line)


def test_nothing_to_go_on_with(images, tmp_path):
    (tmp_path / "good.txt").write_text("a\n0\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    for arguments, message in [
        ((tmp_path / "none.txt", images), "none.txt: No such file"),
        ((tmp_path / "empty.txt", images), "not an FDDB ellipse list"),
        ((tmp_path / "words.txt", images), "not an FDDB ellipse list"),
        ((tmp_path / "binary.txt", images), "not text"),
        ((images, images), r"no \*ellipseList.txt in this folder"),
        ((tmp_path / "good.txt", tmp_path / "none"), "no such folder"),
        ((tmp_path / "good.txt", None), "give --images"),
        ((tmp_path / "good.txt", images, {"head": "face"}), "one class, face"),
    ]:
        with pytest.raises(UserError, match=message):
            load(*arguments)


sides = st.tuples(st.floats(-50, 2000), st.floats(-50, 2000), st.floats(0.01, 3000), st.floats(0.01, 3000))


@FIXTURE
@given(faces=st.lists(sides, max_size=6))
def test_round_trip(tmp_path, images, faces):
    xyxy = [[x, y, x + width, y + height] for x, y, width, height in faces]
    saved = [
        AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",) * len(faces), images / "a.jpg"),
        AnnotatedImage("7.jpg", 48, 32, xyxy[:1], ("face",) * len(faces[:1]), images / "7.jpg"),
    ]
    report = Report()
    fddb.save(saved, tmp_path, report)
    assert (report.images, report.boxes) == (2, len(faces) + len(faces[:1]))
    loaded, report, lines = load(tmp_path / fddb.ANNOTATIONS, images)
    assert not lines and not report.dropped
    for again, image in zip(loaded, saved, strict=True):
        assert again.name == image.name
        np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-11)


def test_what_is_written(tmp_path, images, picture):
    flags = {"ignore": [1, 0]}
    two = AnnotatedImage("2002/a.jpg", 48, 32, [[10, 4, 30, 24], [1, 2, 5, 20]], ("face", "x"), images / "a.jpg", flags)
    twin = AnnotatedImage("2002/a.png", 48, 32, [], (), images / "b.png")
    row = AnnotatedImage("1 2.jpg", 48, 32, [], (), images / "a.jpg")
    lined = AnnotatedImage("1\n2.jpg", 48, 32, [], (), images / "a.jpg")
    held = AnnotatedImage("held", 48, 32, [], (), picture())
    lines = []
    report = Report(show=lines.append)
    fddb.save([two, twin, row, lined, held], tmp_path / "out", report)
    assert (tmp_path / "out" / "FDDB-fold-01-ellipseList.txt").read_text() == (
        "2002/a\n2\n10.0 10.0 0.0 20.0 14.0  1\n9.0 2.0 1.5707963267948966 3.0 11.0  1\nheld\n0\n"
    )
    assert (tmp_path / "out" / "images" / "held.jpg").read_bytes() == picture()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "2002/a.png: differs from 2002/a.jpg by its suffix only; this one is left out",
        "1 2.jpg: '1 2' would not be read as an image's path in an FDDB ellipse list",
        "1 2.jpg: '1\\n2' would not be read as an image's path in an FDDB ellipse list",
    ]
    assert (report.images, report.boxes, report.problems) == (2, 2, 3)
    with pytest.raises(UserError, match="not written"):
        fddb.save([], tmp_path / "out", Report())
    assert (tmp_path / "out" / "FDDB-fold-01-ellipseList.txt").read_text().startswith("2002/a\n")


pieces = st.sampled_from(
    ["a", "7", "b.png", "0", "1", "2", "8 4 0 20 16 1", "8 4 0 20 x 1", "-8 nan 0 20 16 1", "../a", "twin"]
)
texts = st.lists(pieces | st.text(st.characters(codec="utf-8"), max_size=20), max_size=12).map("\n".join)


@FIXTURE
@given(text=texts)
def test_any_text_is_read_or_refused(tmp_path, images, text):
    (tmp_path / "gt.txt").write_text(text, encoding="utf-8")
    try:
        _, _, lines = load(tmp_path / "gt.txt", images)
        assert not any("\n" in line for line in lines)
    except UserError as error:
        assert "\n" not in str(error)


def test_real_faces(shared_wider, tmp_path):
    folder, annotations = shared_wider("wider_dev")
    originals = list(itertools.islice(wider_face.load(annotations, folder, None, Report()), 100))
    fddb.save(originals, tmp_path, Report())
    loaded, report, _ = load(tmp_path / fddb.ANNOTATIONS, folder)
    assert report.problems == 0 and sum(map(len, originals)) > 500
    for again, image in zip(loaded, originals, strict=True):
        assert (again.name, again.width, again.height) == (image.name, image.width, image.height)
        np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-9)
