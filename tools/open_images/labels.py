"""What human-verified image labels say: which images certainly have nothing of a class."""

from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tools.open_images.boxes import Boxes
from tools.open_images.table import check_id, labels_table, verified
from tools.report import Report


def read_labels(path: str | Path, concepts: Mapping[str, int], report: Report) -> dict[bytes, tuple[int, int, int]]:
    """{ImageID: (line, verified, refuted)}; the last two are integers with a bit for each concept.

    concepts: {LabelName: bit} of the labels to read. Two names of one class, its MID and its display name, are one
    concept. Bad lines go to the report. Raises UserError.
    """
    found: dict[bytes, tuple[int, int, int]] = {}
    table = labels_table(path)
    order = {name.encode(): number for name, number in concepts.items()}
    for number, image_id, name, line in table.lines(report):
        if name not in order:
            continue
        try:
            is_there = verified(table, table.cells(line))
            check_id(image_id.decode())
        except ValueError as error:
            report.problem(f"{path}, line {number}", f"{error}; this label is left out")
            continue
        first, there, not_there = found.get(image_id, (number, 0, 0))
        bit = 1 << order[name]
        found[image_id] = (first, there | bit, not_there) if is_there else (first, there, not_there | bit)
    return found


def judge(
    found: Boxes, labels: Mapping[bytes, tuple[int, int, int]], concept: np.ndarray, report: Report
) -> tuple[np.ndarray, dict[bytes, int]]:
    """Which images with boxes to keep, and {ImageID: line of the label} of those that are certainly empty.

    Args:
        found: the boxes.
        labels: of read_labels.
        concept: (names,) int, the bit of each LabelName that `found` was read with.
        report: takes the counts of what is left out.
    """
    every = sum(1 << number for number in set(concept.tolist()))
    empty: dict[bytes, int] = {}
    refuted = array("q")  # pairs of image and concept, as one number
    for image_id, (line, there, not_there) in labels.items():
        not_there &= ~there
        if (position := found.images.get(image_id)) is not None:
            refuted.extend(position * len(concept) + bit for bit in range(len(concept)) if not_there >> bit & 1)
        elif image_id in found.bad:
            continue
        elif not_there == every:
            empty[image_id] = line
        elif there:
            report.skipped["verified to have the class, without a box of it"] += 1
        else:
            report.skipped["not verified for each of the classes"] += 1
    boxed = np.asarray(found.image, np.int64) * len(concept) + concept[np.asarray(found.label, np.int64)]
    contradicted = np.intersect1d(np.asarray(refuted, np.int64), boxed) // len(concept)
    kept = np.ones(len(found.images), bool)
    kept[contradicted] = False
    if not kept.all():
        report.skipped["with boxes of a class that was verified not to be there"] += int((~kept).sum())
    return kept, empty
