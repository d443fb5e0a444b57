"""CSV of the OD API's tutorials: columns, lines in any order, bad lines by number, pandas as the tutorials use it."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tests.tools.conftest import SHARED
from tools.annotations import AnnotatedImage
from tools.formats import od_api_csv, pascal_voc
from tools.report import Report

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b, c.jpg", "sub/c.jpg"):
        (folder / name).write_bytes(picture())
    return folder


@pytest.fixture
def load(tmp_path, images):
    def run(text, classes=None):
        (tmp_path / "boxes.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        lines = []
        report = Report(show=lines.append)
        stream = od_api_csv.load(tmp_path / "boxes.csv", images, classes, report)
        loaded = list(stream)
        assert len(stream) >= len(loaded)
        return loaded, report, lines

    return run


def test_load(load, images):
    loaded, report, lines = load(
        HEADER
        + "sub/c.jpg,48,32,face,0,0,48,32\n"
        + "a.jpg,48,32,hat,1,2,3,4\n"
        + "\n"
        + '"b, c.jpg",48,32,"face, with a ""hat""",1.5,-2,60,4e1\n'
        + "sub/c.jpg,48,32,face,5,6,7.25,8\n"
        + "sub/c.jpg,48,32,face,5,6,5,8\n"
    )
    assert [image.name for image in loaded] == ["sub/c.jpg", "a.jpg", "b, c.jpg"]
    assert [image.classes for image in loaded] == [("face", "face"), ("hat",), ('face, with a "hat"',)]
    assert [image.xyxy.tolist() for image in loaded] == [
        [[0, 0, 48, 32], [5, 6, 7.25, 8]],
        [[1, 2, 3, 4]],
        [[1.5, -2, 60, 40]],
    ]
    assert (loaded[0].width, loaded[0].height, loaded[0].source) == (48, 32, images / "sub" / "c.jpg")
    assert loaded[0].flags == {}
    assert lines == [] and report.dropped == {"zero size": 1}
    assert report.class_names == {"face": 3, "hat": 1, 'face, with a "hat"': 1}


def test_columns_go_by_name(load):
    text = "\ufeffymax,ymin,xmax,xmin, class ,score,height,width,filename\r\n4,2,3,1,face,0.5,32,48,a.jpg\r\n"
    (image,), _, lines = load(text)
    assert (image.xyxy.tolist(), image.classes, lines) == ([[1, 2, 3, 4]], ("face",), [])


def test_classes(load):
    """An image that has boxes of other classes only was looked at: it is one without wanted boxes."""
    text = HEADER + "a.jpg,48,32,hat,1,2,x,4\nsub/c.jpg,48,32,face,1,2,3,4\n"
    loaded, report, lines = load(text, {"face": "head"})
    assert [(image.name, image.classes) for image in loaded] == [("a.jpg", ()), ("sub/c.jpg", ("head",))]
    assert report.dropped == {"of another class": 1} and lines == []


@pytest.mark.parametrize("size", [",", "0,0", "48.0,32", ",32"])
def test_sizes_need_not_be_stated(load, size):
    (image,), _, lines = load(HEADER + f"a.jpg,{size},face,1,2,3,4\n")
    assert (image.width, image.height, lines) == (48, 32, [])


