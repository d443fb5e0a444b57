"""Pascal VOC: a folder with an XML file for each image.

    <annotation>
      <filename>a.jpg</filename>
      <size><width>500</width><height>375</height><depth>3</depth></size>
      <object>
        <name>face</name><pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
        <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>500</xmax><ymax>375</ymax></bndbox>
      </object>
    </annotation>

Corners are pixels counted from 1, the last one included: this box is the whole image, here (0, 0, 500, 375). So 1 is
taken off xmin and ymin, and xmax and ymax stay. Tools that count from 0 exist and cannot be told apart: their boxes
reach one pixel farther to the upper left, and a corner 0 becomes -1. Source: the development kit, "Ground Truth
Annotation", http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html.

Loading: decimals are taken; <size>, <difficult>, <truncated> and <occluded> may be missing. Difficult objects are also
to be ignored, as the VOC protocol neither counts them as missed nor as mistakes. Not read: <pose>, a word, and <part>,
which is no object of its own. Boxes of zero size are dropped and counted. A file with a DOCTYPE is refused.

Saving: an image is written to annotations/<its name>.xml. Boxes to be ignored and groups become difficult ones; other
flags than these and truncated and occluded are dropped. <truncated>, which many readers need, is 0 where unknown;
<pose> is Unspecified and <depth> 3 everywhere.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePosixPath

from lxml import etree

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import SUFFIXES, ImageError, image_folder, path_inside, put_image, upright_boxes
from tools.report import Report
from tools.text_lines import numbered_lines

KEEPS = ("class", "ignore", "group_of", "difficult", "truncated", "occluded")  # ignore and group_of as difficult
ANNOTATIONS = "annotations"  # what save calls its folder

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FIRST_PIXEL = (1, 1, 0, 0)  # what VOC's corners are ahead of ours
_FLAGS = {"difficult": 0, "truncated": -1, "occluded": -1}  # and their values where the element is missing
_FLAG_VALUES = {"0": 0, "1": 1, "false": 0, "true": 1}
_ANY_SUFFIX = (*SUFFIXES, *map(str.upper, SUFFIXES))
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    huge_tree=False,
    load_dtd=False,
    remove_comments=True,  # they would cut a text in two
    remove_pis=True,
)


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a folder of XML files, those in folders below included, in the order of their paths.

    Or of an image set, VOC's ImageSets/Main/train.txt: a name without suffix on each line, perhaps with a column of -1,
    0 or 1 behind it, which is not read; the XML files are then in ../../Annotations.

    The image is <filename> beside the XML file's place in `images`, else the file there that is called like the XML
    file, else <filename> in `images` itself. Memory: only the names of the images.
    """
    folder = image_folder(images)
    annotations = Path(annotations)
    if annotations.is_dir():
        count = sum(1 for _ in _in_folder(annotations))
        if not count:
            raise UserError(f"{annotations}: no .xml file in it or below, so not a folder of Pascal VOC annotations")
        return ImageStream(count, _load(annotations, _in_folder(annotations), folder, classes, report))
    count = sum(
        1 for _ in numbered_lines(annotations, "an image set", "a folder of XML files or the path of an image set")
    )
    if not count:
        raise UserError(f"{annotations}: no name in it, so not an image set")
    top = annotations.parent / "../../Annotations"
    if not top.is_dir():
        raise UserError(
            f"{annotations}: there is no folder ../../Annotations; give the folder of XML files, or an image set as in "
            "VOC2012/ImageSets/Main"
        )
    return ImageStream(count, _load(top, _in_image_set(annotations, top, report), folder, classes, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/annotations/<name of image>.xml; images that are not files yet go to `output`/images.

    Each file appears whole. Files of the same names are replaced, and all others that are there stay: give a new
    folder, or remove what is no longer wanted before.
    """
    output, written = Path(output), {}
    for image in images:
        xml = _xml_name(image.name)
        if xml in written:
            report.problem(image.name, f"its annotations would be {xml}, as those of {written[xml]}; it is left out")
            continue
        written[xml] = image.name
        try:
            target = path_inside(output / ANNOTATIONS, xml)
            write_whole(target, _xml(image, put_image(image, output / "images")))
        except ImageError as error:
            report.problem(image.name, str(error))
            continue
        except ValueError:  # of lxml
            report.problem(image.name, "its name or a class has characters that XML cannot hold; it is left out")
            continue
        report.images += 1
        report.boxes += len(image)
    report.need_images(output)


def _in_folder(top: Path) -> Iterator[PurePosixPath]:
    """The XML files in `top` and below, relative to it."""

    def stop(error: OSError):
        raise UserError(f"{error.filename}: {error.strerror}")

    for parent, folders, files in os.walk(top, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield PurePosixPath(Path(parent, name).relative_to(top))


def _in_image_set(path: Path, top: Path, report: Report) -> Iterator[PurePosixPath]:
    """The XML files of an image set, relative to `top`."""
    for number, text in numbered_lines(path, "an image set", "a folder of XML files or the path of an image set"):
        for stem in (text, re.sub(r"\s+(-1|0|1)$", "", text)):
            try:
                found = os.path.isfile(path_inside(top, f"{stem}.xml"))
            except ImageError:
                found = False
            if found:
                yield PurePosixPath(f"{stem}.xml")
                break
        else:
            report.problem(f"{path}, line {number}", f"no file {stem + '.xml'!r} in {top}")


def _load(
    top: Path, names: Iterable[PurePosixPath], folder: Path, classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    seen: dict[str, str] = {}
    for xml in names:
        path = top / xml
        if (root := _root(path, report)) is None:
            continue
        try:
            source = _find(folder, _text(root, "filename"), xml)
            name = source.relative_to(folder).as_posix()
            if name in seen:
                report.problem(str(path), f"{name!r} is there twice, first in {seen[name]}; this one is left out")
                continue
            seen[name] = str(xml)
            objects = list(_objects(root, path, classes, report))
            width, height, xyxy = upright_boxes(source, _size(root), [box for _, box, _ in objects])
        except (ImageError, ValueError) as error:
            report.problem(str(path), f"{error}; the image is left out")
            continue
        flags = {flag: [values[flag] for *_, values in objects] for flag in _FLAGS}
        flags["ignore"] = flags["difficult"]
        yield AnnotatedImage(name, width, height, xyxy, tuple(chosen for chosen, *_ in objects), source, flags)


def _root(path: Path, report: Report) -> etree._Element | None:
    """The <annotation> of a file, or None for a bad file."""
    try:
        root = etree.fromstring(path.read_bytes(), _PARSER)
    except OSError as error:
        report.problem(str(path), error.strerror)
    except etree.XMLSyntaxError as error:
        reason = re.sub(r", line \d+, column \d+$", "", " ".join(str(error.msg).split()))
        report.problem(f"{path}, line {error.lineno}", f"not well-formed XML ({reason})")
    else:
        if root.getroottree().docinfo.internalDTD is not None:
            report.problem(str(path), "has a DOCTYPE, which annotations don't need and which is not trusted; remove it")
        elif root.tag != "annotation":
            report.problem(f"{path}, line {root.sourceline}", f"<{root.tag}> is not Pascal VOC's <annotation>")
        else:
            return root
    return None


def _find(folder: Path, filename: str, xml: PurePosixPath) -> Path:
    """The image file of an XML file. Raises ImageError."""
    for name in _candidates(filename, xml):
        try:
            path = path_inside(folder, name)
        except ImageError:
            continue
        if os.path.isfile(path):
            return path
    raise ImageError(
        f"neither its <filename> {filename!r} nor {str(xml.with_suffix('.jpg'))!r} is an image in {folder}"
    )


def _candidates(filename: str, xml: PurePosixPath) -> Iterator[str]:
    """The names that the image of an XML file may have, the likeliest first."""
    here, last = xml.parent, re.split(r"[/\\]", filename)[-1]
    if "/" in filename:
        yield from _with_suffixes(filename)
    if last:
        yield from _with_suffixes(str(here / last))
    for suffix in _ANY_SUFFIX:
        yield str(here / (xml.stem + suffix))
    if last:
        yield from _with_suffixes(last)


def _with_suffixes(name: str) -> Iterator[str]:
    yield name
    if not name.lower().endswith(SUFFIXES):
        for suffix in _ANY_SUFFIX:
            yield name + suffix


def _objects(
    root: etree._Element, path: Path, classes: Mapping[str, str] | None, report: Report
) -> Iterator[tuple[str, list[float], dict[str, int]]]:
    """The class, box and flags of each object that is wanted."""
    for node in root.findall("object"):
        place, texts = f"{path}, line {node.sourceline}", _texts(node)
        if not (name := texts.get("name")):
            report.problem(place, "an object without <name>; this box is left out")
            continue
        if (chosen := report.chosen(name, classes)) is None:
            continue
        try:
            box, flags = _box(node), {flag: _flag(texts, flag) for flag in _FLAGS}
        except ValueError as error:
            report.problem(place, f"{name!r}: {error}; this box is left out")
            continue
        if box[0] == box[2] or box[1] == box[3]:
            report.dropped["zero size"] += 1
        else:
            yield chosen, box, flags


def _box(node: etree._Element) -> list[float]:
    """[xmin, ymin, xmax, ymax] as we count. Raises ValueError saying what is wrong."""
    corners = node.find("bndbox")
    if corners is None:
        raise ValueError("no <bndbox>")
    texts = _texts(corners)
    box = [_side(texts.get(side, ""), side, first) for side, first in zip(_SIDES, _FIRST_PIXEL, strict=True)]
    if reason := boxes.fault(*box):
        raise ValueError(reason)
    return box


def _side(text: str, side: str, first: int) -> float:
    try:
        if text.isdecimal():
            return float(int(text) - first)
        return float(Decimal(text) - first)  # binary fractions would not come back the same from save
    except ArithmeticError:
        raise ValueError(f"<{side}> is {text[:40]!r}, not a number" if text else f"no <{side}>") from None


def _flag(texts: Mapping[str, str], flag: str) -> int:
    if not (text := texts.get(flag)):
        return _FLAGS[flag]
    if text.lower() not in _FLAG_VALUES:
        raise ValueError(f"<{flag}> is {text[:40]!r}, not 0 or 1")
    return _FLAG_VALUES[text.lower()]


def _size(root: etree._Element) -> tuple[int, int]:
    """(width, height), 0 where they are not stated. Raises ValueError."""
    texts = [_text(root, f"size/{side}") or "0" for side in ("width", "height")]
    try:
        sides = [float(text) for text in texts]
    except ValueError:
        sides = [-1.0]
    if not all(side.is_integer() and side >= 0 for side in sides):
        raise ValueError(f"<size> is {texts[0][:20]!r} x {texts[1][:20]!r}, not pixels")
    return int(sides[0]), int(sides[1])


def _texts(node: etree._Element) -> dict[str, str]:
    """{tag: text} of the children, of equal ones the first."""
    return {child.tag: (child.text or "").strip() for child in reversed(node)}


def _text(node: etree._Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def _xml_name(name: str) -> str:
    """The XML file for the image `name`: with .xml in place of a known suffix, else behind it."""
    path = PurePosixPath(name)
    return f"{path.with_suffix('') if path.suffix.lower() in SUFFIXES else path}.xml"


def _xml(image: AnnotatedImage, name: str) -> bytes:
    """The XML file. Raises ValueError for text that it cannot hold."""
    root = etree.Element("annotation")
    _add(root, "folder", "images")
    _add(root, "filename", name)
    size = etree.SubElement(root, "size")
    for tag, value in [("width", image.width), ("height", image.height), ("depth", 3)]:
        _add(size, tag, str(value))
    unknown = [-1] * len(image)
    flags = {flag: image.flags.get(flag, unknown) for flag in KEEPS[1:]} | {"ignore": image.ignore}
    for i, box in enumerate(image.xyxy.tolist()):
        node = etree.SubElement(root, "object")
        _add(node, "name", image.classes[i])
        _add(node, "pose", "Unspecified")
        _add(node, "truncated", str(int(flags["truncated"][i] == 1)))
        if flags["occluded"][i] in (0, 1):
            _add(node, "occluded", str(flags["occluded"][i]))
        _add(node, "difficult", str(int(any(flags[flag][i] == 1 for flag in ("ignore", "difficult", "group_of")))))
        corners = etree.SubElement(node, "bndbox")
        for side, value, first in zip(_SIDES, box, _FIRST_PIXEL, strict=True):
            _add(corners, side, _number(Decimal(repr(value)) + first))
    return etree.tostring(root, pretty_print=True, encoding="utf-8")


def _add(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text


def _number(value: Decimal) -> str:
    return str(int(value)) if value == int(value) else format(value, "f")
