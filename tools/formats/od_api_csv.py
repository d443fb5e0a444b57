"""CSV of the TF Object Detection API's tutorials: a line for each box, found by its column names.

    filename,width,height,class,xmin,ymin,xmax,ymax
    a.jpg,640,480,face,10,20,40,60.5

Further columns are not read. The corners are taken as generate_tfrecord.py takes them, which divides them by width and
height: pixels from the upper left edge of the upright image, so that 0, 0, 640, 480 is the whole of it. (xml_to_csv.py
copies the corners of Pascal VOC over as they are, counted from 1. Its boxes begin a pixel late; to convert the XML
files themselves is exact.) Source: xml_to_csv.py and generate_tfrecord.py of
https://github.com/datitran/raccoon_dataset, which others have taken over.

The file cannot name an image without boxes; one that only has boxes of classes that are not wanted is kept, without
them. Boxes of zero size are dropped and counted. Saving drops all flags and images without boxes.
"""

import csv
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import ImageError, image_folder, path_inside, put_image, upright_boxes
from tools.report import Report

KEEPS = ("class",)
ANNOTATIONS = "annotations.csv"  # what save calls it

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("filename", "width", "height", "class", *_SIDES)


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a CSV file, in the order of their first lines; lines of an image may be anywhere.

    Memory: about 300 bytes for each image and 40 for each box.
    """
    folder = image_folder(images)
    found, names = _read(annotations, classes, report)
    return ImageStream(len(found), _images(found, names, folder, annotations, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/annotations.csv; images that are not files yet go to `output`/images."""
    output = Path(output)
    with whole_file(output / ANNOTATIONS, encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for image in images:
            if not len(image):
                report.skipped["without boxes: the format cannot name them"] += 1
                continue
            if bad := [text for text in (image.name, *image.classes) if not _can_hold(text)]:
                report.problem(image.name, f"{bad[0]!r} cannot be written to a CSV file; the image is left out")
                continue
            try:
                name = put_image(image, output / "images")
            except ImageError as error:
                report.problem(image.name, str(error))
                continue
            for class_name, box in zip(image.classes, image.xyxy.tolist(), strict=True):
                writer.writerow([name, image.width, image.height, class_name, *map(_number, box)])
            report.images += 1
            report.boxes += len(image)
        report.need_images(output)


def _read(
    path: str | Path, classes: Mapping[str, str] | None, report: Report
) -> tuple[dict[str, tuple[int, tuple[int, int], array]], list[str]]:
    """{file name: (its first line, (width, height), for each box its _SIDES and its class)}, and the classes."""
    found: dict[str, tuple[int, tuple[int, int], array]] = {}
    order: dict[str, int] = {}
    for line, (name, width, height, class_name, *sides) in _rows(path, report):
        try:
            if not name or not class_name:
                raise ValueError("no class" if name else "no filename")
            size = _size(width, height)
            entry = found.get(name, (line, size, array("d")))
            if size != entry[1]:
                raise ValueError(f"{name!r} is {_by(size)} pixels here, {_by(entry[1])} on line {entry[0]}")
            if (chosen := report.chosen(class_name, classes)) is not None:
                box = _box(sides)
                if box[0] == box[2] or box[1] == box[3]:
                    report.dropped["zero size"] += 1
                else:
                    entry[2].extend((*box, order.setdefault(chosen, len(order))))
        except ValueError as error:
            report.problem(f"{path}, line {line}", f"{error}; this line is left out")
        else:
            found[name] = entry
    return found, list(order)


def _rows(path: str | Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    """The _COLUMNS of each line that is not empty, with its number."""
    empty = True
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            positions = _positions(path, header)
            for row in filter(None, reader):
                empty = False
                if len(row) == len(header):
                    yield reader.line_num, [row[position] for position in positions]
                else:
                    reason = f"has {len(row)} columns, the header has {len(header)}; this line is left out"
                    report.problem(f"{path}, line {reader.line_num}", reason)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a CSV file of boxes") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not a CSV file") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a CSV file ({error})") from error
    if empty:
        raise UserError(f"{path}: no box in it")


def _positions(path: str | Path, header: list[str]) -> list[int]:
    """Where each of _COLUMNS is."""
    names = [name.strip() for name in header]
    if missing := [name for name in _COLUMNS if name not in names]:
        raise UserError(
            f"{path}, line 1: no column {', '.join(missing)}: a CSV file of the OD API begins {','.join(_COLUMNS)}"
        )
    return [names.index(name) for name in _COLUMNS]


def _size(*texts: str) -> tuple[int, int]:
    """(width, height), 0 where they are not stated. Raises ValueError."""
    try:
        sides = [float(text or 0) for text in texts]
    except ValueError:
        sides = [-1.0]
    if not all(side.is_integer() and side >= 0 for side in sides):
        raise ValueError(f"width and height are {texts[0][:20]!r} and {texts[1][:20]!r}, not pixels")
    return int(sides[0]), int(sides[1])


def _box(texts: list[str]) -> list[float]:
    """[xmin, ymin, xmax, ymax]. Raises ValueError."""
    box = []
    for side, text in zip(_SIDES, texts, strict=True):
        try:
            box.append(float(text))
        except ValueError:
            raise ValueError(f"{side} is {text[:40]!r}, not a number") from None
    if reason := boxes.fault(*box):
        raise ValueError(f"the box is {', '.join(texts)[:80]}: {reason}")
    return box


def _images(
    found: dict[str, tuple[int, tuple[int, int], array]],
    names: list[str],
    folder: Path,
    annotations: str | Path,
    report: Report,
) -> Iterator[AnnotatedImage]:
    step = len(_SIDES) + 1
    seen: dict[str, int] = {}
    for filename, (line, size, numbers) in found.items():
        rows = [numbers[i : i + step] for i in range(0, len(numbers), step)]
        try:
            source = path_inside(folder, filename)
            name = source.relative_to(folder).as_posix()
            width, height, xyxy = upright_boxes(source, size, [row[:4] for row in rows])
        except ImageError as error:
            report.problem(f"{annotations}, line {line}", f"{filename!r}: {error}")
            continue
        if seen.setdefault(name, line) != line:
            report.problem(
                f"{annotations}, line {line}", f"{filename!r} is the image of line {seen[name]}; it is left out"
            )
            continue
        yield AnnotatedImage(name, width, height, xyxy, tuple(names[int(row[4])] for row in rows), source)


def _can_hold(text: str) -> bool:
    """If `text` comes back the same from a CSV file in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not set(text) & set("\r\0")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value
