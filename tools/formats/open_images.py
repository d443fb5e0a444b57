"""Open Images boxes CSV (V4 to V7): a line for each box, found by its column names.

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
    000a1249af2bc5f0,xclick,/m/0dzct,1,0.195312,0.378906,0.1125,0.310417,0,1,0,0,0

Mind the order XMin, XMax, YMin, YMax: fractions of the upright image. The Is... columns are 1, 0 or -1 (unknown);
further columns are not read. LabelName is a MID or, in files made by others, a display name. The image of an ImageID is
<ImageID>.jpg, .jpeg or .png in the folder of images or below. Source: https://storage.googleapis.com/openimages/web/
(Download, Data Formats).

The file names no image without boxes, and an image that only has boxes of other classes says nothing of this one:
nobody need have looked. Such images are left out and counted. Saving keeps the five Is... flags; a box to be ignored
becomes a group (IsGroupOf), which the Open Images metric passes over in the same way; the other flags are dropped, and
so are images without boxes; the ImageID is the file's name without folder and suffix.
"""

import csv
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from detect_faces.errors import UserError
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.files import whole_file
from tools.formats import ImageStream
from tools.images import ImageError, image_folder, put_image, upright_size
from tools.report import Report

ANNOTATIONS = "annotations-bbox.csv"  # what save calls it
FACE = "/m/0dzct"
DEFAULT_CLASSES = {FACE: "face", "Human face": "face"}

