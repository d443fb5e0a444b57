"""COCO object detection ("instances"): one JSON file.

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20.5, 30, 40], "iscrowd": 0}],
     "categories": [{"id": 1, "name": "face"}]}

A bbox is [x, y, width, height] in pixels, counted from 0, of the upright image. An image without annotations is an
image without objects. Source: https://cocodataset.org/#format-data.

Loading: iscrowd becomes group_of. Of what other tools add are read: `"ignore": 1`, and in `attributes` (CVAT, Datumaro)
the flags of tools.annotations.FLAGS by their names, where they are numbers or true and false. A group_of there goes
before iscrowd, which also marks boxes to be ignored. Masks are not read. Boxes of zero size (COCO has some) are dropped
and counted.

Saving: iscrowd is 1 for groups and for boxes to be ignored, as it is all that pycocotools acts on, with `"ignore": 1`
for the latter. The other flags are in `attributes`, where they are known. The same images give the same bytes.
"""

import json
import math
import reprlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools import boxes
from tools.annotations import FLAGS, AnnotatedImage
from tools.formats import ImageStream
from tools.images import ImageError, image_folder, path_inside, put_image, upright_boxes
from tools.report import Report

KEEPS = ("class", *FLAGS)
ANNOTATIONS = "annotations.json"  # what save calls it

_LISTS = ("images", "annotations", "categories")
_UNKNOWN = dict.fromkeys(("occluded", "truncated", "group_of", "depiction", "inside"), -1)
_ALLOWED = (
    dict.fromkeys(FLAGS, (0, 1)) | dict.fromkeys(_UNKNOWN, (-1, 0, 1)) | dict.fromkeys(("blur", "occlusion"), (0, 1, 2))
)


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a COCO file, in its order; class names are those of its categories.

    Memory: the file's text, and about a kilobyte for each box.
    """
    folder = image_folder(images)
    content = _read(annotations)
    return ImageStream(len(content["images"]), _load(str(annotations), content, folder, classes, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/annotations.json; images that are not files yet go to `output`/images.

    Categories are numbered as they appear. The annotations wait in a file, not in memory, until all images are written.
    """
    output, categories = Path(output), {}
    output.mkdir(parents=True, exist_ok=True)
    # A file without a name: it is gone in any case when this process is.
    with (
        whole_file(output / ANNOTATIONS, encoding="ascii") as file,
        tempfile.TemporaryFile("w+", encoding="ascii", dir=output) as rows,
    ):
        file.write('{"info": {}, "licenses": [], "images": [')
        for image in images:
            try:
                name = put_image(image, output / "images")
            except ImageError as error:
                report.problem(image.name, str(error))
                continue
            report.images += 1
            entry = {"id": report.images, "file_name": name, "width": image.width, "height": image.height}
            _write_row(file, entry, first=report.images == 1)
            for annotation in _annotations(image, categories):
                report.boxes += 1
                _write_row(rows, {"id": report.boxes, "image_id": report.images, **annotation}, report.boxes == 1)
        file.write('\n], "annotations": [')
        rows.seek(0)
        shutil.copyfileobj(rows, file)
        file.write('\n], "categories": [')
        for name, number in categories.items():
            _write_row(file, {"id": number, "name": name, "supercategory": ""}, first=number == 1)
        file.write("\n]}\n")
        report.need_images(output)


def _read(path: str | Path) -> dict:
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=_without_mask)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a COCO annotation file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not a COCO annotation file") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise UserError(f"{path}: not JSON that can be read ({error})") from error
    if not isinstance(content, dict):
        hint = "a list, as files of results are" if isinstance(content, list) else "no object"
        raise UserError(f"{path}: {hint}, not COCO annotations: an object with {', '.join(_LISTS)}")
    if missing := [name for name in _LISTS if not isinstance(content.get(name), list)]:
        raise UserError(f"{path}: no list {' and '.join(map(repr, missing))}, so not COCO annotations of objects")
    if not content["images"]:
        raise UserError(f"{path}: its list of images is empty")
    return content