@pytest.mark.parametrize(
    "line, problem",
    [
        ("a.jpg,48,32,face,1,2,3", "line 3: has 7 columns, the header has 8; this line is left out"),
        ("a.jpg,48,32,face,1,2,3,4,5", "line 3: has 9 columns"),
        ("a.jpg,48,32,face,1,2,three,4", "line 3: xmax is 'three', not a number; this line is left out"),
        ("a.jpg,48,32,face,1,2,,4", "line 3: xmax is '', not a number"),
        ("a.jpg,48,32,face,1,2,nan,4", "line 3: the box is 1, 2, nan, 4: a side is not a finite number"),
        ("a.jpg,48,32,face,1,2,1e999,4", "line 3: the box is .*not a finite number"),
        ("a.jpg,48,32,face,9,2,3,4", "line 3: the box is 9, 2, 3, 4: inverted"),
        ("a.jpg,48,x,face,1,2,3,4", "line 3: width and height are '48' and 'x', not pixels"),
        ("a.jpg,-48,32,face,1,2,3,4", "line 3: width and height are '-48' and '32'"),
        ("a.jpg,48.5,32,face,1,2,3,4", "line 3: width and height are '48.5'"),
        ("a.jpg,49,32,face,1,2,3,4", "line 3: 'a.jpg': is 48x32 pixels, its annotation is for 49x32"),
        (",48,32,face,1,2,3,4", "line 3: no filename"),
        ("a.jpg,48,32,,1,2,3,4", "line 3: no class"),
        ("sub/c.jpg,32,48,face,1,2,3,4", "line 3: 'sub/c.jpg' is 32x48 pixels here, 48x32 on line 2"),
        ("none.jpg,48,32,face,1,2,3,4", "line 3: 'none.jpg': no such file"),
        ("../a.jpg,48,32,face,1,2,3,4", "line 3: '../a.jpg': .*not a path inside"),
        (f"{'x' * 5000},48,32,face,1,2,3,4", "line 3: '.*no such file"),
        ("broken.jpg,48,32,face,1,2,3,4", "line 3: 'broken.jpg': not a JPEG"),
        ("./sub/c.jpg,48,32,face,1,2,3,4", "line 3: './sub/c.jpg' is the image of line 2; it is left out"),
    ],
)
def test_bad_lines_are_named_and_the_rest_is_read(load, images, line, problem):
    (images / "broken.jpg").write_bytes(b"no picture")
    row = "sub/c.jpg,48,32,face,1,2,3,4\n"
    loaded, report, lines = load(HEADER + row + line + "\n" + row)
    assert [(image.name, len(image)) for image in loaded] == [("sub/c.jpg", 2)]
    assert report.problems == len(lines) == 1
    assert re.search(f"boxes.csv, {problem}", lines[0]) and "\n" not in lines[0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "boxes.csv, line 1: no column filename, width, .*: a CSV file of the OD API begins filename,width,height"),
        ("filename;width;height;class;xmin;ymin;xmax;ymax\n", "line 1: no column filename"),
        ("a.jpg,48,32,face,1,2,3,4\n", "line 1: no column filename"),
        (HEADER.replace("xmax,", ""), "line 1: no column xmax: "),
        (HEADER, "boxes.csv: no box in it"),
        (b"\xff\xfe\x00\x81", "boxes.csv: not text"),
        (HEADER.encode() + b"\xe9.jpg,48,32,face,1,2,3,4\n", "boxes.csv: not text"),
        (HEADER + '"' + "x" * 200000 + '"\n', "boxes.csv, line 2: not a CSV file .*limit"),
    ],
)
def test_nothing_to_go_on_with(load, text, message):
    with pytest.raises(UserError, match=message) as raised:
        load(text)
    assert "\n" not in str(raised.value)


def test_no_file(images, tmp_path):
    with pytest.raises(UserError, match=r"none.csv: No such file or directory; give the path of a CSV"):
        od_api_csv.load(tmp_path / "none.csv", images, None, Report())
    with pytest.raises(UserError, match="give --images"):
        od_api_csv.load(tmp_path / "none.csv", None, None, Report())


def test_save(images, tmp_path, picture):
    xyxy = [[0, 0, 48, 32], [0.1, -1.5, 20, 1 / 3]]
    first = AnnotatedImage("b, c.jpg", 48, 32, xyxy, ("face", 'a "ñ"\n'), images / "b, c.jpg", {"ignore": [0, 1]})
    empty = AnnotatedImage("a.jpg", 48, 32, [], (), images / "a.jpg")
    held = AnnotatedImage("x/held", 48, 32, [[3, 3, 4, 4]], ("hat",), picture())
    bad = AnnotatedImage("bad", 1, 1, [[3, 3, 4, 4]], ("hat",), b"no picture")
    lines = []
    report = Report(show=lines.append)
    names = [
        AnnotatedImage(n, 48, 32, [[0, 0, 1, 1]], (c,), images / "a.jpg") for n, c in [("\udc80", "a"), ("d", "\r")]
    ]
    od_api_csv.save(iter([first, empty, bad, *names, held]), tmp_path / "out", report)
    assert (report.images, report.boxes) == (2, 3)
    assert report.skipped == {"without boxes: the format cannot name them": 1}
    assert lines == [
        "error: bad: not a JPEG, PNG, WebP or BMP image",
        r"error: " + "\udc80" + r": '\udc80' cannot be written to a CSV file; the image is left out",
        r"error: d: '\r' cannot be written to a CSV file; the image is left out",
    ]
    assert (tmp_path / "out" / od_api_csv.ANNOTATIONS).read_text() == (
        HEADER + '"b, c.jpg",48,32,face,0,0,48,32\n'
        '"b, c.jpg",48,32,"a ""ñ""\n",0.1,-1.5,20,0.3333333333333333\n'
        "x/held.jpg,48,32,hat,3,3,4,4\n"
    )
    assert (tmp_path / "out/images/x/held.jpg").read_bytes() == held.source


