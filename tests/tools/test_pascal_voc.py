"""Pascal VOC: where corners are counted from, how images are found, bad and hostile XML, image sets, round trips."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import globox
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detect_faces.errors import UserError
from tests.tools.conftest import SHARED
from tools.annotations import AnnotatedImage
from tools.formats import pascal_voc
from tools.report import Report

SIZE = "<size><width>48</width><height>32</height><depth>3</depth></size>"
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>14</ymax></bndbox>"
FACE = f"<object><name>face</name>{BOX}</object>"


def annotation(inside, filename="a.jpg"):
    return f"<annotation><filename>{filename}</filename>{inside}</annotation>"


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", "sub/a.jpg", "sub/c.png"):
        (folder / name).write_bytes(picture(form="PNG" if name.endswith("png") else "JPEG"))
    return folder


@pytest.fixture
def load(tmp_path, images):
    """A function that writes {name: text} to a folder of annotations and loads it."""

    def run(files, classes=None):
        top = tmp_path / "xml"
        for name, text in files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        lines = []
        report = Report(show=lines.append)
        return list(pascal_voc.load(top, images, classes, report)), report, lines

    return run


def test_order(load, images, picture):
    names = [f"{folder}{i}" for folder in ("", "y/", "x/", "z/", "x/v/", "w/") for i in (2, 1, 3)]
    for name in names:
        (images / name).parent.mkdir(exist_ok=True)
        (images / f"{name}.jpg").write_bytes(picture())
    loaded, _, _ = load({f"{name}.xml": annotation("", "") for name in names})
    folders = ("", "w/", "x/", "x/v/", "y/", "z/")
    assert [image.name for image in loaded] == [f"{folder}{i}.jpg" for folder in folders for i in (1, 2, 3)]


def flags_of(image):
    return {name: values.tolist() for name, values in image.flags.items()}


def test_load(load, images):
    corners = "<xmax>48</xmax><xmin>1</xmin><ymax>32</ymax><ymin>1</ymin>"
    loaded, report, lines = load(
        {
            "sub/c.xml": annotation(
                f"<folder>elsewhere</folder>{SIZE}"
                "<object><name>person</name><pose>Frontal</pose><truncated>1</truncated><occluded>0</occluded>"
                f"<bndbox>{corners}</bndbox><difficult>1</difficult>"
                f"<part><name>head</name>{BOX}</part></object>"
                "<object><name>face</name><truncated/><bndbox><xmin>0</xmin><ymin> 2.5 </ymin><xmax>60</xmax>"
                "<ymax>3<!-- and -->1.25</ymax></bndbox></object>",
                "c.png",
            ),
            "a.xml": "\ufeff" + annotation(""),
            "notes.txt": "not read",
            "._a.xml": "not read",
            ".checkpoints/a.xml": "not read",
        }
    )
    assert [image.name for image in loaded] == ["a.jpg", "sub/c.png"]
    assert [len(image) for image in loaded] == [0, 2]
    image = loaded[1]
    assert image.source == images / "sub" / "c.png"
    assert (image.width, image.height, image.classes) == (48, 32, ("person", "face"))
    assert image.xyxy.tolist() == [[0, 0, 48, 32], [-1, 1.5, 60, 31.25]]
    assert flags_of(image) == {"ignore": [1, 0], "difficult": [1, 0], "truncated": [1, -1], "occluded": [0, -1]}
    assert lines == [] and report.class_names == {"person": 1, "face": 1}


def test_a_box_holds_the_pixels_that_the_development_kit_means(load, images):
    """The top-left pixel is (1, 1), and the right and lower side belong to the box."""
    pixels = np.zeros((32, 48), np.uint8)
    for x in range(5, 9 + 1):
        for y in range(3, 20 + 1):
            pixels[y - 1, x - 1] = 255
    Image.fromarray(pixels).save(images / "a.png")
    box = "<bndbox><xmin>5</xmin><ymin>3</ymin><xmax>9</xmax><ymax>20</ymax></bndbox>"
    (image,), _, _ = load({"a.xml": annotation(f"<object><name>face</name>{box}</object>", "a.png")})
    xmin, ymin, xmax, ymax = image.xyxy[0].astype(int)
    assert (pixels[ymin:ymax, xmin:xmax] == 255).all() and pixels[ymin:ymax, xmin:xmax].sum() == pixels.sum()


def test_classes_and_zero_size(load):
    zero = BOX.replace("<xmax>11<", "<xmax>0<")
    objects = FACE + FACE.replace("face", "hat") + f"<object><name>face</name>{zero}</object>"
    (image,), report, _ = load({"a.xml": annotation(objects)}, {"face": "head"})
    assert image.classes == ("head",) and image.xyxy.tolist() == [[0, 1, 11, 14]]
    assert report.dropped == {"of another class": 1, "zero size": 1}
    (image,), report, lines = load({"a.xml": annotation(FACE)}, {"cat": "cat"})
    assert len(image) == 0 and not lines


@pytest.mark.parametrize(
    "xml, filename, found",
    [
        ("a.xml", "a.jpg", "a.jpg"),
        ("x.xml", "a.jpg", "a.jpg"),
        ("x.xml", "a", "a.jpg"),
        ("x.xml", "b", "b.JPG"),
        ("b.xml", "", "b.JPG"),
        ("b.xml", "b.png", "b.JPG"),
        ("a.xml", "/home/me/photos/a.jpg", "a.jpg"),
        ("a.xml", "C:\\photos\\a.jpg", "a.jpg"),
        ("a.xml", "../a.jpg", "a.jpg"),
        ("x.xml", "wrong/a.jpg", "a.jpg"),
        ("x.xml", "sub/a.jpg", "sub/a.jpg"),
        ("x.xml", "sub/./a.jpg", "sub/a.jpg"),
        ("sub/x.xml", "a.jpg", "sub/a.jpg"),
        ("sub/x.xml", "sub/a.jpg", "sub/a.jpg"),
        ("sub/c.xml", "a.png", "sub/c.png"),
        ("sub/x.xml", "b.JPG", "b.JPG"),
        ("flat/x.xml", "a.jpg", "a.jpg"),
    ],
)
def test_images_are_found(load, xml, filename, found):
    (image,), _, lines = load({xml: annotation(FACE, filename)})
    assert (image.name, lines) == (found, [])


@pytest.mark.parametrize(
    "inside, boxes, problem",
    [
        ("<object><name>face</name></object>", 0, "a.xml, line 2: 'face': no <bndbox>; this box"),
        (f"<object>{BOX}</object>", 0, "a.xml, line 2: an object without <name>"),
        (FACE + FACE.replace("<xmin>1</xmin>", ""), 1, "a.xml, line 2: 'face': no <xmin>; this box"),
        (FACE.replace("<ymax>14", "<ymax>1e"), 0, "a.xml, line 2: 'face': <ymax> is '1e', not a number"),
        (FACE.replace("<ymax>14", "<ymax>nan"), 0, "a.xml, line 2: 'face': a side is not a finite number"),
        (FACE.replace("<ymax>14", "<ymax>1e400"), 0, "a.xml, line 2: 'face': a side is not a finite number"),
        (FACE.replace("<ymax>14", "<ymax>1e9999999999999999999"), 0, "a.xml, line 2: 'face': <ymax> is"),
        (FACE.replace("<ymax>14", "<ymax>0"), 0, "a.xml, line 2: 'face': inverted"),
        (FACE.replace("<bnd", "<difficult>2</difficult><bnd"), 0, "line 2: 'face': <difficult> is '2', not 0 or 1"),
        (FACE.replace("<bnd", "<truncated>Yes</truncated><bnd"), 0, "line 2: 'face': <truncated> is 'Yes', not 0"),
        (FACE.replace("<bnd", "<occluded>-1</occluded><bnd"), 0, "line 2: 'face': <occluded> is '-1', not 0 or 1"),
    ],
)
def test_bad_objects_are_named_and_the_rest_is_read(load, inside, boxes, problem):
    loaded, report, lines = load({"a.xml": annotation("\n" + inside), "b.xml": annotation("", "b.JPG")})
    assert [len(image) for image in loaded] == [boxes, 0]
    assert report.problems == len(lines) == 1
    assert re.search(problem, lines[0])


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "a.xml, line 1: not well-formed XML .*empty"),
        ("<annotation>\n<object></annotation>", "a.xml, line 2: not well-formed XML"),
        (b"\xff\xfe\x00", "a.xml, line 1: not well-formed XML"),
        (b"<annotation><filename>\xe9</filename></annotation>", "a.xml, line 1: not well-formed XML"),
        ("<?xml version='1.0' encoding='no-such'?><annotation/>", "a.xml, line 1: not well-formed XML"),
        ("<annotation>&face;</annotation>", "a.xml, line 1: not well-formed XML .*face"),
        ("<annotations><image/></annotations>", "a.xml, line 1: <annotations> is not Pascal VOC's <annotation>"),
        (annotation(SIZE.replace("48", "4x8")), "a.xml: <size> is '4x8' x '32', not pixels; the image is left out"),
        (annotation(SIZE.replace("48", "-48")), "a.xml: <size> is '-48' x '32', not pixels"),
        (annotation(SIZE.replace("48", "49")), "a.xml: is 48x32 pixels, its annotation is for 49x32.*; the image is"),
        (annotation(FACE, "broken.jpg"), "a.xml: not a JPEG"),
        (annotation(FACE, "b.JPG"), "b.xml: 'b.JPG' is there twice, first in a.xml"),
    ],
)
def test_bad_files_are_named_and_the_rest_is_read(load, images, text, problem):
    (images / "broken.jpg").write_bytes(b"no picture")
    loaded, report, lines = load({"a.xml": text, "b.xml": annotation("", "b.JPG")})
    assert [image.name for image in loaded] == ["b.JPG"]
    assert report.problems == len(lines) == 1
    assert re.search(problem, lines[0]) and "\n" not in lines[0]


def test_a_missing_image_is_named(load, images):
    (images / "a.jpg").unlink()
    (images / "sub" / "a.jpg").unlink()
    loaded, _, (line,) = load({"a.xml": annotation(FACE)})
    assert not loaded
    assert line.endswith(
        f"xml/a.xml: neither its <filename> 'a.jpg' nor 'a.jpg' is an image in {images}; the image is left out"
    )


def test_a_size_that_is_not_stated(load):
    for size in ("", "<size/>", SIZE.replace("48", "0"), SIZE.replace("48", "48.0")):
        (image,), _, lines = load({"a.xml": annotation(size + FACE)})
        assert (image.width, image.height, lines) == (48, 32, [])


def test_a_picture_that_lies_on_its_side(load, images, picture):
    """Annotated as stored, 48x32; upright it is 32x48 and the pixels turn clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (images / "a.jpg").write_bytes(picture(exif=exif))
    (image,), _, _ = load({"a.xml": annotation(SIZE + FACE)})
    assert (image.width, image.height) == (32, 48)
    assert image.xyxy.tolist() == [[32 - 14, 0, 32 - 1, 11]]


