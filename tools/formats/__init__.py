"""Annotation formats by name: one module each, imported when it is asked for.

A new format is one file here and its name in NAMES. Each module has what its files can hold, KEEPS (names of FLAGS, and
"class"), and the same pair:

    load(annotations, images, classes, report) -> ImageStream
        annotations: the path (or pattern) of the annotations. images: the folder of the images; None for a format
        that holds them itself. classes: {class in the format: class here}, others are left out; None means every
        class under its own name, or the format's own default. report: a tools.report.Report that takes what is bad
        or left out. Keyword parameters are the format's own options.
        Raises UserError where there is nothing to go on with; a bad item only goes to the report.
    save(images, output, report, *, ...) -> None
        images: AnnotatedImages. output: the folder to write to. Keyword parameters are the format's own options.
        Nothing appears under its final name before it is whole.

The docstring of each module says how the format is laid out, where that is defined, and what is dropped.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from detect_faces.errors import UserError
from tools.annotations import AnnotatedImage

NAMES = (
    "coco",
    "fddb",
    "od_api_csv",
    "open_images",
    "pascal_voc",
    "retinaface",
    "tfrecord",
    "wider_face",
    "yolo",
)


@dataclass(frozen=True)
class ImageStream:
    """Images read one at a time (once), and how many the annotations list, bad ones included: len()."""

    count: int
    images: Iterator[AnnotatedImage]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return self.images


def find(name: str) -> ModuleType:
    """The module of the format `name`."""
    if name not in NAMES:
        raise UserError(f"unknown format {name!r}; known are {', '.join(NAMES)}")
    return importlib.import_module(f"tools.formats.{name}")
