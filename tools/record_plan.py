"""The plan of a set of records: its images without their pixels, a line each in a file, dealt to shards in turn.

So shards are even, each is a fair sample of a data set that comes sorted by subject, and a million images take eight
megabytes of memory. The lines of a shard tell whether one that was made before is still right.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.annotations import AnnotatedImage, FilePart
from tools.report import Report


@dataclass(frozen=True)
class ShardPlan:
    """The lines of one shard: the plan's file and the offset of each."""

    path: Path
    offsets: array

    def lines(self) -> Iterator[bytes]:
        """The lines as they stand in the file."""
        with open(self.path, "rb") as file:
            for offset in self.offsets:
                file.seek(offset)
                yield file.readline()

    def images(self) -> Iterator[AnnotatedImage]:
        """The images, in order."""
        return map(_from_line, self.lines())

    def sha256(self, recipe: object) -> str:
        """A digest of everything that the shard's bytes depend on; `recipe` is what else they depend on, as JSON."""
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
        for line in self.lines():
            digest.update(line)
        return digest.hexdigest()


@dataclass(frozen=True)
class Plan:
    """All lines: their file, and the offset of each."""

    path: Path
    offsets: array

    def __len__(self) -> int:
        return len(self.offsets)

    def shard(self, index: int, count: int) -> ShardPlan:
        """Every `count`-th line from `index` on."""
        return ShardPlan(self.path, self.offsets[index::count])


_FILES = ("images.plan", "embedded.plan")  # the lines, and images that are not in files


def write_plan(images: Iterable[AnnotatedImage], folder: Path, report: Report) -> Plan:
    """Writes the plan of `images` to files in `folder`; an image whose file is gone by now goes to the report."""
    path, embedded = (folder / name for name in _FILES)
    offsets, at = array("Q"), 0
    with open(path, "wb") as file, open(embedded, "wb") as pixels:
        for image in images:
            source = image.source
            try:
                if isinstance(source, bytes):
                    changed = [hashlib.sha256(source).hexdigest()]
                    source = FilePart(embedded, pixels.tell(), pixels.write(source))
                else:
                    changed = _changed(source.path if isinstance(source, FilePart) else source)
            except FileNotFoundError as error:
                report.problem(str(image.source), error.strerror)
                continue
            offsets.append(at)
            at += file.write(_line(image, source, changed))
    return Plan(path, offsets)


def remove_plan(folder: Path) -> None:
    """Removes the files that write_plan made."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


def _line(image: AnnotatedImage, source: Path | FilePart, changed: list) -> bytes:
    part = isinstance(source, FilePart)
    place = [str(source.path), source.offset, source.length] if part else [str(source)]
    flags = {name: values.tolist() for name, values in image.flags.items()}
    values = [image.name, image.width, image.height, image.xyxy.tolist(), image.classes, flags, place, changed]
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _changed(path: Path) -> list[int]:
    # The time of the last change stands for the content, as make and git have it: to read a million images only to find
    # that none has changed would take as long as to convert them.
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _from_line(line: bytes) -> AnnotatedImage:
    name, width, height, xyxy, classes, flags, place, _ = json.loads(line)
    source = Path(place[0]) if len(place) == 1 else FilePart(Path(place[0]), *place[1:])
    return AnnotatedImage(name, width, height, xyxy, tuple(classes), source, flags)
