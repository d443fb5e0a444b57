"""Open Images boxes CSV (V4 to V7): a line for each box, found by its column names.

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
    000a1249af2bc5f0,xclick,/m/0dzct,1,0.195312,0.378906,0.1125,0.310417,0,1,0,0,0

Mind the order XMin, XMax, YMin, YMax: fractions of the upright image. The Is... columns are 1, 0 or -1 (unknown);
further columns are not read. LabelName is a MID or, in files made by others, a display name. The image of an ImageID is
<ImageID>.jpg, .jpeg or .png in the folder of images or below. Source: https://storage.googleapis.com/openimages/web/
(Download, Data Formats).

The file names no image without boxes, and an image that only has boxes of other classes says nothing of this one:
nobody need have looked. Such images are left out and counted. What people did look for is in another CSV, the
human-verified image labels, where Confidence is 1 for "it is there" and 0 for "it is not":

    ImageID,Source,LabelName,Confidence
    000002b66c9c498e,verification,/m/014j1m,0

With it, an image that was verified to have none of the classes, and has no box of them, is loaded as an empty image: a
true negative. Left out and counted are images verified to have a class but without a box of it (the train split has
boxes of body parts on a small part of its images only), images of which only some of several classes were verified, and
contradictions: a box of a class that people did not find there. A class that is both verified and refuted counts as
there. Nothing else changes.

Saving keeps the five Is... flags; a box to be ignored becomes a group (IsGroupOf), which the Open Images metric passes
over in the same way; the other flags are dropped, and so are images without boxes; the ImageID is the file's name
without folder and suffix.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import ImageError, image_folder, put_image, upright_size
from tools.open_images.boxes import FLAGS, SIDES, Boxes, count_without, read_boxes
from tools.open_images.labels import judge, read_labels
from tools.report import Report

ANNOTATIONS = "annotations-bbox.csv"  # what save calls it
FACE = "/m/0dzct"
DEFAULT_CLASSES = {FACE: "face", "Human face": "face"}

KEEPS = ("class", "ignore", *FLAGS)  # ignore as group_of
_SUFFIXES = (".jpg", ".jpeg", ".png")
_Find = Callable[[str], Path]


def load(
    annotations: str | Path,
    images: str | Path | None,
    classes: Mapping[str, str] | None,
    report: Report,
    *,
    image_labels: str | Path | None = None,
) -> ImageStream:
    """The images that have boxes of `classes`, in the file's order, and behind them those verified to have none.

    Only the boxes of these classes are held in memory.

    Args:
        annotations: the boxes CSV. A class-descriptions CSV beside it tells display names from MIDs.
        images: the folder of the images.
        classes: {MID or display name: class}; by default faces.
        report: takes what is bad or left out.
        image_labels: the CSV of human-verified image labels; without it there are no empty images.

    Raises:
        UserError: a file cannot be read, or has nothing of the classes.
    """
    folder, asked = image_folder(images), classes or DEFAULT_CLASSES
    wanted, meaning = _with_mids(asked, Path(annotations))
    found, names = read_boxes(annotations, list(wanted), report)
    # A class that was asked for by its display name is counted under that.
    report.class_names.update({name if name in asked else meaning.get(name, name): names[name] for name in names})
    other_classes = Counter({name: number for name, number in names.items() if name not in wanted})
    if other_classes:
        report.dropped["of another class"] += other_classes.total()
    kept = np.ones(len(found.images), bool)
    empty: dict[bytes, int] = {}
    accounted = [found.images.keys(), found.bad]
    if image_labels:
        concepts = sorted(set(meaning.values()))
        concept = [concepts.index(meaning[name]) for name in wanted]
        labels = read_labels(image_labels, dict(zip(wanted, concept, strict=True)), report)
        kept, empty = judge(found, labels, np.array(concept), report)
        accounted.append(labels.keys())
    if not found.images and not found.bad and not empty:
        has = ", ".join(name for name, _ in other_classes.most_common(5)) or "no box at all"
        raise UserError(
            f"{annotations}: no box of {' or '.join(map(repr, wanted))}; it has {has}; choose with --class NAME=face"
        )
    if only_others := count_without(found.others, accounted):
        report.skipped["with boxes of other classes only"] += only_others
    find = _finder(folder)
    boxed = _images(found, kept, list(wanted.values()), find, folder, str(annotations), report)
    count = int(kept.sum()) + len(empty)
    return ImageStream(count, chain(boxed, _empty_images(empty, find, folder, str(image_labels), report)))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/annotations-bbox.csv; images that are not files yet go to `output`/images."""
    output, seen = Path(output), {}
    columns = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", *FLAGS.values()]
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


def _with_mids(classes: Mapping[str, str], annotations: Path) -> tuple[dict[str, str], dict[str, str]]:
    """`classes` with the MIDs of their display names added, and {each of these names: the display name of its class}.

    Class-descriptions CSVs beside the annotations tell which MID has which display name.
    """
    known, meaning = dict(classes), {FACE: "Human face"}
    for path in sorted(annotations.parent.glob("*class-descriptions*.csv")):
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(file):
                if len(row) < 2:
                    continue
                if row[1] in classes:
                    known.setdefault(row[0], classes[row[1]])
                if row[0] in known:
                    meaning[row[0]] = row[1]
    return known, {name: meaning.get(name, name) for name in known}


def _images(
    found: Boxes, kept: np.ndarray, classes: list[str], find: _Find, folder: Path, annotations: str, report: Report
) -> Iterator[AnnotatedImage]:
    image = np.asarray(found.image)
    by_image = np.argsort(image, kind="stable")  # an image's boxes need not follow each other in the file
    ends = np.cumsum(np.bincount(image, minlength=len(found.images)))
    all_sides = np.asarray(found.sides).reshape(-1, len(SIDES))
    all_flags = np.asarray(found.flags).reshape(-1, len(FLAGS))
    for (image_id, position), end in zip(found.images.items(), ends, strict=True):
        if not kept[position]:
            continue
        try:
            source = find(image_id.decode())
            width, height = upright_size(source)
        except ImageError as error:
            report.problem(f"{annotations}, line {found.lines[position]}", f"image {image_id.decode()}: {error}")
            continue
        chosen = by_image[ends[position - 1] if position else 0 : end]
        sides = all_sides[chosen]
        has_area = (sides[:, 0] != sides[:, 2]) & (sides[:, 1] != sides[:, 3])
        if empty := int((~has_area).sum()):
            report.dropped["zero size"] += empty
            chosen, sides = chosen[has_area], sides[has_area]
        if not len(chosen):
            report.skipped["with boxes of zero size only"] += 1
            continue
        yield AnnotatedImage(
            source.relative_to(folder).as_posix(),
            width,
            height,
            sides * [width, height, width, height],
            tuple(classes[found.label[box]] for box in chosen),
            source,
            dict(zip(FLAGS, all_flags[chosen].T, strict=True)),
        )


def _empty_images(
    empty: Mapping[bytes, int], find: _Find, folder: Path, labels: str, report: Report
) -> Iterator[AnnotatedImage]:
    for image_id, line in empty.items():
        try:
            source = find(image_id.decode())
            width, height = upright_size(source)
        except ImageError as error:
            report.problem(f"{labels}, line {line}", f"image {image_id.decode()}: {error}")
            continue
        name = source.relative_to(folder).as_posix()
        yield AnnotatedImage(name, width, height, [], (), source, {flag: [] for flag in FLAGS})


def _finder(folder: Path) -> _Find:
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
            *(int(flags.get(flag, unknown)[i]) for flag in FLAGS),
        ]