BOMB = "<!DOCTYPE annotation [<!ENTITY e0 'ha'>" + "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 10}'>" for i in range(12))


@pytest.mark.parametrize(
    "text",
    [
        f"{BOMB}]>{annotation('', '&e12;')}",
        f"{BOMB}]><annotation a='&e12;'/>",
        f"{BOMB}]>{annotation('')}",
        f"<!DOCTYPE annotation [<!ENTITY e SYSTEM 'SECRET'>]>{annotation(FACE, '&e;')}",
        f"<!DOCTYPE annotation [<!ENTITY % e SYSTEM 'SECRET'> %e;]>{annotation(FACE)}",
        f"<!DOCTYPE annotation SYSTEM 'SECRET'>{annotation(FACE)}",
        f"<!DOCTYPE annotation SYSTEM 'http://127.0.0.1:9/none.dtd'>{annotation(FACE)}",
        f"<!DOCTYPE annotation>{annotation(FACE)}",
        f"<!DOCTYPE annotation>{annotation(FACE)}".encode("utf-16"),
    ],
    ids=["bomb", "bomb in attribute", "bomb at rest", "file", "parameter", "dtd", "network", "empty", "utf-16"],
)
def test_entities_are_refused_in_one_line(load, tmp_path, text):
    secret = tmp_path / "secret.txt"
    secret.write_text("a.jpg")
    if isinstance(text, str):
        text = text.replace("SECRET", secret.as_uri())
    loaded, _, lines = load({"a.xml": text, "b.xml": annotation("", "b.JPG")})
    assert [image.name for image in loaded] == ["b.JPG"]
    assert len(lines) == 1 and re.search("has a DOCTYPE|not well-formed XML", lines[0])
    assert len(lines[0]) < 500


