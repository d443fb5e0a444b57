"""YOLO labels: data.yaml and folders of labels, what is read, what is refused and where, globox, and round trips."""

import itertools
import os
import re

import globox
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage
from tools.formats import wider_face, yolo
from tools.report import Report

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
CENTRE = "0 0.5 0.5 0.5 0.25\n"  # 12 12 36 20 in a picture of 48x32 pixels


def load(annotations, images=None, classes=None):
    lines = []
    report = Report(show=lines.append)
    stream = yolo.load(annotations, images, classes, report)
    return list(stream), report, lines


def names(loaded):
    return [image.name for image in loaded]


@pytest.fixture
def write(tmp_path, picture):
    """A function that writes {path below tmp_path: text; for an image None}."""

    def run(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            form = "PNG" if name.endswith(".png") else "JPEG"
            data = picture(form=form) if text is None else text.encode()
            (tmp_path / name).write_bytes(data)
        return tmp_path

    return run


def test_folder_of_labels(write):
    root = write(
        {
            "images/b/x.jpg": None,
            "images/a.png": None,
            "images/empty.jpg": None,
            "images/none.JPG": None,
            "images/.hidden.jpg": "",
            "labels/b/x.txt": "0 0.5 0.5 0.5 0.25\r\n\r\n2 0.25 0.75 0.5 0.75\r\n",
            "labels/a.txt": "\ufeff1 0.5 0.5 0 1\n1 0.5 0.5 1 0\n0 0.98 0.5 0.1 0.5\n",
            "labels/empty.txt": "",
        }
    )
    loaded, report, lines = load(root / "labels", root / "images")
    assert names(loaded) == ["a.png", "b/x.jpg", "empty.jpg", "none.JPG"]
    assert [image.classes for image in loaded] == [("0",), ("0", "2"), (), ()]
    np.testing.assert_allclose(loaded[1].xyxy, [[12, 12, 36, 20], [0, 12, 24, 36]])
    np.testing.assert_allclose(loaded[0].xyxy, [[44.64, 8, 49.44, 24]])  # beyond the edge, as annotated
    assert (loaded[0].width, loaded[0].height, loaded[1].source) == (48, 32, root / "images/b/x.jpg")
    assert report.dropped == {"zero size": 2}
    assert report.class_names == {"0": 2, "1": 2, "2": 1}
    assert lines == []


@pytest.mark.parametrize(
    "file, text",
    [
        ("set/labels/train/classes.txt", "face\nhead\n\n"),
        ("set/labels/classes.txt", "face\r\nhead"),
        ("set/labels/train/obj.names", "\ufeffface\nhead\n"),
        ("set/classes.txt", "face\nhead\n"),
        ("set/data.yaml", "names: [face, head]\n"),
        ("set/data.yaml", "train: nowhere\nnames:\n  1: head\n  0: face\n"),
    ],
)
def test_names_of_the_classes(write, file, text):
    root = write(
        {"set/images/train/a.jpg": None, "set/labels/train/a.txt": "1 .5 .5 .5 .5\n0 .5 .5 .1 .1\n", file: text}
    )
    folders = root / "set/labels/train", root / "set/images/train"
    loaded, _, lines = load(*folders)
    assert loaded[0].classes == ("head", "face") and lines == []
    loaded, report, _ = load(*folders, {"head": "person"})
    assert loaded[0].classes == ("person",)
    assert report.dropped == {"of another class": 1}


def test_data_yaml(write):
    config = "train: images/train\nval: images/val\nnames: {0: face}\n"
    root = write(
        {
            "images/train/a.jpg": None,
            "images/train/deep/b.jpg": None,
            "images/val/c.jpg": None,
            "labels/train/a.txt": CENTRE,
            "labels/train/deep/b.txt": CENTRE * 2,
            "labels/val/c.txt": CENTRE * 3,
            "both.yaml": config,
            "one.yaml": "train: images/train\nnames: [face]\n",
            "same.yml": "path: ../elsewhere\ntrain: images/val\nval: images/val\ntest:\nnames: [face]\n",
            "parts.yaml": "train: [images/train, ../images/val]\n",
            "none.yaml": "names: [face]\n",
            "lost.yaml": "train: pictures\nnames: [face]\n",
            "all.txt": "./images/val/c.jpg\n\n./images/train/a.jpg\nimages/none.jpg\n./images/val/c.jpg\n",
            "val.txt": "images/val/c.jpg\n",
            "listed.yaml": "train: all.txt\nval: all.txt\nnames: [face]\n",
        }
    )
    (root / "path.yaml").write_text(f"path: {root}\nval: images/val\nnames: [face]\n")
    for file, images, expected in [
        ("one.yaml", None, {"a.jpg": 1, "deep/b.jpg": 2}),
        ("same.yml", None, {"c.jpg": 3}),
        ("path.yaml", None, {"c.jpg": 3}),
        ("parts.yaml", None, {"train/a.jpg": 1, "train/deep/b.jpg": 2, "val/c.jpg": 3}),
        ("both.yaml", "images/val", {"c.jpg": 3}),
        ("both.yaml", "images/train", {"a.jpg": 1, "deep/b.jpg": 2}),
        ("both.yaml", "images", {"train/a.jpg": 1, "train/deep/b.jpg": 2, "val/c.jpg": 3}),
        ("none.yaml", "images/train", {"a.jpg": 1, "deep/b.jpg": 2}),
        ("both.yaml", "val.txt", {"val/c.jpg": 3}),
    ]:
        loaded, _, lines = load(root / file, images and root / images)
        assert {image.name: len(image) for image in loaded} == expected, file
        assert lines == []
    for file, images in [("listed.yaml", None), ("both.yaml", root / "all.txt")]:
        loaded, _, lines = load(root / file, images)
        assert {image.name: len(image) for image in loaded} == {"val/c.jpg": 3, "train/a.jpg": 1}
        assert [line.removeprefix(f"error: {root}/") for line in lines] == [
            "all.txt, line 4: none.jpg: no such file",
            "all.txt, line 5: val/c.jpg: is there twice; this one is left out",
        ]
    for file, message in [
        ("both.yaml", f"several splits: give one as --images; train .{root}/images/train., val .{root}/images/val.$"),
        ("none.yaml", "names no images .train, val or test.: give --images"),
        ("lost.yaml", f"there is no '{root}/pictures' .train.; give the folder of images as --images"),
    ]:
        with pytest.raises(UserError, match=message):
            load(root / file)


def test_labels_beside_data_yaml_for_images_elsewhere(write):
    root = write({"photos/a.jpg": None, "set/labels/a.txt": CENTRE, "set/data.yaml": "names: [face]\n"})
    loaded, _, _ = load(root / "set/data.yaml", root / "photos")
    assert loaded[0].xyxy.tolist() == [[12, 12, 36, 20]]


def test_labels_among_the_images(write):
    root = write({"a.jpg": None, "a.txt": CENTRE, "notes.txt": "x", "data.yaml": "train: .\nnames: [face]\n"})
    loaded, _, lines = load(root / "data.yaml")
    assert loaded[0].xyxy.tolist() == [[12, 12, 36, 20]] and not lines
    loaded, _, lines = load(root, root)
    assert loaded[0].classes == ("face",) and len(lines) == 1  # notes.txt


def test_outlines_and_landmarks(write):
    box = "0 0.5 0.5 0.5 0.25"
    root = write(
        {
            "images/a.jpg": None,
            "labels/a.txt": "0 0.25 0.5 0.75 0.25 0.5 0.875\n0 .5 .5 .25 .25 .5 .75 .75 .5\n",
            "images/b.jpg": None,
            "labels/b.txt": f"{box} {'0.5 0.5 2 ' * 5}\n{box} {'-1 -1 0 ' * 5}\n{box}\n",
            "images/c.jpg": None,
            "labels/c.txt": f"{box} {'0.5 0.5 ' * 4}-1 -1\n",
            "points.yaml": "names: [face]\nkpt_shape: [5, 3]\n",
        }
    )
    loaded, _, lines = load(root / "labels", root / "images")
    assert loaded[0].xyxy.tolist() == [[12, 8, 36, 28], [12, 8, 36, 24]]
    assert [len(image) for image in loaded] == [2, 1, 0]
    assert [re.sub(".*labels/", "", line)[:40] for line in lines] == [
        "b.txt, line 1: not `class cx cy width he",
        "b.txt, line 2: not `class cx cy width he",
        "c.txt, line 1: an outline outside the im",
    ]
    assert "data.yaml needs kpt_shape" in lines[2]
    loaded, _, lines = load(root / "points.yaml", root / "images")
    assert loaded[1].xyxy.tolist() == [[12, 12, 36, 20]] * 3
    assert len(lines) == 3 and "c.txt" in lines[2]


@pytest.mark.parametrize(
    "row, problem",
    [
        ("0 .5 .5 .5", "not `class cx cy width height` or `class x1 y1 .*: '0 .5 .5 .5'; this box is left out"),
        ("0 .5 .5 .5 x", "not `class cx cy width height`"),
        ("face .5 .5 .5 .5", "not `class cx cy width height`"),
        ("0 .5 .5 .5 .5 .9", "has 6 numbers, as detections with a score have; labels have 5: '0 .5"),
        ("0 .1 .1 .2 .2 .3 .3 .4", "not `class cx cy width height`"),
        ("0.5 .5 .5 .5 .5", "the class must be a number from 0, not '0.5'"),
        ("-1 .5 .5 .5 .5", "the class must be a number from 0, not '-1'"),
        ("nan .5 .5 .5 .5", "the class must be a number from 0, not 'nan'"),
        ("2 .5 .5 .5 .5", "class 2 has no name, 2 have"),
        ("1e300 .5 .5 .5 .5", "class 1e300 has no name, 2 have"),
        ("0 nan .5 .5 .5", "a side is not a finite number: '0 nan"),
        ("0 .5 .5 inf .5", "a side is not a finite number"),
        ("0 .1 .1 .2 .2 nan .3", "a side is not a finite number"),
        ("0 .5 .5 -.5 .5", "inverted: its right"),
        ("0 24 16 12 8", "must be fractions of the image, from 0 to 1: '0 24 16 12 8'; this box is left out$"),
        ("0 12 8 24 16 36 8", "must be fractions of the image"),
    ],
)
def test_bad_rows_are_named_and_the_rest_is_read(write, row, problem):
    root = write({"images/a.jpg": None, "labels/a.txt": f"{CENTRE}{row}\n1 .5 .5 1 1\n", "classes.txt": "face\nhead\n"})
    loaded, report, lines = load(root / "labels", root / "images")
    assert loaded[0].classes == ("face", "head")
    assert report.problems == len(lines) == 1
    assert re.search(f"labels/a.txt, line 2: {problem}", lines[0])


def test_bad_files_are_named_and_the_rest_is_read(write):
    files = {"a.jpg": None, "broken.jpg": "no picture", "twin.jpg": None, "twin.png": None, "z.jpg": None}
    root = write({f"images/{name}": text for name, text in files.items()})
    write({"labels/a.txt": CENTRE, "labels/below/stray.txt": CENTRE, "labels/z.txt": "", "labels/classes.txt": "face"})
    (root / "labels/z.txt").write_bytes(b"\xff\xfe\x00\x81")
    (root / "data.yaml").write_text("train: images\n")
    for arguments in [(root / "labels", root / "images"), (root / "data.yaml",)]:
        assert len(yolo.load(*[*arguments, None][:2], None, Report())) == 6
        loaded, report, lines = load(*arguments)
        assert names(loaded) == ["a.jpg", "twin.jpg"]
        assert [line.removeprefix(f"error: {root}/").replace(f"{root}/", "") for line in lines] == [
            "labels/below/stray.txt: no image has this path but for its suffix",
            "images/broken.jpg: not a JPEG, PNG, WebP or BMP image",
            "images/twin.png: has the same label file as twin.jpg; this one is left out",
            "images/z.jpg: labels/z.txt: not text, so not a label file",
        ]
        assert report.problems == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [face\n", "data.yaml, line 2: not YAML"),
        ("names: {[a]: b}\n", "data.yaml, line 1: not YAML"),
        ("a: !!bool x\n", "data.yaml: not YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "data.yaml, line 1: not YAML"),
        ("a: \x07\n", "data.yaml: not YAML"),
        ("[" * 1500, "data.yaml: not YAML"),
        ("", "no `key: value` in it, so not a data.yaml"),
        ("face\n", "no `key: value` in it"),
        ("names: face\n", "`names` must be a list"),
        ("names: [yes, no]\n", "put a name like yes into quotes"),
        ("names: [[face]]\n", "`names` must be texts"),
        ("names: {-1: face}\n", "`names` must be texts, by class numbers from 0"),
        ("names: {a: face}\n", "by class numbers"),
        (f"names: {{? 0x{'f' * 5000} : face}}\n", "by class numbers"),
        (f"names: [0x{'f' * 5000}]\n", "`names` must be texts"),
        ("path: [a]\n", "`path` must be the path of a folder"),
        ("train: {a: b}\n", "`train` must be a path or a list of paths"),
        ("val: [1]\n", "`val` must be a path or a list of paths"),
        ("kpt_shape: 5\n", "`kpt_shape` must be"),
        ("kpt_shape: [5, 4]\n", "`kpt_shape` must be"),
        ("kpt_shape: [5, x]\n", "`kpt_shape` must be"),
        ('train: "\\0"\n', "there is no"),
    ],
)
def test_bad_data_yaml(write, text, message):
    root = write({"data.yaml": text, "images/a.jpg": None, "labels/a.txt": CENTRE})
    with pytest.raises(UserError, match=message) as raised:
        load(root / "data.yaml")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_nothing_to_go_on_with(write):
    root = write({"images/a.jpg": None, "labels/b.txt": CENTRE, "empty/x": "", "data.yaml": "train: images\n"})
    write(
        {"classes.txt": "face", "full/images/a.jpg": None, "full/labels/a.txt": CENTRE, "bad.yaml": "", "x.txt": "\n"}
    )
    (root / "bad.yaml").write_bytes(b"\xff\xfe\x00\x81")
    (root / "full/classes.txt").write_bytes(b"\xff\xfe\x00\x81")
    for arguments, message in [
        ((root / "none.yaml",), "none.yaml: No such file"),
        ((root / "none",), "none: no such file or folder"),
        ((root / "classes.txt", root / "images"), "neither a data.yaml nor a folder of label files"),
        ((root / "bad.yaml",), "not text, so not a data.yaml"),
        ((root / "full/labels", root / "full/images"), "classes.txt: not text, so not a list of class names"),
        ((root / "labels",), "give --images"),
        ((root / "labels", root / "none"), "no such folder"),
        ((root / "data.yaml", root / "none"), "no such folder"),
        ((root / "data.yaml", root / "x.txt"), "no image in .*x.txt"),
        ((root / "labels", root / "empty"), "no image in .*empty"),
        ((root / "labels", root / "images"), "not one of the 1 images in .* has a label file; .* be .*labels/a.txt"),
        ((root / "data.yaml",), "not one of the 1 images has a label file; .* would be .*/labels/a.txt"),
    ]:
        with pytest.raises(UserError, match=message):
            load(*arguments)


def contents(folder):
    """{path: text} of the files and links, but for real images."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or (path.is_file() and path.suffix != ".jpg")
    }


def test_what_is_written(write, picture):
    root, output = write({"photos/a.jpg": None}), write({"out/labels/old.txt": CENTRE}) / "out"
    photo, flags = root / "photos/a.jpg", {"ignore": [1, 0]}
    lined = AnnotatedImage("1\n2.jpg", 48, 32, [], (), photo)
    images = [
        AnnotatedImage("b/a.jpg", 48, 32, [[12, 12, 36, 20], [0, 0, 1, 1]], ("head", "no"), photo, flags),
        AnnotatedImage("b/a.png", 48, 32, [], (), photo),
        lined,
        AnnotatedImage("../c.jpg", 48, 32, [], (), photo),
        AnnotatedImage("images/d.jpg", 48, 32, [[6, 4, 42, 28]], ("head",), photo),
        AnnotatedImage("e", 48, 32, [], (), picture()),
    ]
    expected = {
        "data.yaml": "train: images.txt\nval: images.txt\nnames:\n  0: head\n  1: 'no'\n",
        "images.txt": "./images/b/a.jpg\n./images/images/d.jpg\n./images/e.jpg\n",
        "images/b/a.jpg": str(photo),
        "images/images/d.jpg": str(photo),
        "images/labels/d.txt": "0 0.5 0.5 0.75 0.75\n",  # where Ultralytics looks for it
        "labels/b/a.txt": "0 0.5 0.5 0.5 0.25\n1 0.0104166667 0.015625 0.0208333333 0.03125\n",
        "labels/e.txt": "",
        "labels/old.txt": CENTRE,
    }
    for _ in range(2):
        lines = []
        report = Report(show=lines.append)
        yolo.save(images, output, report)
        assert (output / "images/e.jpg").read_bytes() == picture()
        assert contents(output) == expected
        assert lines == [
            "error: b/a.png: differs from b/a.jpg by its suffix only; this one is left out",
            "error: 1 2.jpg: '1\\n2.jpg' would not be read as an image's path in images.txt",
            "error: ../c.jpg: '../c.jpg' is not a path inside the folder of images",
        ]
        assert (report.images, report.boxes, report.problems) == (3, 3, 3)
    loaded, _, lines = load(output / "data.yaml")
    assert names(loaded) == ["b/a.jpg", "images/d.jpg", "e.jpg"] and not lines
    assert loaded[0].classes == ("head", "no")
    with pytest.raises(UserError, match="not written"):
        yolo.save([lined], output, Report(show=lines.append))
    assert contents(output) == expected


def test_links(write, picture):
    root = write({"photos/a.jpg": None, "photos/b.jpg": None, "out/images/b.jpg": "another"})
    (root / "out/images/a.jpg").symlink_to(root / "gone.jpg")
    images = [AnnotatedImage(name, 48, 32, [], (), root / "photos" / name) for name in ("a.jpg", "b.jpg")]
    lines = []
    yolo.save(images, root / "out", Report(show=lines.append))
    assert (root / "out/images/a.jpg").read_bytes() == picture()  # an old link is made anew
    assert lines == [f"error: b.jpg: {root}/out/images/b.jpg is another image; remove it or give another folder"]
    assert (root / "out/images/b.jpg").read_text() == "another"
    (root / "out/images/b.jpg").unlink()
    write({"out/images/b.jpg": None, "out/labels/b.txt": CENTRE})
    inside = load(root / "out/data.yaml", root / "out/images")[0]
    yolo.save(inside, root / "out", Report())  # a set into its own place: nothing is linked to itself
    assert [image.name for image in load(root / "out/data.yaml")[0]] == ["a.jpg", "b.jpg"]
    assert os.readlink(root / "out/images/a.jpg") == str(root / "photos/a.jpg")
    assert not (root / "out/images/b.jpg").is_symlink()


def test_cut_short(write, monkeypatch):
    root = write({"photos/a.jpg": None})
    image = AnnotatedImage("a.jpg", 48, 32, [[12, 12, 36, 20]], ("face",), root / "photos/a.jpg")
    yolo.save([image], root / "out", Report())
    before = contents(root / "out/labels")

    def until_killed():
        yield AnnotatedImage("a.jpg", 48, 32, [], (), root / "photos/a.jpg")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yolo.save(until_killed(), root / "out", Report())
    assert contents(root / "out/labels") == before
    assert sorted(path.name for path in (root / "out").iterdir()) == ["data.yaml", "images", "images.txt", "labels"]

    def killed():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(yolo.os, "sync", killed)
        yolo.save([image], root / "out", Report())
    with pytest.raises(UserError, match="No such file"):  # labels of two sets are not taken for one
        load(root / "out/data.yaml")


fractions = st.floats(-0.3, 1.3)
rows = st.lists(
    st.tuples(
        fractions, fractions, st.floats(0.001, 1), st.floats(0.001, 1), st.sampled_from(["face", "head", "\u00e4'"])
    ),
    max_size=6,
)


@settings(FIXTURE, max_examples=60)
@given(rows=rows)
def test_round_trip(tmp_path, write, rows):
    photo = write({"photos/a.jpg": None}) / "photos/a.jpg"
    xyxy = [[48 * x, 32 * y, 48 * (x + width), 32 * (y + height)] for x, y, width, height, _ in rows]
    saved = [
        AnnotatedImage("x/b.jpg", 48, 32, xyxy, [row[4] for row in rows], photo),
        AnnotatedImage("a.jpg", 48, 32, [], (), photo),
    ]
    report = Report()
    yolo.save(saved, tmp_path / "out", report)
    assert (report.images, report.boxes) == (2, len(rows))
    for arguments in [(tmp_path / "out/data.yaml",), (tmp_path / "out/labels", tmp_path / "out/images")]:
        loaded, report, lines = load(*arguments)
        assert not lines and not report.dropped
        loaded = {image.name: image for image in loaded}
        assert len(loaded["a.jpg"]) == 0
        assert loaded["x/b.jpg"].classes == saved[0].classes
        np.testing.assert_allclose(loaded["x/b.jpg"].xyxy, saved[0].xyxy, atol=1e-6 * 32)


pieces = st.sampled_from(
    ["0 .5 .5 .5 .5", "1 .5 .5 .5 .5 .9", "0 .1 .1 .2 .2 .3 .3", "9 .5 .5 -1 .5", "0 nan 5 5 5", "names:", "- face"]
)
texts = st.lists(pieces | st.text(st.characters(codec="utf-8"), max_size=20), max_size=8).map("\n".join)
yamls = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["images", "", "..", "\0", "face", "list.txt"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-1, 3) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
configs = st.dictionaries(st.sampled_from(["path", "names", "train", "val", "kpt_shape"]), yamls).map(yaml.safe_dump)


@settings(FIXTURE, max_examples=200)
@given(labels=texts, classes=texts, config=configs | texts, listed=texts)
def test_any_text_is_read_or_refused(tmp_path, write, labels, classes, config, listed):
    root = write({"images/a.jpg": None, "labels/a.txt": labels, "data.yaml": config, "list.txt": listed})
    write({"labels/classes.txt": classes})
    for arguments in [(root / "labels", root / "images"), (root / "data.yaml",), (root / "data.yaml", root / "images")]:
        try:
            _, _, lines = load(*arguments)
            assert not any("\n" in line for line in lines)
        except UserError as error:
            assert "\n" not in str(error)


def test_globox_reads_the_same(write, picture):
    """Both ways: what is saved here as globox reads it, and what globox saves as it is read here."""
    random = np.random.default_rng(5)
    root, saved = write({"photos/a.jpg": None}), []
    for number in range(8):
        size = int(random.integers(20, 300)), int(random.integers(20, 300))
        (root / f"photos/{number}.jpg").write_bytes(picture(*size))
        corners = np.sort(random.uniform(0, 1, (number, 2, 2)), axis=1) * size
        labels = random.choice(["face", "head"], number).tolist()
        saved.append(
            AnnotatedImage(f"{number}.jpg", *size, corners.reshape(-1, 4), labels, root / f"photos/{number}.jpg")
        )
    yolo.save(saved, root / "out", Report())
    theirs = globox.AnnotationSet.from_yolo_darknet(root / "out/labels", image_folder=root / "out/images")
    order = {
        name: str(number) for number, name in yaml.safe_load((root / "out/data.yaml").read_text())["names"].items()
    }
    for image in saved:
        boxes = theirs[image.name].boxes
        assert [box.label for box in boxes] == [order[name] for name in image.classes]
        np.testing.assert_allclose(
            np.reshape([[box.xmin, box.ymin, box.xmax, box.ymax] for box in boxes], (-1, 4)), image.xyxy, atol=1e-6
        )
    theirs.save_yolo_darknet(root / "theirs")
    loaded, _, lines = load(root / "theirs", root / "out/images")
    assert not lines
    for again, image in zip(loaded, saved, strict=True):
        assert again.classes == tuple(order[name] for name in image.classes)
        np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-4)


def test_real_faces(shared_wider, tmp_path):
    folder, annotations = shared_wider("wider_dev")
    originals = list(itertools.islice(wider_face.load(annotations, folder, None, Report()), 100))
    yolo.save(originals, tmp_path, Report())
    for arguments in [(tmp_path / "data.yaml",), (tmp_path / "data.yaml", folder), (tmp_path / "labels", folder)]:
        stream = yolo.load(*[*arguments, None][:2], None, Report())
        loaded = {image.name: image for image in itertools.islice(stream, 400)}
        for image in originals:
            again = loaded[image.name]
            assert (again.width, again.height, again.classes) == (image.width, image.height, image.classes)
            np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-5)
    assert sum(map(len, originals)) > 500
