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
BOX = V4 + "a,,/m/0dzct,1,0.25,0.5,0,1,0,0,0,0,0\n"
LABELS = "ImageID,Source,LabelName,Confidence\n"
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
    def run(text, classes=None, labels=None):
        lines = []
        report = Report(show=lines.append)
        (tmp_path / "boxes.csv").write_bytes(text.encode())
        options = {}
        if labels is not None:
            (tmp_path / "labels.csv").write_bytes(labels.encode())
            options["image_labels"] = tmp_path / "labels.csv"
        loaded = open_images.load(tmp_path / "boxes.csv", images, classes, report, **options)
        count, loaded = len(loaded), list(loaded)
        assert count == len(loaded) + sum("image " in line for line in lines)
        return loaded, report, lines

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


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + BOX,
        BOX.replace("\n", "\r\n"),
        BOX.replace("a,,", '"a","x, y",'),
        BOX + "\n\n",
        BOX.rstrip("\n"),
        BOX.replace(",IsInside", ",IsInside,LabelText").replace(",0\n", ',0,"a ""face"", seen"\n'),
    ],
)
def test_ways_to_write_a_csv(load, text):
    (image,), report, _ = load(text)
    assert image.name == "a.jpg" and image.xyxy.tolist() == [[12, 0, 24, 32]]
    assert report.class_names == {"/m/0dzct": 1}


def test_the_columns_that_are_cut_off_may_be_the_last(load):
    (image,), _, _ = load("XMin,XMax,YMin,YMax,ImageID,LabelName\r\n0,1,0,1,a,/m/0dzct\r\n0,1,0,1,a,/m/01g317\r\n")
    assert len(image) == 1


def test_what_the_classes_are_called_in_the_source(load, tmp_path):
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/04yx4,Man\n/m/0dzct,Human face\n")
    text = V4 + "a,,/m/04yx4,1,0,1,0,1,0,0,0,0,0\na,,/m/0dzct,1,0,1,0,1,0,0,0,0,0\na,,Cat,1,0,1,0,1,0,0,0,0,0\n"
    assert load(text)[1].class_names == {"/m/0dzct": 1, "/m/04yx4": 1, "Cat": 1}
    assert load(text, {"Man": "person"})[1].class_names == {"Man": 1, "/m/0dzct": 1, "Cat": 1}


@pytest.mark.parametrize(
    "labels, empty, skipped",
    [
        ("", [], {}),
        ("b,verification,/m/0dzct,0", ["below/b.JPEG"], {}),
        ("c,,/m/0dzct,0.0\nb,verification,/m/0dzct,0", ["below/c.png", "below/b.JPEG"], {}),
        ("b,,Human face,0", ["below/b.JPEG"], {}),
        ("b,,/m/0dzct,0\nb,,/m/0dzct,0", ["below/b.JPEG"], {}),
        ("b,,/m/01g317,0\nb,,/m/01g317,1", [], {}),
        ("b,,/m/0dzct,1", [], {"verified to have the class, without a box of it": 1}),
        ("b,,/m/0dzct,1\nb,,/m/0dzct,0", [], {"verified to have the class, without a box of it": 1}),
        ("a,,/m/0dzct,1", [], {}),
    ],
)
def test_verified_labels(load, labels, empty, skipped):
    loaded, report, lines = load(BOX, labels=LABELS + labels + "\n")
    assert [image.name for image in loaded] == ["a.jpg", *empty]
    assert [len(image) for image in loaded] == [1] + [0] * len(empty)
    assert report.skipped == skipped and not lines
    if "below/b.JPEG" in empty:
        assert (loaded[-1].width, loaded[-1].height) == (100, 50)


def test_an_image_with_boxes_of_other_classes_is_empty_once_verified(load):
    text = BOX + "b,,/m/01g317,1,0,1,0,1,0,0,0,0,0\nc,,/m/01g317,1,0,1,0,1,0,0,0,0,0\n"
    loaded, report, _ = load(text, labels=LABELS + "b,,/m/0dzct,0\n")
    assert [image.name for image in loaded] == ["a.jpg", "below/b.JPEG"]
    assert report.skipped == {"with boxes of other classes only": 1}