def test_entities_that_every_xml_has(load):
    named = FACE.replace("face", "&lt;&#102;ace&gt; &amp; co")
    (image,), _, _ = load({"a.xml": annotation(named)})
    assert image.classes == ("<face> & co",)


@pytest.fixture
def devkit(tmp_path, picture):
    """A function that writes ImageSets/Main/train.txt and loads it, with the images a.jpg to d 1.jpg."""
    top = tmp_path / "VOC2012"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (top / folder).mkdir(parents=True)
    for stem in ("a", "b", "c", "d 1"):
        (top / "JPEGImages" / f"{stem}.jpg").write_bytes(picture())
        (top / "Annotations" / f"{stem}.xml").write_text(annotation(FACE, f"{stem}.jpg"))

    def run(text):
        (top / "ImageSets/Main/train.txt").write_bytes(text)
        lines = []
        report = Report(show=lines.append)
        stream = pascal_voc.load(top / "ImageSets/Main/train.txt", top / "JPEGImages", None, report)
        return len(stream), [image.name for image in stream], lines

    return run


@pytest.mark.parametrize(
    "text, count, names, problems",
    [
        (b"c\na\n", 2, ["c.jpg", "a.jpg"], []),
        (b"\xef\xbb\xbfc  1\r\na -1\r\n\r\nb\t0\r\n", 3, ["c.jpg", "a.jpg", "b.jpg"], []),
        (b"d 1\n", 1, ["d 1.jpg"], []),
        (b"d 1 -1\n", 1, ["d 1.jpg"], []),
        (b"a\nnone\nb\n", 3, ["a.jpg", "b.jpg"], ["train.txt, line 2: no file 'none.xml' in .*Annotations"]),
        (b"a\n../ImageSets/x\n/a\n", 3, ["a.jpg"], ["line 2: no file", "line 3: no file '/a.xml'"]),
        (b"a\na 1\n", 2, ["a.jpg"], ["a.xml: 'a.jpg' is there twice"]),
        (b"a 2\nb\n", 2, ["b.jpg"], ["line 1: no file 'a 2.xml'"]),
    ],
)
def test_image_set(devkit, text, count, names, problems):
    length, loaded, lines = devkit(text)
    assert (length, loaded, len(lines)) == (count, names, len(problems))
    for line, problem in zip(lines, problems, strict=True):
        assert re.search(problem, line)