_SIDES = ("XMin", "YMin", "XMax", "YMax")
_FLAGS = {
    "occluded": "IsOccluded",
    "truncated": "IsTruncated",
    "group_of": "IsGroupOf",
    "depiction": "IsDepiction",
    "inside": "IsInside",
}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_FAR_OUTSIDE = 1.0  # image widths; coordinates farther out than this are pixels or a mistake


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images that have boxes of `classes` ({MID or display name: class}; by default faces), in the file's order.

    A display name is looked up in a class-descriptions CSV beside the annotations when there is one. Only the boxes of
    these classes are held in memory, about 300 bytes each.
    """
    folder = image_folder(images)
    wanted = _with_mids(classes or DEFAULT_CLASSES, Path(annotations))
    found = _read_boxes(annotations, wanted, report)
    return ImageStream(len(found), _images(found, list(wanted.values()), folder, str(annotations), report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/annotations-bbox.csv; images that are not files yet go to `output`/images."""
    output, seen = Path(output), {}
    columns = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", *_FLAGS.values()]
    with whole_file(output / ANNOTATIONS, encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for image in images:
            image_id = PurePosixPath(image.name).stem
            if not len(image):
                report.skipped["without boxes: the format cannot name them"] += 1
                continue
            if seen.setdefault(image_id, image.name) != image.name:
                report.problem(image.name, f"has the ImageID of {seen[image_id]}; this one is left out")
                continue
            try:
                put_image(image, output / "images")
            except ImageError as error:
                report.problem(image.name, str(error))
                continue
            writer.writerows([image_id, *cells] for cells in _cells(image))
            report.images += 1
            report.boxes += len(image)
        report.need_images(output)


def _with_mids(classes: Mapping[str, str], annotations: Path) -> dict[str, str]:
    """`classes`, with the MID of each display name that a class-descriptions CSV beside the annotations knows."""
    known = dict(classes)
    for path in sorted(annotations.parent.glob("*class-descriptions*.csv")):
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(file):
                if len(row) >= 2 and row[1] in classes:
                    known.setdefault(row[0], classes[row[1]])
    return known


def _read_boxes(path: str | Path, classes: Mapping[str, str], report: Report) -> dict[str, tuple[int, array]]:
    """{ImageID: (its first line, numbers)}, for each box the four _SIDES, the _FLAGS, and which of `classes` it is."""
    found: dict[str, tuple[int, array]] = {}
    bad, others, other_classes = set(), set(), Counter()
    order = {name: position for position, name in enumerate(classes)}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            at = _columns(path, header)
            for row in reader:
                if not row:
                    continue
                place = f"{path}, line {reader.line_num}"
                if len(row) != len(header):
                    report.problem(
                        place, f"has {len(row)} columns, the header has {len(header)}; this line is left out"
                    )
                    continue
                image_id, name = row[at["ImageID"]], row[at["LabelName"]]
                if name not in order:
                    other_classes[name] += 1
                    others.add(image_id)
                    continue
                try:
                    numbers = _numbers(row, at)
                except ValueError as error:
                    report.problem(place, f"{error}; this box is left out")
                    bad.add(image_id)
                    continue
                found.setdefault(image_id, (reader.line_num, array("d")))[1].extend((*numbers, order[name]))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of an Open Images boxes CSV") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from error
    if not found and not bad:
        has = ", ".join(name for name, _ in other_classes.most_common(5)) or "no box at all"
        raise UserError(
            f"{path}: no box of {' or '.join(map(repr, classes))}; it has {has}; choose with --class NAME=face"
        )
    if other_classes:
        report.dropped["of another class"] += other_classes.total()
    if only_others := len(others - found.keys() - bad):
        report.skipped["with boxes of other classes only"] += only_others
    return found


def _columns(path: str | Path, header: list[str]) -> dict[str, int]:
    at = {name.strip(): position for position, name in enumerate(header)}
    if missing := [name for name in ("ImageID", "LabelName", *_SIDES) if name not in at]:
        hint = (
            "this is the file of image labels, not of boxes" if "Confidence" in at else "not an Open Images boxes CSV"
        )
        raise UserError(f"{path}, line 1: no column {', '.join(missing)}: {hint}")
    return at


def _numbers(row: list[str], at: Mapping[str, int]) -> list[float]:
    """The sides and flags of a line. Raises ValueError saying what is wrong."""
    if not row[at["ImageID"]] or set(row[at["ImageID"]]) & set("/\\\0"):
        raise ValueError(f"{row[at['ImageID']]!r} is no ImageID")
    try:
        sides = [float(row[at[name]]) for name in _SIDES]
        flags = [int(row[at[name]]) if name in at else -1 for name in _FLAGS.values()]
    except ValueError as error:
        raise ValueError(f"a box side or flag is not a number ({error})") from None
    if reason := boxes.fault(*sides):
        raise ValueError(reason)
    if min(sides) < -_FAR_OUTSIDE or max(sides) > 1 + _FAR_OUTSIDE:
        raise ValueError(f"sides must be fractions of the image, not {sides}")
    if not set(flags) <= {-1, 0, 1}:
        raise ValueError(f"flags must be 0, 1 or -1, not {flags}")
    return [*sides, *flags]


def _images(
    found: dict[str, tuple[int, array]], classes: list[str], folder: Path, annotations: str, report: Report
) -> Iterator[AnnotatedImage]:
    find = _finder(folder)
    for image_id, (line, numbers) in found.items():
        try:
            source = find(image_id)
            width, height = upright_size(source)
        except ImageError as error:
            report.problem(f"{annotations}, line {line}", f"image {image_id}: {error}")
            continue
        step = len(_SIDES) + len(_FLAGS) + 1
        rows = [numbers[i : i + step] for i in range(0, len(numbers), step)]
        if empty := sum(row[0] == row[2] or row[1] == row[3] for row in rows):
            report.dropped["zero size"] += empty
            rows = [row for row in rows if row[0] != row[2] and row[1] != row[3]]
        if not rows:
            report.skipped["with boxes of zero size only"] += 1
            continue
        yield AnnotatedImage(
            source.relative_to(folder).as_posix(),
            width,
            height,
            [[row[0] * width, row[1] * height, row[2] * width, row[3] * height] for row in rows],
            tuple(classes[int(row[-1])] for row in rows),
            source,
            {flag: [row[len(_SIDES) + i] for row in rows] for i, flag in enumerate(_FLAGS)},
        )


def _finder(folder: Path):
    """A function from ImageID to the image's path. The folders below are only searched when they are needed."""
    below: dict[str, str] = {}
    searched = False

    def find(image_id: str) -> Path:
        nonlocal searched
        for suffix in _SUFFIXES:
            if (path := folder / (image_id + suffix)).is_file():
                return path
        if not searched:
            for parent, folders, files in os.walk(folder):
                folders.sort()
                for stem, suffix in map(os.path.splitext, sorted(files)):
                    if suffix.lower() in _SUFFIXES:
                        path = os.path.join(parent, stem + suffix)
                        below[stem] = "" if stem in below else path
            searched = True
        if image_id not in below:
            raise ImageError(f"no {image_id}.jpg, .jpeg or .png in {folder}")
        if not below[image_id]:
            raise ImageError(f"more than one file of this name in {folder}")
        return Path(below[image_id])

    return find


def _cells(image: AnnotatedImage) -> Iterator[list]:
    """The columns after ImageID of each box."""
    flags = dict(image.flags)
    unknown = [-1] * len(image)
    if "ignore" in flags:
        flags["group_of"] = [
            1 if ignore else g for ignore, g in zip(image.ignore, flags.get("group_of", unknown), strict=True)
        ]
    sides = image.xyxy / ([image.width, image.height] * 2)
    for i, (xmin, ymin, xmax, ymax) in enumerate(sides):
        name = FACE if image.classes[i] == "face" else image.classes[i]
        yield [
            "converted",
            name,
            1,
            *(f"{value:.9g}" for value in (xmin, xmax, ymin, ymax)),
            *(int(flags.get(flag, unknown)[i]) for flag in _FLAGS),
        ]
