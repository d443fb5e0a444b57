"""WIDER FACE ground truth: one text file, for each image its path, the number of faces, and a line for each face.

    0--Parade/0_Parade_Parade_0_1014.jpg
    2
    76 237 6 7 2 0 0 0 1 0
    153 236 7 8 2 0 0 0 0 0

A face is `x y width height blur expression illumination invalid occlusion pose`, in pixels, here also with decimals. An
image without faces has the count 0 and one line of zeros. Source: readme.txt in wider_face_split.zip,
http://shuoyang1213.me/WIDERFACE/.

Loading: `invalid` faces are kept with the flags invalid and ignore; boxes of zero or negative size (they exist, not
marked invalid) are dropped and counted. Saving drops every class name and every flag that is not one of the six; faces
to be ignored and groups become invalid ones; coordinates keep two decimals.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import SUFFIXES, ImageError, image_folder, path_inside, put_image, upright_size
from tools.report import Report
from tools.text_lines import numbered_lines

ANNOTATIONS = "wider_face_bbx_gt.txt"  # what save calls it
_FLAGS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
_DIGITS = frozenset("0123456789")
KEEPS = ("ignore", "group_of", *_FLAGS)  # the first two as invalid


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a ground-truth file, in its order. The one class of the format is called "face"."""
    name = (classes or {"face": "face"}).get("face")
    if name is None:
        raise UserError("WIDER FACE has one class, face: give --class face=NAME or nothing")
    folder = image_folder(images)
    count = sum(_is_path(text) for _, text in numbered_lines(annotations, "a WIDER FACE ground-truth file"))
    if not count:
        raise UserError(f"{annotations}: no image path in it, so not a WIDER FACE ground-truth file (..._bbx_gt.txt)")
    return ImageStream(count, _load(annotations, folder, name, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/wider_face_bbx_gt.txt; images that are not files yet go to `output`/images."""
    output = Path(output)
    with whole_file(output / ANNOTATIONS, encoding="utf-8") as file:
        for image in images:
            try:
                name = put_image(image, output / "images")
            except ImageError as error:
                report.problem(image.name, str(error))
                continue
            file.write("\n".join([name, str(len(image)), *_face_lines(image), ""]))
            report.images += 1
            report.boxes += len(image)
        report.need_images(output)


def _is_path(text: str) -> bool:
    return text.lower().endswith(SUFFIXES)


def _entries(path: str | Path, report: Report) -> Iterator[tuple[int, str, list[tuple[int, str]]]]:
    """Each image's path with its line number, and the lines up to the next path."""
    entry = None
    for number, text in numbered_lines(path, "a WIDER FACE ground-truth file"):
        if _is_path(text):
            if entry:
                yield entry
            entry = number, text, []
        elif entry:
            entry[2].append((number, text))
        else:
            report.problem(f"{path}, line {number}", f"comes before the first image path: {text[:40]!r}")
    if entry:
        yield entry


def _load(path: str | Path, folder: Path, class_name: str, report: Report) -> Iterator[AnnotatedImage]:
    seen: dict[str, int] = {}
    for number, name, body in _entries(path, report):
        place = f"{path}, line {number}"
        if name in seen:
            report.problem(place, f"{name} is there twice, first on line {seen[name]}; this one is left out")
            continue
        seen[name] = number
        try:
            source = path_inside(folder, name)
            width, height = upright_size(source)
            faces = [_face(text, f"{path}, line {row}", report) for row, text in _rows(body)]
        except ImageError as error:
            report.problem(place, f"{name}: {error}")
            continue
        except ValueError as error:
            report.problem(place, f"{name}: {error}; the image is left out")
            continue
        faces = [face for face in faces if face]
        flags = {flag: [face[4 + i] for face in faces] for i, flag in enumerate(_FLAGS)}
        flags["ignore"] = flags["invalid"]
        xyxy = [face[:4] for face in faces]
        yield AnnotatedImage(name, width, height, xyxy, (class_name,) * len(faces), source, flags)


def _rows(body: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The face lines of an image. Raises ValueError when their number is not as announced."""
    if not body or not body[0][1].isdecimal():
        raise ValueError(f"a number of faces must follow, not {body[0][1][:40]!r}" if body else "nothing follows it")
    count, rows = int(body[0][1]), body[1:]
    if count == 0 and len(rows) == 1 and not any(rows[0][1].replace("0", "").split()):
        return []
    if len(rows) != count:
        raise ValueError(f"{count} faces are announced, {len(rows)} lines follow")
    return rows


def _face(text: str, place: str, report: Report) -> list[float] | None:
    """[xmin, ymin, xmax, ymax, six flags], or None for a face that is left out."""
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 10 or not _DIGITS.issuperset(words[4:]):
        report.problem(place, f"not `x y width height` and six flags: {text[:60]!r}; this face is left out")
        return None
    x, y, width, height = values[:4]
    if width <= 0 or height <= 0:  # the data set has some: nothing that a user would have to mend
        report.dropped["zero or negative size"] += 1
        return None
    if reason := boxes.fault(x, y, x + width, y + height):
        report.problem(place, f"the box is {text[:60]!r}: {reason}; this face is left out")
        return None
    return [x, y, x + width, y + height, *values[4:]]


def _face_lines(image: AnnotatedImage) -> Iterator[str]:
    if not len(image):
        yield " ".join("0" * 10)
    zeros = [0] * len(image)
    flags = {flag: image.flags.get(flag, zeros) for flag in _FLAGS}
    flags["invalid"] = image.ignore | (image.flags.get("group_of", zeros) == 1) if len(image) else zeros
    for i, (xmin, ymin, xmax, ymax) in enumerate(image.xyxy):
        box = " ".join(_number(value) for value in (xmin, ymin, xmax - xmin, ymax - ymin))
        yield f"{box} " + " ".join(str(int(flags[flag][i])) for flag in _FLAGS)


def _number(value: float) -> str:
    rounded = round(float(value), 2)
    return str(int(rounded)) if rounded == math.floor(rounded) else str(rounded)