def test_nothing_to_go_on_with(images, tmp_path, devkit):
    (tmp_path / "empty").mkdir()
    (tmp_path / "set.txt").write_text("a\n")
    for arguments, message in [
        ((tmp_path / "none", images), "none: No such file or directory; give a folder of XML files"),
        ((tmp_path / "empty", images), "empty: no .xml file in it or below"),
        ((tmp_path / "set.txt", images), "set.txt: there is no folder ../../Annotations"),
        ((images / "a.jpg", images), "a.jpg: not text, so not an image set"),
        ((tmp_path / "empty", tmp_path / "none"), "no such folder of images"),
        ((tmp_path / "empty", None), "give --images"),
    ]:
        with pytest.raises(UserError, match=message) as raised:
            pascal_voc.load(*arguments, None, Report())
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="no name in it"):
        devkit(b"\n \n")


def test_reading_and_writing_are_one_image_at_a_time(load, images, tmp_path):
    load({name: annotation(FACE, "") for name in ("a.xml", "b.xml", "sub/a.xml")})
    out = tmp_path / "out" / pascal_voc.ANNOTATIONS
    stream = pascal_voc.load(tmp_path / "xml", images, None, Report())
    (tmp_path / "xml" / "sub" / "a.xml").write_text(annotation("", ""))  # not read yet

    def watched():
        for number, image in enumerate(stream):
            assert len(list(out.rglob("*.xml"))) == number
            yield image

    report = Report()
    pascal_voc.save(watched(), tmp_path / "out", report)
    assert (len(stream), report.images, report.boxes) == (3, 3, 2)


