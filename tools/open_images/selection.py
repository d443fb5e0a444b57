"""Which images of Open Images to take, and the CSV files with just their lines.

From the images that come into question, those whose ImageID has the lowest SHA-256 are taken: a fair sample, the same
on every machine, and a larger number of images contains the smaller one. (The ImageIDs themselves are no such order: of
the train images far more than a sixteenth begin with 0.)
"""

import csv
import difflib
import hashlib
import heapq
from collections.abc import Collection, Iterator
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools.open_images.sources import SPLITS
from tools.open_images.table import Table, boxes_table, check_id, labels_table, verified
from tools.report import Report

# Of the metadata of an image, what attribution and filtering need.
LICENCE_COLUMNS = (
    "ImageID",
    "Subset",
    "License",
    "Author",
    "AuthorProfileURL",
    "Title",
    "OriginalURL",
    "OriginalLandingURL",
    "Rotation",
)


def label_of(name: str, classes: Path) -> tuple[str, str]:
    """(LabelName, display name) of a class, given by either, from the class descriptions.

    Raises:
        UserError: there is no such class; names similar ones.
    """
    with open(classes, encoding="utf-8", errors="replace", newline="") as file:
        names = {row[1]: row[0] for row in csv.reader(file) if len(row) >= 2}
    for display_name, label in names.items():
        if name == label or name.casefold() == display_name.casefold():
            return label, display_name
    similar = difflib.get_close_matches(name.capitalize(), names, cutoff=0.4)
    hint = f"; similar are {', '.join(similar)}" if similar else ""
    raise UserError(f"--class {name!r}: Open Images has no boxes of a class of this name{hint}")


def with_boxes(boxes: Path, label: str, report: Report) -> set[str]:
    """The ImageIDs that have boxes of a class. Bad lines go to the report. Raises UserError."""
    ids = {image_id for _, image_id, _, _ in boxes_table(boxes).lines(report, only=label)}
    return set(_ids(ids, boxes, report))


def without(labels: Path, label: str, report: Report) -> set[str]:
    """The ImageIDs verified to have nothing of a class. Bad lines go to the report. Raises UserError."""
    table, there, not_there = labels_table(labels), set(), set()
    for number, image_id, _, line in table.lines(report, only=label):
        try:
            (there if verified(table, table.cells(line)) else not_there).add(image_id)
        except ValueError as error:
            report.problem(f"{labels}, line {number}", f"{error}; this label is left out")
    return set(_ids(not_there - there, labels, report))


def sample(ids: Collection[str], number: int | None) -> list[str]:
    """The `number` of `ids` (None: all) with the lowest SHA-256, in that order."""
    return heapq.nsmallest(len(ids) if number is None else number, ids, key=_hash)


def with_licence(images: Path, ids: Collection[str]) -> set[str]:
    """Those of `ids` that the metadata have. Raises UserError."""
    return {row["ImageID"] for row in _metadata(images, ids)}


def write_boxes(boxes: Path, label: str, ids: Collection[str], output: Path) -> int:
    """Writes the lines of a class that are of the images `ids`, unchanged, in the file's order; returns how many."""
    return _write_lines(boxes_table(boxes), label, ids, output)


def write_labels(labels: Path, label: str, ids: Collection[str], output: Path) -> int:
    """As write_boxes, for verified image labels."""
    return _write_lines(labels_table(labels), label, ids, output)


def write_licences(images: Path, split: str, ids: Collection[str], output: Path) -> None:
    """Writes LICENCE_COLUMNS of the images `ids`, from the metadata of `split`; keeps the lines of other splits."""
    with whole_file(output, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, LICENCE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for subset in SPLITS:
            if subset == split:
                writer.writerows(row | {"Subset": split} for row in _metadata(images, ids))
            elif output.is_file():
                writer.writerows(row for row in _metadata(output) if row["Subset"] == subset)


def _metadata(path: Path, ids: Collection[str] | None = None) -> Iterator[dict[str, str]]:
    """{column: value} of LICENCE_COLUMNS for each image, or each of `ids`, in the file's order. Raises UserError."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if missing := [column for column in ("ImageID", "License", "Author") if column not in header]:
                raise UserError(f"{path}, line 1: no column {', '.join(missing)}: not the images CSV of Open Images")
            at = header.index("ImageID")
            for row in reader:
                if len(row) > at and (ids is None or row[at] in ids):
                    values = dict(zip(header, row, strict=False))
                    yield {column: values.get(column, "") for column in LICENCE_COLUMNS}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error})") from error


def _write_lines(table: Table, label: str, ids: Collection[str], output: Path) -> int:
    kept, count = {image_id.encode() for image_id in ids}, 0
    with whole_file(output, "wb") as file:
        file.write(table.header.rstrip(b"\r\n") + b"\n")
        for _, image_id, _, line in table.lines(Report(show=lambda line: None), only=label):  # reported when selected
            if image_id in kept:
                file.write(line.rstrip(b"\r\n") + b"\n")
                count += 1
    return count


def _ids(image_ids: set[bytes], path: Path, report: Report) -> Iterator[str]:
    for image_id in sorted(image_ids):
        try:
            text = image_id.decode()
            check_id(text)
            yield text
        except ValueError:
            report.problem(str(path), f"{image_id!r} is no ImageID; it is left out")


def _hash(image_id: str) -> bytes:
    return hashlib.sha256(image_id.encode()).digest()
