"""FDDB ellipse lists: for each image its path without suffix, the number of faces, and an ellipse for each face.

    2002/08/11/big/img_591
    1
    123.583300 85.549500 1.265839 269.693400 161.781200  1

A face is `major_axis_radius minor_axis_radius angle center_x center_y 1`: radii and centre in pixels, the angle of the
major axis with the x axis in radians. The folds are `FDDB-fold-01-ellipseList.txt` to 10; a folder stands for all
`*ellipseList.txt` in it. Source: V. Jain, E. Learned-Miller, FDDB, technical report UM-CS-2010-009, and its README,
http://vis-www.cs.umass.edu/fddb/.

Loading takes the tight upright box of each rotated ellipse. A path may also be written with its suffix. Radii of zero
are dropped and counted. Saving writes the upright ellipse that touches the four sides of the box, so a box is the same
when it is loaded again; class names and flags are dropped, and with them which boxes are to be ignored. An image
without faces has the count 0.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import SUFFIXES, ImageError, image_folder, path_inside, put_image, upright_size
from tools.report import Report
from tools.text_lines import numbered_lines

ANNOTATIONS = "FDDB-fold-01-ellipseList.txt"  # what save calls it
KEEPS = ()
_FOLDS = "*ellipseList.txt"


@dataclass(frozen=True)
class _Entry:
    """An image's path, what stands for its number of faces, and its face lines, with their line numbers."""

    line: int
    name: str  # empty: lines before the first path
    announced: str | None
    rows: list[tuple[int, str]]


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of one fold file, or of all in a folder. The one class of the format is called "face"."""
    if "face" not in (classes or {"face": "face"}):
        raise UserError("FDDB has one class, face: give --class face=NAME or nothing")
    folder = image_folder(images)
    files = _fold_files(Path(annotations))
    entries = [entry.announced for file in files for entry in _entries(file) if entry.name]
    if not any(entries):
        raise UserError(f"{annotations}: no image path with a number of faces below it, so not an FDDB ellipse list")
    return ImageStream(len(entries), _load(files, folder, classes, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/FDDB-fold-01-ellipseList.txt; images that are not files yet go to `output`/images."""
    output, seen = Path(output), {}
    with whole_file(output / ANNOTATIONS, encoding="utf-8") as file:
        for image in images:
            try:
                path = _without_suffix(put_image(image, output / "images"))
            except ImageError as error:
                report.problem(" ".join(image.name.splitlines()), str(error))
                continue
            if first := seen.get(path):
                report.problem(image.name, f"differs from {first} by its suffix only; this one is left out")
                continue
            seen[path] = image.name
            file.write("\n".join([path, str(len(image)), *map(_ellipse, image.xyxy.tolist()), ""]))
            report.images += 1
            report.boxes += len(image)
        report.need_images(output)


def ellipse_box(major: float, minor: float, angle: float, x: float, y: float) -> tuple[float, float, float, float]:
    """The tight upright box (x_min, y_min, x_max, y_max) of an ellipse.

    Args:
        major, minor: radii.
        angle: of the major axis with the x axis, in radians.
        x, y: the centre.

    >>> ellipse_box(10, 5, 0, 20, 20)
    (10.0, 15.0, 30.0, 25.0)
    """
    cos, sin = math.cos(angle), math.sin(angle)
    half_width, half_height = math.hypot(major * cos, minor * sin), math.hypot(major * sin, minor * cos)
    return x - half_width, y - half_height, x + half_width, y + half_height


def _fold_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if files := sorted(path.glob(_FOLDS)):
        return files
    raise UserError(f"{path}: no {_FOLDS} in this folder")