def test_save(images, tmp_path):
    flags = {
        "ignore": [1, 0, 0, 0],
        "difficult": [0, 1, 0, 0],
        "group_of": [0, -1, 1, 0],
        "truncated": [-1, 1, 0, 0],
        "occluded": [-1, 1, 0, 0],
        "blur": [1, 1, 1, 1],
    }
    xyxy = [[0, 0, 48, 32], [0.1, 1.5, 20, 30.25], [-1, -1, 50, 40], [0, 0, 1, 1]]
    image = AnnotatedImage("sub/c.png", 48, 32, xyxy, ("face", "<a> & ñ", "face", "face"), images / "sub/c.png", flags)
    empty = AnnotatedImage("a.b", 48, 32, [], (), images / "a.jpg")
    (tmp_path / "annotations" / "sub").mkdir(parents=True)
    (tmp_path / "annotations" / "sub" / "c.xml").write_text("replaced")
    (tmp_path / "annotations" / "old.xml").write_text("kept")
    report = Report()
    pascal_voc.save([image, empty], tmp_path, report)
    assert (report.images, report.boxes, report.problems) == (2, 4, 0)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "annotations").rglob("*.*"))
    assert files == ["annotations/a.b.xml", "annotations/old.xml", "annotations/sub/c.xml"]
    assert (tmp_path / "annotations" / "old.xml").read_text() == "kept"
    root = ElementTree.parse(tmp_path / "annotations" / "sub" / "c.xml").getroot()
    assert [child.tag for child in root] == ["folder", "filename", "size", *["object"] * 4]
    assert root.findtext("filename") == "sub/c.png"
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["48", "32", "3"]
    assert [node.findtext("name") for node in root.iter("object")] == ["face", "<a> & ñ", "face", "face"]
    assert {node.findtext("pose") for node in root.iter("object")} == {"Unspecified"}
    for flag, values in {"difficult": "1110", "truncated": "0100", "occluded": [None, "1", "0", "0"]}.items():
        assert [node.findtext(flag) for node in root.iter("object")] == list(values)
    assert [[side.text for side in node] for node in root.iter("bndbox")] == [
        ["1", "1", "48", "32"],
        ["1.1", "2.5", "20", "30.25"],
        ["0", "0", "50", "40"],
        ["1", "1", "1", "1"],
    ]


def test_save_names_what_it_leaves_out(images, tmp_path, picture):
    image = AnnotatedImage("a.jpg", 48, 32, [[0, 0, 9, 9]], ("face",), images / "a.jpg")
    bad = [
        replace(image, name="a.PNG"),
        replace(image, name="../b.jpg"),
        replace(image, name="c.jpg", classes=("fa\x01ce",)),
        replace(image, name="d\udc80.jpg"),
        replace(image, name="e", source=b"no picture"),
    ]
    lines = []
    report = Report(show=lines.append)
    pascal_voc.save([image, *bad, replace(image, name="f", source=picture())], tmp_path / "out", report)
    for line, problem in zip(
        lines,
        [
            "a.PNG: its annotations would be a.xml, as those of a.jpg",
            "../b.jpg: '../b.xml' is not a path inside",
            "c.jpg: its name or a class has characters that XML cannot hold",
            "d\udc80.jpg: its name or a class",
            "e: not a JPEG",
        ],
        strict=True,
    ):
        assert problem in line
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert files == ["annotations/a.xml", "annotations/f.xml", "images/f.jpg"]
    assert ElementTree.parse(tmp_path / "out/annotations/f.xml").findtext("filename") == "f.jpg"
    with pytest.raises(UserError, match="not one good image"):
        pascal_voc.save(bad[1:], tmp_path / "none", Report(show=lines.append))


sides = st.one_of(st.integers(-10, 5000).map(float), st.floats(-100, 5000).filter(lambda v: v == 0 or abs(v) > 1e-9))
names = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=8)
objects = st.lists(
    st.tuples(sides, sides, sides, sides, names, st.integers(0, 1), st.integers(0, 1), st.integers(-1, 1)).filter(
        lambda o: o[0] != o[2] and o[1] != o[3]
    ),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=objects)