def test_a_contradiction_is_left_out_and_counted(load):
    text = BOX + "b,,/m/0dzct,1,0,1,0,1,0,0,0,0,0\n"
    loaded, report, lines = load(text, labels=LABELS + "a,,/m/0dzct,0\n")
    assert [image.name for image in loaded] == ["below/b.JPEG"]
    assert report.skipped == {"with boxes of a class that was verified not to be there": 1} and not lines


def test_no_box_at_all_but_verified_labels(load):
    (image,), report, _ = load(V4, labels=LABELS + "a,,/m/0dzct,0\n")
    assert len(image) == 0 and image.source.is_file() and not report.skipped
    with pytest.raises(UserError, match=r"no box of '/m/0dzct'"):
        load(V4, labels=LABELS + "a,,/m/0dzct,1\n")


def test_an_image_with_a_bad_box_is_not_taken_for_empty(load):
    loaded, report, lines = load(BOX + "b,,/m/0dzct,1,0.9,0.1,0,1,0,0,0,0,0\n", labels=LABELS + "b,,/m/0dzct,0\n")
    assert [image.name for image in loaded] == ["a.jpg"] and report.problems == len(lines) == 1


@pytest.mark.parametrize(
    "line, problem",
    [
        ("b,,/m/0dzct", "line 2: has 3 columns, the header has 4"),
        ("b,,/m/0dzct,0.7", "line 2: Confidence must be 0 or 1 in verified labels, not '0.7'; this label is left out"),
        ("b,,/m/0dzct,no", "line 2: Confidence must be 0 or 1"),
        ("b/b,,/m/0dzct,0", "line 2: 'b/b' is no ImageID"),
        ("none,,/m/0dzct,0", r"line 2: image none: no none\.jpg"),
    ],
)
def test_bad_labels_are_named_and_the_rest_is_read(load, line, problem):
    loaded, report, lines = load(BOX, labels=LABELS + line + "\nc,,/m/0dzct,0\n")
    assert [image.name for image in loaded] == ["a.jpg", "below/c.png"]
    assert report.problems == len(lines) == 1
    assert re.search(f"labels.csv, {problem}", lines[0])


@pytest.mark.parametrize(
    "labels, message",
    [
        (BOX, "line 1: this is the file of boxes, not of image labels"),
        ("", "line 1: no column ImageID, LabelName, Confidence"),
        (LABELS + "a,machine,/m/0dzct,0.9\n", "labels given by a machine"),
    ],
)
def test_files_that_are_no_verified_labels(load, labels, message):
    with pytest.raises(UserError, match=f"labels.csv.*{message}"):
        load(BOX, labels=labels)


NAMES = ("/m/04yx4", "/m/03bt1vf", "/m/01g317")
pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(NAMES)), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=pairs, labels=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(NAMES), st.integers(0, 1))))
def test_two_classes_against_the_definition(load, boxes, labels):
    wanted = NAMES[:2]
    there = {(i, name) for i, name, value in labels if value}
    refuted = {(i, name) for i, name, value in labels if not value} - there
    expected = []
    for i in dict.fromkeys(i for i, name in boxes if name in wanted):
        if not any((i, name) in boxes and (i, name) in refuted for name in wanted):
            expected.append((i, sum(box == (i, name) for box in boxes for name in wanted)))
    for i in dict.fromkeys(i for i, name, _ in labels if name in wanted):
        if all((i, name) in refuted and (i, name) not in boxes for name in wanted):
            expected.append((i, 0))
    if not any(name in wanted for _, name in boxes) and not expected:
        return
    loaded, report, _ = load(
        V4 + "".join(f"{i},,{name},1,0,1,0,1,0,0,0,0,0\n" for i, name in boxes),
        {name: "person" for name in wanted},
        LABELS + "".join(f"{i},,{name},{value}\n" for i, name, value in labels),
    )
    assert [(image.source.stem, len(image)) for image in loaded] == expected
    mentioned = {i for i, _ in boxes} | {i for i, name, _ in labels if name in wanted}
    assert report.skipped.total() == len(mentioned) - len(expected)


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