def test_nothing_to_save_keeps_what_was_there(images, tmp_path):
    (tmp_path / od_api_csv.ANNOTATIONS).write_text("kept")
    with pytest.raises(UserError, match="not one good image"):
        od_api_csv.save([AnnotatedImage("a.jpg", 48, 32, [], (), images / "a.jpg")], tmp_path, Report())
    assert (tmp_path / od_api_csv.ANNOTATIONS).read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == [od_api_csv.ANNOTATIONS, "images"]


sides = st.floats(-1e6, 1e6)
class_names = st.text(st.characters(blacklist_characters="\r\0", blacklist_categories=("Cs",)), min_size=1, max_size=5)
boxes = st.lists(
    st.tuples(sides, sides, sides, sides, class_names).filter(lambda b: b[0] != b[2] and b[1] != b[3]),
    min_size=1,
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=boxes)
def test_round_trip_and_pandas(tmp_path, images, boxes):
    """Ours read it the same, and so does pandas, divided as generate_tfrecord.py does."""
    xyxy = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, _ in boxes]
    image = AnnotatedImage("b, c.jpg", 48, 32, xyxy, tuple(b[4] for b in boxes), images / "b, c.jpg")
    od_api_csv.save([image], tmp_path / "out", Report())
    path, lines = tmp_path / "out" / od_api_csv.ANNOTATIONS, []
    (again,) = od_api_csv.load(path, images, None, Report(show=lines.append))
    assert lines == [] and (again.name, again.classes) == (image.name, image.classes)
    assert again.xyxy.tolist() == image.xyxy.tolist()
    table = pandas.read_csv(path, keep_default_na=False, dtype={"class": str})
    assert list(table.columns) == HEADER.strip().split(",")
    assert table["class"].tolist() == list(image.classes)
    assert set(table["filename"]) == {"b, c.jpg"}
    fractions = [table[x] / table[s] for x, s in zip(od_api_csv._SIDES, ("width", "height") * 2, strict=True)]
    np.testing.assert_allclose(np.stack(fractions, axis=1), image.xyxy / [48, 32, 48, 32], rtol=1e-12)


cells = st.sampled_from(["a.jpg", "sub/c.jpg", "48", "32", "face", "", '"', "nan", "1e9", "-1", " 5", "\0", "\r", "x"])
rows = st.lists(st.lists(cells, min_size=7, max_size=9).map(",".join), max_size=4).map("\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=60) | rows.map(str.encode), headed=st.booleans())
def test_any_bytes_are_read_or_refused(load, text, headed):
    try:
        _, report, lines = load(HEADER.encode() + text if headed else text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert report.problems == len(lines) and not any("\n" in line for line in lines)


def test_a_table_made_by_a_tutorial(tmp_path):
    """mask853 as xml_to_csv.py makes it: every box begins a pixel late, as the module's docstring says."""
    if not (SHARED / "mask853").is_dir():
        pytest.skip("mask853 is not beside this checkout")
    table = []
    for path in sorted((SHARED / "mask853" / "annotations").glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        size = [int(root.find("size")[i].text) for i in (0, 1)]
        for node in root.findall("object"):
            corners = [int(node.find("bndbox").findtext(side)) for side in od_api_csv._SIDES]
            table.append((root.findtext("filename"), *size, node.findtext("name"), *corners))
    pandas.DataFrame(table, columns=HEADER.strip().split(",")).to_csv(tmp_path / "table.csv", index=None)
    images = SHARED / "mask853" / "images"
    lines = []
    loaded = list(od_api_csv.load(tmp_path / "table.csv", images, None, Report(show=lines.append)))
    assert (len(loaded), sum(map(len, loaded)), lines) == (853, 4072, [])
    exact = {i.name: i for i in pascal_voc.load(SHARED / "mask853" / "annotations", images, None, Report())}
    for image in loaded:
        assert image.classes == exact[image.name].classes
        np.testing.assert_array_equal(image.xyxy, exact[image.name].xyxy + np.array([1, 1, 0, 0]))