def test_round_trip(tmp_path, images, objects):
    xyxy = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, *_ in objects]
    difficult, truncated, occluded = [[o[5 + i] for o in objects] for i in range(3)]
    flags = {"ignore": difficult, "difficult": difficult, "truncated": truncated, "occluded": occluded}
    image = AnnotatedImage("sub/a.jpg", 48, 32, xyxy, tuple(o[4] for o in objects), images / "sub/a.jpg", flags)
    pascal_voc.save([image], tmp_path / "out", Report())
    lines = []
    (again,) = pascal_voc.load(tmp_path / "out" / pascal_voc.ANNOTATIONS, images, None, Report(show=lines.append))
    assert lines == []
    assert (again.name, again.classes, again.xyxy.tolist()) == (image.name, image.classes, image.xyxy.tolist())
    assert flags_of(again) == flags_of(image)


pieces = st.sampled_from(
    [
        *"<>/&'\"; \n1-.\0",
        *("annotation", "object", "<xmin>", "</xmin>", "<annotation>", "</annotation>", "<object>", "</object>"),
        *("<!DOCTYPE a [", "]>", "<?xml", "<!--", "nan", "1e999", FACE, SIZE, BOX, annotation(FACE)),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=12).map(lambda p: "".join(p).encode())))
def test_any_bytes_are_read_or_refused(load, images, text):
    for files in ({"a.xml": text}, {"a.xml": b"<annotation>" + text + b"</annotation>"}):
        loaded, report, lines = load(files)
        assert len(loaded) == 1 or report.problems
        assert not any("\n" in line for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=60))
def test_any_image_set_is_read_or_refused(devkit, text):
    try:
        length, loaded, lines = devkit(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert length == len(loaded) + len(lines)


def test_globox_reads_what_is_saved(images, tmp_path):
    """globox takes corners as they are written, counted from 1."""
    image = AnnotatedImage("a.jpg", 48, 32, [[0, 1, 10, 12.5], [4, 4, 9, 9]], ("face", "hat"), images / "a.jpg")
    pascal_voc.save([image], tmp_path / "out", Report())
    (read,) = globox.AnnotationSet.from_pascal_voc(tmp_path / "out" / pascal_voc.ANNOTATIONS)
    assert (read.image_id, read.image_size) == ("a.jpg", (48, 32))
    assert [(box.label, *box.ltrb) for box in read.boxes] == [("face", 1, 2, 10, 12.5), ("hat", 5, 5, 9, 9)]


@pytest.fixture
def mask853():
    if not (SHARED / "mask853").is_dir():
        pytest.skip("mask853 is not beside this checkout")
    return SHARED / "mask853"


def test_real_set(mask853, tmp_path):
    """853 photographs: counts against a search in the text, boxes against globox."""
    texts = {path.stem: path.read_text() for path in (mask853 / "annotations").glob("*.xml")}
    expected = Counter(name for text in texts.values() for name in re.findall("<name>(.*?)</name>", text))
    lines = []
    report = Report(show=lines.append)
    loaded = list(pascal_voc.load(mask853 / "annotations", mask853 / "images", None, report))
    assert (len(loaded), sum(map(len, loaded)), lines) == (853, 4072, [])
    assert len(texts) == 853 and report.class_names == expected
    assert expected == {"con_mascarilla": 3232, "sin_mascarilla": 717, "mascarilla_mal_puesta": 123}
    others = {
        annotation.image_id: annotation for annotation in globox.AnnotationSet.from_pascal_voc(mask853 / "annotations")
    }
    for image in loaded:
        other = others[image.name]
        assert (image.width, image.height) == other.image_size
        assert [box.label for box in other.boxes] == list(image.classes)
        assert (image.xyxy + np.array([1, 1, 0, 0])).tolist() == [list(box.ltrb) for box in other.boxes]
        assert Image.open(io.BytesIO(image.encoded())).size == (image.width, image.height)
    report, faces = Report(), {"sin_mascarilla": "face"}
    assert sum(map(len, pascal_voc.load(mask853 / "annotations", mask853 / "images", faces, report))) == 717
    assert report.dropped == {"of another class": 4072 - 717}
