"""Photographs without their annotations: those of a folder, or of records."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from detect_faces.images import SUFFIXES, decode_image, read_image
from tools import formats
from tools.annotations import FilePart
from tools.report import Report


def photographs(folder: Path, most: int, report: Report) -> Iterator[np.ndarray]:
    """Each photograph as (H, W, 3) uint8 RGB, upright; bad ones go to the report.

    Args:
        folder: a folder of images (also in folders below it), or of records.
        most: where there are more photographs than this, that many, evenly from the first to the last.
        report: takes the bad ones and the number of good ones.

    Raises:
        UserError: there are neither images nor records.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if files:
        return _decoded(((str(path), path) for path in _evenly(files, len(files), most)), report)
    images = formats.find("tfrecord").load(folder, None, None, report)
    return _decoded(((image.name, image.source) for image in _evenly(images, len(images), most)), report)


def _evenly(items: Iterable, count: int, most: int) -> Iterator:
    """`most` of `count` items, at even distances; all where they are no more."""
    return (item for index, item in enumerate(items) if count <= most or index * most % count < most)


def _decoded(sources: Iterator[tuple[str, Path | FilePart]], report: Report) -> Iterator[np.ndarray]:
    for name, source in sources:
        try:
            image = read_image(source) if isinstance(source, Path) else decode_image(source.read_bytes(), name)
        except UserError as error:
            report.problem(name, str(error).removeprefix(f"{name}: "))
            continue
        report.images += 1
        yield np.ascontiguousarray(image[..., ::-1])