def _without_mask(entry: dict) -> dict:
    entry.pop("segmentation", None)  # the most part of a file by far
    return entry


def _load(
    path: str, content: dict, folder: Path, classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    categories = _categories(path, content["categories"], report)
    annotations = _by_image(path, content, report)
    ids, names = set(), {}
    for index, entry in enumerate(content["images"]):
        place = _place(path, "image", entry, index)
        try:
            number = _new_id(entry, ids)
            name = _value(entry, "file_name", str, "a path")
            source = path_inside(folder, name)
            name = source.relative_to(folder).as_posix()
            if name in names:
                raise ValueError(f"{name!r} is there twice, first as image id {names[name]!r}")
            names[name] = number
            rows = list(_rows(path, annotations.pop(number, ()), categories, classes, report))
            width, height, xyxy = upright_boxes(source, _size(entry), [box for _, box, _ in rows])
        except ImageError as error:
            report.problem(place, f"{name!r}: {error}")
            continue
        except ValueError as error:
            report.problem(place, f"{error}; the image is left out")
            continue
        found = {flag for *_, flags in rows for flag in flags} | {"ignore", "group_of"}
        flags = {flag: [values.get(flag, _UNKNOWN.get(flag, 0)) for *_, values in rows] for flag in found}
        yield AnnotatedImage(name, width, height, xyxy, tuple(chosen for chosen, *_ in rows), source, flags)


def _categories(path: str, entries: list, report: Report) -> dict[int | str, str]:
    """{category id: name}."""
    categories: dict[int | str, str] = {}
    ids = set()
    for index, entry in enumerate(entries):
        try:
            number = _new_id(entry, ids)
            categories[number] = _value(entry, "name", str, "a name")
        except ValueError as error:
            report.problem(_place(path, "category", entry, index), f"{error}; this category is left out")
    return categories


def _by_image(path: str, content: dict, report: Report) -> dict[int | str, list[dict]]:
    """{image id: its annotations}, those without a place left out. Empties the content's own list."""
    known = {entry["id"] for entry in content["images"] if isinstance(entry, dict) and _is_id(entry.get("id"))}
    annotations = defaultdict(list)
    ids = set()
    for index, entry in enumerate(content.pop("annotations")):
        try:
            _new_id(entry, ids)
            number = _value(entry, "image_id", (int, str), "an id")
            if number not in known:
                raise ValueError(f"there is no image id {number!r}")
        except ValueError as error:
            report.problem(_place(path, "annotation", entry, index), f"{error}; this box is left out")
        else:
            annotations[number].append(entry)
    return annotations


def _rows(
    path: str, entries: Iterable[dict], categories: Mapping, classes: Mapping[str, str] | None, report: Report
) -> Iterator[tuple[str, list[float], dict[str, int]]]:
    """The class, box and flags of each annotation that is wanted."""
    for entry in entries:
        try:
            category = _value(entry, "category_id", (int, str), "an id")
            if category not in categories:
                raise ValueError(f"there is no category id {category!r}")
            if (chosen := report.chosen(categories[category], classes)) is None:
                continue
            box, flags = _box(entry), _flags(entry)
        except ValueError as error:
            report.problem(_place(path, "annotation", entry), f"{error}; this box is left out")
            continue
        if box[0] == box[2] or box[1] == box[3]:
            report.dropped["zero size"] += 1
        else:
            yield chosen, box, flags


def _box(entry: dict) -> list[float]:
    """[xmin, ymin, xmax, ymax]. Raises ValueError."""
    bbox = _value(entry, "bbox", list, "[x, y, width, height]")
    if len(bbox) != 4 or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in bbox):
        raise ValueError(f"bbox is {reprlib.repr(bbox)}, not [x, y, width, height]")
    try:
        x, y, width, height = map(float, bbox)
        box = [x, y, _far_side(x, width), _far_side(y, height)]
    except ArithmeticError:  # infinity less infinity, and whole numbers beyond any float
        box = [math.nan] * 4
    if reason := boxes.fault(*box):
        raise ValueError(f"bbox is {reprlib.repr(bbox)}: {reason}")
    return box


