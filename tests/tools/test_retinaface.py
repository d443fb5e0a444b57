"""RetinaFace and SCRFD labels: both layouts, what is read, what is refused and where, and round trips."""

import itertools
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage
from tools.formats import retinaface, wider_face
from tools.report import Report

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
POINTS = "24.1 11.5 0.0 28.5 11.4 1.0 26.3 15.2 0.0 24.2 18.1 0.0 28.4 18.0 0.0"
NO_POINTS = " ".join(["-1.0"] * 15)


def load(annotations, images, classes=None):
    lines = []
    report = Report(show=lines.append)
    return list(retinaface.load(annotations, images, classes, report)), report, lines


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "below/with space.jpg"):
        (folder / name).write_bytes(picture())
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def turned(picture):
    """A picture of 32x48 pixels that is stored as 48x32 with EXIF orientation 6."""
    return picture(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")


def test_labelv2_has_corners(images, tmp_path):
    (tmp_path / "labelv2.txt").write_text(
        f"# a.jpg 48 32\n10 8 30 28 {POINTS} 0.89\n1 2 3.5 4.25 {NO_POINTS}\n5 5 9 9\n4 4 8 8 1\n4 4 9 9 0\n6 6 6 9\n"
        "# b.jpg 48 32\n# below/with space.jpg 48 32\n40 20 60 40\n"
    )
    loaded, report, lines = load(tmp_path / "labelv2.txt", images, {"face": "head"})
    assert [image.name for image in loaded] == ["a.jpg", "b.jpg", "below/with space.jpg"]
    first = loaded[0]
    assert first.xyxy.tolist() == [[10, 8, 30, 28], [1, 2, 3.5, 4.25], [5, 5, 9, 9], [4, 4, 8, 8], [4, 4, 9, 9]]
    assert first.ignore.tolist() == [False, False, False, True, False]
    assert (first.width, first.height, first.classes) == (48, 32, ("head",) * 5)
    assert len(loaded[1]) == 0
    assert loaded[2].xyxy.tolist() == [[40, 20, 60, 40]]  # beyond the edge, as annotated
    assert report.dropped == {"zero or negative size": 1}
    assert report.class_names == {"face": 7}
    assert lines == []


def test_label_has_width_and_height(images, tmp_path):
    (tmp_path / "label.txt").write_text(
        f"# a.jpg\n10 8 20 20 {POINTS} 0.89\n1 2 2.5 2.25\n5 5 0 9 {NO_POINTS} -1\n# below/with space.jpg\n# b.jpg\n"
    )
    loaded, report, lines = load(tmp_path / "label.txt", images)
    assert [image.name for image in loaded] == ["a.jpg", "below/with space.jpg", "b.jpg"]
    assert loaded[0].xyxy.tolist() == [[10, 8, 30, 28], [1, 2, 3.5, 4.25]]
    assert report.dropped == {"zero or negative size": 1}
    assert lines == []


def test_stated_size(images, tmp_path, picture):
    (images / "turned.jpg").write_bytes(turned(picture))
    (tmp_path / "labelv2.txt").write_text(
        "# turned.jpg 48 32\n4 2 10 8\n# a.jpg 0 0\n1 1 2 2\n# b.jpg 96 64\n1 1 2 2\n"
    )
    loaded, _, lines = load(tmp_path / "labelv2.txt", images)
    assert (loaded[0].width, loaded[0].height) == (32, 48)
    assert loaded[0].xyxy.tolist() == [[24, 4, 30, 10]]  # turned with the picture
    assert loaded[1].xyxy.tolist() == [[1, 1, 2, 2]]
    assert re.search(r"line 5: b.jpg: is 48x32 pixels, its annotation is for 96x64", lines[0])


@pytest.mark.parametrize(
    "text, boxes, problems",
    [
        ("\ufeff# a.jpg 48 32\r\n\r\n1 1 2 2\r\n", [1], []),
        ("#a.jpg 48 32\n1 1 2 2\n", [1], []),
        ("1 1 2 2\n# a.jpg 48 32\n", [0], ["line 1: comes before the first image path: '1 1 2 2'"]),
        ("# a.jpg 48 32\n1 1 2\n3 3 4 4\n", [1], ["line 2: not `x1 y1 x2 y2`, whether to ignore it or five land"]),
        ("# a.jpg 48 32\n1 1 2 x\n", [0], ["line 2: not `x1 y1 x2 y2`.*'1 1 2 x'; this face is left out"]),
        ("# a.jpg 48 32\n1 1 2 2 3 3\n", [0], ["line 2: not `x1 y1 x2 y2`"]),
        ("# a.jpg 48 32\n1 1 2 2" + " 1" * 14 + "\n", [0], ["line 2: not `x1 y1 x2 y2`"]),
        ("# a.jpg 48 32\n1 1 2 2" + " 1" * 17 + "\n", [0], ["line 2: not `x1 y1 x2 y2`"]),
        ("# a.jpg 48 32\n1 1 2 2 0.5\n", [0], ["line 2: the fifth number must be 1 .ignore. or 0: '1 1 2 2 0.5'"]),
        ("# a.jpg 48 32\n10 1 2 2\n", [0], ["line 2: the box is '10 1 2 2': inverted"]),
        ("# a.jpg 48 32\n1 1 nan 2\n", [0], ["line 2: the box is '1 1 nan 2': a side is not a finite number"]),
        ("# a.jpg\n1 1 2 2 1\n", [0], ["line 2: not `x y width height` or five landmarks"]),
        ("# a.jpg\n1 1 inf 2\n", [0], ["line 2: the box is '1 1 inf 2': a side is not a finite number"]),
        ("# a.jpg\n1e308 1 1e308 2\n", [0], ["line 2: the box is .*not a finite number"]),
        ("# a.jpg 48 32\n# a.jpg\n", [0], ["line 2: a.jpg is there twice, first on line 1"]),
        ("# none.jpg 48 32\n1 1 2 2\n# a.jpg 48 32\n", [0], ["line 1: none.jpg: no such file"]),
        ("# " + "n" * 300 + ".jpg\n# a.jpg\n", [0], ["line 1: n+.jpg: no such file"]),
        ("# a.jpg 48\n# a.jpg\n", [0], ["line 1: a.jpg 48: no such file"]),
        ("#\n# a.jpg\n", [0], ["line 1: : '' is not a path inside"]),
        ("# ../a.jpg 48 32\n# a.jpg\n", [0], ["line 1: ../a.jpg: .*not a path inside"]),
        ("# broken.jpg 48 32\n# a.jpg\n", [0], ["line 1: broken.jpg: not a JPEG"]),
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
    (tmp_path / "good.txt").write_text("# a.jpg\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "wider.txt").write_text("a.jpg\n1\n1 1 2 2 0 0 0 0 0 0\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    for arguments, message in [
        ((tmp_path / "none.txt", images), "none.txt: No such file"),
        ((tmp_path / "empty.txt", images), "not a RetinaFace label file"),
        ((tmp_path / "wider.txt", images), "not a RetinaFace label file"),
        ((tmp_path / "binary.txt", images), "not text"),
        ((tmp_path / "good.txt", tmp_path / "none"), "no such folder"),
        ((tmp_path / "good.txt", None), "give --images"),
        ((tmp_path / "good.txt", images, {"head": "face"}), "one class, face"),
    ]:
        with pytest.raises(UserError, match=message):
            load(*arguments)


faces = st.lists(
    st.tuples(st.floats(-50, 2e3), st.floats(-50, 2e3), st.floats(0.01, 3e3), st.floats(0.01, 3e3), st.integers(0, 1)),
    max_size=6,
)


@FIXTURE
@given(faces=faces)
def test_round_trip(tmp_path, images, faces):
    xyxy = [[x, y, x + width, y + height] for x, y, width, height, _ in faces]
    flags = {"ignore": [face[4] for face in faces]}
    name = "below/with space.jpg"
    image = AnnotatedImage(name, 48, 32, xyxy, ("face",) * len(faces), images / name, flags)
    report = Report()
    retinaface.save([image], tmp_path, report)
    assert (report.images, report.boxes) == (1, len(faces))
    (again,), report, lines = load(tmp_path / retinaface.ANNOTATIONS, images)
    assert not lines and not report.dropped
    assert again.name == name
    assert again.xyxy.tolist() == image.xyxy.tolist()
    assert again.ignore.tolist() == image.ignore.tolist()


def test_what_is_written(tmp_path, images, picture):
    flags = {"ignore": [0, 1, 0], "group_of": [-1, 0, 1], "blur": [2, 2, 2]}
    xyxy = [[1, 2, 30.25, 24], [0, 0, 5, 6], [7, 7, 9, 9]]
    three = AnnotatedImage("below/a.jpg", 48, 32, xyxy, ("face", "x", "face"), images / "a.jpg", flags)
    lined = AnnotatedImage("1\n2.jpg", 48, 32, [], (), images / "a.jpg")
    held = AnnotatedImage("held", 48, 32, [], (), picture())
    lines = []
    report = Report(show=lines.append)
    retinaface.save([three, lined, held], tmp_path / "out", report)
    assert (tmp_path / "out" / "labelv2.txt").read_text() == (
        "# below/a.jpg 48 32\n1 2 30.25 24 0\n0 0 5 6 1\n7 7 9 9 1\n# held.jpg 48 32\n"
    )
    assert (tmp_path / "out" / "images" / "held.jpg").read_bytes() == picture()
    assert lines == ["error: 1 2.jpg: '1\\n2.jpg' would not be read as an image's path in a label file"]
    assert (report.images, report.boxes, report.problems) == (2, 3, 1)
    with pytest.raises(UserError, match="not written"):
        retinaface.save([lined], tmp_path / "out", Report(show=lines.append))
    assert (tmp_path / "out" / "labelv2.txt").read_text().startswith("# below/a.jpg")


pieces = st.sampled_from(
    [
        "# a.jpg 48 32",
        "# b.jpg",
        "#",
        "# a.jpg 4 8",
        "1 2 3 4",
        "1 2 3 4 1",
        "9 9 1 1",
        "nan 2 -3 inf 5",
        "1 1 1 1 " + POINTS,
    ]
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
    retinaface.save(originals, tmp_path, Report())
    loaded, report, _ = load(tmp_path / retinaface.ANNOTATIONS, folder)
    assert report.problems == 0 and sum(map(len, originals)) > 500
    for again, image in zip(loaded, originals, strict=True):
        assert (again.name, again.width, again.height) == (image.name, image.width, image.height)
        assert again.xyxy.tolist() == image.xyxy.tolist()
        assert again.ignore.tolist() == image.ignore.tolist()