def _entries(path: Path) -> Iterator[_Entry]:
    """The images of a file. Paths have no suffix to be known by: what is no face line and no count is one."""
    lines = numbered_lines(path, "an FDDB ellipse list", "an FDDB ellipse list, or a folder of them")
    held = next(lines, None)
    while held:
        number, name = held
        announced = None
        if _is_row(name):
            name = ""
        else:
            held = next(lines, None)
            if held and _is_number(held[1]):
                announced, held = held[1], next(lines, None)
        rows = []
        while held and _is_row(held[1]):
            rows.append(held)
            held = next(lines, None)
        yield _Entry(number, name, announced, rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_row(text: str) -> bool:
    """Whether this is a face line, be it a bad one: several words, most of them numbers."""
    words = text.split()
    return len(words) > 1 and sum(map(_is_number, words)) * 2 > len(words)


def _load(
    files: list[Path], folder: Path, classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    seen: dict[str, str] = {}
    for file in files:
        for entry in _entries(file):
            place = f"{file}, line {entry.line}"
            if not entry.name:
                report.problem(place, f"comes before the first image path: {entry.rows[0][1][:40]!r}")
                continue
            try:
                name = _file_name(folder, entry.name)
                if first := seen.get(name):
                    raise ImageError(f"is there twice, first in {first}; this one is left out")
                seen[name] = place
                source = path_inside(folder, name)
                width, height = upright_size(source)
                _check_count(entry)
            except ImageError as error:
                report.problem(place, f"{entry.name}: {error}")
                continue
            found = [_face(text, f"{file}, line {row}", classes, report) for row, text in entry.rows]
            faces = [face for face in found if face]
            xyxy, names = [face[0] for face in faces], tuple(face[1] for face in faces)
            yield AnnotatedImage(name, width, height, xyxy, names, source)


def _file_name(folder: Path, path: str) -> str:
    """`path` with the suffix that its image file has. Raises ImageError."""
    if os.path.isfile(path_inside(folder, path)):
        return path
    for suffixes in (SUFFIXES, [suffix.upper() for suffix in SUFFIXES]):
        found = [path + suffix for suffix in suffixes if os.path.isfile(path_inside(folder, path + suffix))]
        if len(found) > 1:
            raise ImageError(f"more than one file of this name: {' and '.join(found)}")
        if found:
            return found[0]
    raise ImageError(f"no {PurePosixPath(path).name}.jpg or other image of this name in its folder below {folder}")


def _check_count(entry: _Entry) -> None:
    """Raises ImageError when the number of face lines is not as announced."""
    if entry.announced is None:
        raise ImageError("a number of faces must follow; the image is left out")
    if not entry.announced.isdecimal():
        raise ImageError(f"a number of faces must follow, not {entry.announced[:40]!r}; the image is left out")
    if float(entry.announced) != len(entry.rows):
        announced = entry.announced[:40]
        raise ImageError(f"{announced} faces are announced, {len(entry.rows)} lines follow; the image is left out")


def _face(
    text: str, place: str, classes: Mapping[str, str] | None, report: Report
) -> tuple[tuple[float, float, float, float], str] | None:
    """The box and class of a face, or None for one that is left out."""
    words = text.split()
    values = [float(word) for word in words] if all(map(_is_number, words)) else []
    if len(values) != 6 or values[5] != 1:
        what = "major_axis_radius minor_axis_radius angle center_x center_y 1"
        report.problem(place, f"not `{what}`: {text[:80]!r}; this face is left out")
        return None
    name = report.chosen("face", classes)
    if not all(map(math.isfinite, values)) or min(values[:2]) < 0:
        reason = "a radius is negative" if all(map(math.isfinite, values)) else "a value is not a finite number"
        report.problem(place, f"the ellipse is {text[:80]!r}: {reason}; this face is left out")
        return None
    box = ellipse_box(*values[:5])
    if reason := boxes.fault(*box):
        report.problem(place, f"the ellipse is {text[:80]!r}: {reason}; this face is left out")
        return None
    if not min(values[:2]):
        report.dropped["zero size"] += 1
        return None
    return box, name


def _without_suffix(name: str) -> str:
    """The path that stands for an image. Raises ImageError where a reader would take it for something else."""
    path = PurePosixPath(name)
    text = str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name
    if text != text.strip() or "\n" in text or "\r" in text or _is_row(text):
        raise ImageError(f"{text!r} would not be read as an image's path in an FDDB ellipse list")
    return text


def _ellipse(box: list[float]) -> str:
    """The face line of the ellipse inscribed in a box, its major axis along the longer side."""
    xmin, ymin, xmax, ymax = box
    half_width, half_height = (xmax - xmin) / 2, (ymax - ymin) / 2
    upright = half_height > half_width
    major, minor = (half_height, half_width) if upright else (half_width, half_height)
    values = major, minor, math.pi / 2 if upright else 0.0, xmin + half_width, ymin + half_height
    return " ".join(map(repr, values)) + "  1"
