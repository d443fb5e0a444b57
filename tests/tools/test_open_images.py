"""Open Images boxes CSV: column names and order, classes, missing labels, bad lines, round trips."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage
from tools.formats import open_images
from tools.open_images.boxes import FLAGS
from tools.report import Report

V4 = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
V6 = V4.strip() + ",XClick1X,XClick2X,XClick3X,XClick4X,XClick1Y,XClick2Y,XClick3Y,XClick4Y\n"


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture())
    (folder / "below" / "b.JPEG").write_bytes(picture(width=100, height=50))
    (folder / "below" / "c.png").write_bytes(picture(form="PNG"))
    return folder


@pytest.fixture
def load(tmp_path, images):
    def run(text, classes=None):
        lines = []
        report = Report(show=lines.append)
        (tmp_path / "boxes.csv").write_text(text)
        return list(open_images.load(tmp_path / "boxes.csv", images, classes, report)), report, lines

    return run


@pytest.mark.parametrize("header, more", [(V4, ""), (V6, ",.1" * 8)])
def test_load(load, header, more):
    loaded, report, lines = load(
        header
        + f"b,xclick,/m/0dzct,1,0.1,0.5,0.2,0.8,1,0,-1,0,1{more}\n"
        + f"a,xclick,/m/0dzct,1,0.25,0.5,0,1,0,0,1,0,0{more}\n"
        + f"b,xclick,/m/01g317,1,0,1,0,1,0,0,0,0,0{more}\n"
        + f"c,xclick,/m/01g317,1,0,1,0,1,0,0,0,0,0{more}\n"
        + f"b,xclick,/m/0dzct,1,0.5,0.5,0.2,0.8,0,0,0,0,0{more}\n"
        + f"b,xclick,/m/0dzct,1,-0.1,0.5,0.2,1.1,0,0,0,1,0{more}\n"
    )
    assert [image.name for image in loaded] == ["below/b.JPEG", "a.jpg"]
    np.testing.assert_allclose(loaded[0].xyxy, [[10, 10, 50, 40], [-10, 10, 50, 55]])
    assert loaded[0].classes == ("face", "face")
    assert {name: values.tolist() for name, values in loaded[0].flags.items()} == {
        "occluded": [1, 0],
        "truncated": [0, 0],
        "group_of": [-1, 0],
        "depiction": [0, 1],
        "inside": [1, 0],
    }
    assert loaded[1].xyxy.tolist() == [[12, 0, 24, 32]]
    assert report.dropped == {"of another class": 2, "zero size": 1}
    assert report.skipped == {"with boxes of other classes only": 1}
    assert lines == []


def test_columns_go_by_name(load):
    loaded, _, _ = load("YMax,YMin,XMax,XMin,LabelName,ImageID\n1,0.5,0.5,0,Human face,a\n")
    assert loaded[0].xyxy.tolist() == [[0, 16, 24, 32]]
    assert loaded[0].flags["group_of"].tolist() == [-1]


def test_classes(load, tmp_path):
    text = V4 + "a,,/m/04yx4,1,0,1,0,1,0,0,0,0,0\na,,/m/03bt1vf,1,0,1,0,1,0,0,0,0,0\na,,/m/0dzct,1,0,1,0,1,0,0,0,0,0\n"
    loaded, report, _ = load(text, {"/m/04yx4": "person", "/m/03bt1vf": "person"})
    assert loaded[0].classes == ("person", "person")
    assert report.dropped == {"of another class": 1}
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/04yx4,Man\n/m/0dzct,Human face\n")
    assert load(text, {"Man": "person"})[0][0].classes == ("person",)
    with pytest.raises(UserError, match=r"no box of 'Cat'; it has /m/04yx4, .*--class NAME=face"):
        load(text, {"Cat": "face"})


@pytest.mark.parametrize(
    "line, problem",
    [
        ("a,,/m/0dzct,1,0,1,0", "line 2: has 7 columns, the header has 13"),
        ("a,,/m/0dzct,1,0,1,0,1,0,0,0,0,0,0", "line 2: has 14 columns"),
        ("a,,/m/0dzct,1,x,1,0,1,0,0,0,0,0", "line 2: a box side or flag is not a number"),
        ("a,,/m/0dzct,1,0,nan,0,1,0,0,0,0,0", "line 2: a side is not a finite number"),
        ("a,,/m/0dzct,1,0.9,0.1,0,1,0,0,0,0,0", "line 2: inverted"),
        ("a,,/m/0dzct,1,10,300,0,1,0,0,0,0,0", "line 2: sides must be fractions"),
        ("a,,/m/0dzct,1,0,1,0,1,7,0,0,0,0", "line 2: flags must be 0, 1 or -1"),
        ("../a,,/m/0dzct,1,0,1,0,1,0,0,0,0,0", "line 2: '../a' is no ImageID"),
        ("none,,/m/0dzct,1,0,1,0,1,0,0,0,0,0", "line 2: image none: no none.jpg, .jpeg or .png in"),
    ],
)
def test_bad_lines_are_named_and_the_rest_is_read(load, line, problem):
    loaded, report, lines = load(V4 + line + "\nc,,/m/0dzct,1,0,1,0,1,0,0,0,0,0\n")
    assert [image.name for image in loaded] == ["below/c.png"]
    assert report.problems == len(lines) == 1
    assert re.search(f"boxes.csv, {problem}", lines[0])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: no column ImageID"),
        (V4, "it has no box at all"),
        ("ImageID,Source,LabelName,Confidence\na,x,/m/0dzct,1\n", "image labels, not of boxes"),
        ("filename,width\n", "not an Open Images boxes CSV"),
    ],
)
def test_nothing_to_go_on_with(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)


def test_two_files_of_one_name(load, images, picture):
    (images / "other").mkdir()
    (images / "other" / "b.png").write_bytes(picture(form="PNG"))
    loaded, _, lines = load(V4 + "b,,/m/0dzct,1,0,1,0,1,0,0,0,0,0\n")
    assert not loaded and "more than one file" in lines[0]


sides = st.tuples(*[st.floats(0, 1)] * 4).filter(lambda s: abs(s[0] - s[2]) > 1e-6 and abs(s[1] - s[3]) > 1e-6)
boxes = st.lists(st.tuples(sides, st.tuples(*[st.integers(-1, 1)] * 5)), min_size=1, max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=boxes)
def test_round_trip(tmp_path, images, boxes):
    xyxy = [[min(a, c) * 48, min(b, d) * 32, max(a, c) * 48, max(b, d) * 32] for (a, b, c, d), _ in boxes]
    flags = {name: [flag[i] for _, flag in boxes] for i, name in enumerate(FLAGS)}
    image = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",) * len(boxes), images / "a.jpg", flags)
    report = Report()
    open_images.save([image], tmp_path / "out", report)
    (again,) = open_images.load(tmp_path / "out" / open_images.ANNOTATIONS, images, None, report)
    assert report.problems == 0
    np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-6)
    assert {k: v.tolist() for k, v in again.flags.items()} == {k: v.tolist() for k, v in image.flags.items()}


def test_what_saving_drops(tmp_path, images):
    empty = AnnotatedImage("x/a.jpg", 48, 32, [], (), images / "a.jpg")
    ignored = AnnotatedImage("y/a.jpg", 48, 32, [[0, 0, 9, 9]], ("face",), images / "a.jpg", {"ignore": [1]})
    twin = AnnotatedImage("z/a.jpg", 48, 32, [[0, 0, 9, 9]], ("face",), images / "a.jpg")
    lines = []
    report = Report(show=lines.append)
    open_images.save([empty, ignored, twin], tmp_path, report)
    assert report.skipped == {"without boxes: the format cannot name them": 1}
    assert lines == ["error: z/a.jpg: has the ImageID of y/a.jpg; this one is left out"]
    assert (tmp_path / open_images.ANNOTATIONS).read_text() == (
        V4 + "a,converted,/m/0dzct,1,0,0.1875,0,0.28125,-1,-1,1,-1,-1\n"
    )