def _flags(entry: dict) -> dict[str, int]:
    """The flags of an annotation. Raises ValueError."""
    attributes = entry.get("attributes")
    given = attributes if isinstance(attributes, dict) else {}
    flags = {flag: given[flag] for flag in FLAGS if isinstance(given.get(flag), int | float)}
    flags["ignore"] = entry.get("ignore", flags.get("ignore", 0))
    for flag, value, allowed in [
        *((flag, value, _ALLOWED[flag]) for flag, value in flags.items()),
        ("iscrowd", entry.get("iscrowd", 0), (0, 1)),
    ]:
        if not isinstance(value, int) or value not in allowed:
            raise ValueError(
                f"{flag} is {reprlib.repr(value)}, not {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
            )
    crowd = entry.get("iscrowd", 0)
    flags.setdefault("group_of", -1 if crowd and flags["ignore"] else crowd)
    return flags


def _size(entry: dict) -> tuple[int, int]:
    """(width, height), 0 where they are not stated. Raises ValueError."""
    sides = [0 if entry.get(side) is None else entry[side] for side in ("width", "height")]
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, int | float) or not side >= 0 or side % 1:
            raise ValueError(f"width and height are {reprlib.repr(sides)}, not pixels")
    return int(sides[0]), int(sides[1])


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _new_id(entry: object, ids: set) -> int | str:
    """The id of an entry, which is added to `ids`. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"{reprlib.repr(entry)} is not an object")
    number = _value(entry, "id", (int, str), "an id")
    if number in ids:
        raise ValueError("the id is there twice")
    ids.add(number)
    return number


def _value(entry: dict, key: str, kind: type | tuple[type, ...], wanted: str):
    """The value of a key. Raises ValueError where there is none, or it is of another kind."""
    if key not in entry:
        raise ValueError(f"no {key!r}")
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, kind) or value == "":
        raise ValueError(f"{key} is {reprlib.repr(value)}, not {wanted}")
    return value


def _place(path: str, what: str, entry: object, index: int = 0) -> str:
    if isinstance(entry, dict) and _is_id(entry.get("id")):
        return f"{path}, {what} id {entry['id']!r}"
    return f"{path}, {what} {index + 1} of its list"


def _annotations(image: AnnotatedImage, categories: dict[str, int]) -> Iterator[dict]:
    """What is written of each box; new classes are added to `categories`."""
    flags = {name: values.tolist() for name, values in {**image.flags, "ignore": image.ignore}.items()}
    for i, (xmin, ymin, xmax, ymax) in enumerate(image.xyxy.tolist()):
        width, height = _extent(xmin, xmax), _extent(ymin, ymax)
        known = {name: values[i] for name, values in flags.items() if 0 <= values[i] <= _ALLOWED[name][-1]}
        ignore, group_of = known.pop("ignore", 0), known.get("group_of", 0)
        if not ignore:
            known.pop("group_of", None)  # iscrowd says it
        yield {
            "category_id": categories.setdefault(image.classes[i], len(categories) + 1),
            "bbox": [_number(value) for value in (xmin, ymin, width, height)],
            "area": _number(width * height),
            "iscrowd": int(ignore or group_of == 1),
            "segmentation": [],
            **({"ignore": 1} if ignore else {}),
            **({"attributes": dict(sorted(known.items()))} if known else {}),
        }


def _far_side(side: float, extent: float) -> float:
    """side + extent in decimals, as they are written: 2.51 + 0.01 is 2.52, and not 2.5199999999999996."""
    return float(Decimal(repr(side)) + Decimal(repr(extent)))


def _extent(side: float, far_side: float) -> float:
    """far_side - side in decimals; as floats where only that gives `far_side` when it is read again."""
    extent = float(Decimal(repr(far_side)) - Decimal(repr(side)))
    return extent if _far_side(side, extent) == far_side else far_side - side


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _write_row(file: IO[str], row: dict, first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(row))
