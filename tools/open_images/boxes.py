"""The boxes of some classes, read from an Open Images boxes CSV into little memory."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tools import boxes
from tools.open_images.table import boxes_table, check_id
from tools.report import Report

SIDES = ("XMin", "YMin", "XMax", "YMax")
FLAGS = {
    "occluded": "IsOccluded",
    "truncated": "IsTruncated",
    "group_of": "IsGroupOf",
    "depiction": "IsDepiction",
    "inside": "IsInside",
}

_FAR_OUTSIDE = 1.0  # image widths; coordinates farther out than this are pixels or a mistake


@dataclass
class Boxes:
    """The wanted boxes of a file, in 45 bytes each, and 150 for each image.

    Attributes:
        images: {ImageID: position}, in the file's order.
        lines: the first line of each image.
        image, label, sides, flags: of each box its image, the position of its LabelName among the wanted ones, SIDES
            and FLAGS.
        bad: ImageIDs of boxes that were left out.
        others: hashes of the ImageIDs that have boxes of other classes; with repetitions.
    """

    images: dict[bytes, int] = field(default_factory=dict)
    lines: array = field(default_factory=lambda: array("q"))
    image: array = field(default_factory=lambda: array("i"))
    label: array = field(default_factory=lambda: array("i"))
    sides: array = field(default_factory=lambda: array("d"))
    flags: array = field(default_factory=lambda: array("b"))
    bad: set[bytes] = field(default_factory=set)
    others: array = field(default_factory=lambda: array("q"))


def read_boxes(path: str | Path, names: list[str], report: Report) -> tuple[Boxes, Counter[str]]:
    """The boxes whose LabelName is one of `names`, and {LabelName: how many lines} of the whole file.

    Bad lines go to the report. Raises UserError.
    """
    found, counts = Boxes(), Counter()
    order = {name.encode(): position for position, name in enumerate(names)}
    table, last = boxes_table(path), None
    for number, image_id, name, line in table.lines(report):
        counts[name] += 1
        if name not in order:
            if image_id != last:
                found.others.append(hash(image_id))
                last = image_id
            continue
        try:
            sides, flags = _numbers(table.cells(line), table.columns)
        except ValueError as error:
            report.problem(f"{path}, line {number}", f"{error}; this box is left out")
            found.bad.add(image_id)
            continue
        position = found.images.setdefault(image_id, len(found.images))
        if position == len(found.lines):
            found.lines.append(number)
        found.image.append(position)
        found.label.append(order[name])
        found.sides.extend(sides)
        found.flags.extend(flags)
    return found, Counter({name.decode(errors="replace"): count for name, count in counts.items()})


def count_without(hashes: array, accounted: Iterable[Iterable[bytes]]) -> int:
    """How many different images `hashes` are of, without those in `accounted`."""
    known = np.concatenate([np.fromiter(map(hash, ids), np.int64) for ids in accounted])
    return len(np.setdiff1d(np.asarray(hashes, np.int64), known))


def _numbers(row: list[str], at: Mapping[str, int]) -> tuple[list[float], list[int]]:
    """The sides and flags of a line. Raises ValueError saying what is wrong."""
    check_id(row[at["ImageID"]])
    try:
        sides = [float(row[at[name]]) for name in SIDES]
        flags = [int(row[at[name]]) if name in at else -1 for name in FLAGS.values()]
    except ValueError as error:
        raise ValueError(f"a box side or flag is not a number ({error})") from None
    if reason := boxes.fault(*sides):
        raise ValueError(reason)
    if min(sides) < -_FAR_OUTSIDE or max(sides) > 1 + _FAR_OUTSIDE:
        raise ValueError(f"sides must be fractions of the image, not {sides}")
    if not set(flags) <= {-1, 0, 1}:
        raise ValueError(f"flags must be 0, 1 or -1, not {flags}")
    return sides, flags
