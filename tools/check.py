"""python -m tools.check --records PATH [--against PATH] [--json]

Looks over a data set before it costs a training: images that are in the validation set too, duplicates, boxes that are
none, unknown classes, files that do not decode.

    python -m tools.check --records data/records/sample/train --against data/records/sample/validation

Every image is decoded, a JPEG at an eighth of its size where that is enough. What is found is listed by kind, errors
first, with the first few of each; --all and --json list everything. Boxes are counted from 1, as the set is read. Exit
code 0: no error, though there may be warnings and notes; 1: errors; 2: wrong usage, or nothing to look at.
"""

import argparse
import json
import os
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import data_set, findings, label_map, near_duplicates
from tools.annotations import AnnotatedImage
from tools.contact_sheet import exif_orientation
from tools.findings import KINDS, SEVERITIES, Finding
from tools.images import ImageError
from tools.near_duplicates import FINGERPRINT, Twin
from tools.report import Report

LABEL_MAP = Path(__file__).parents[1] / "data" / "label_map.pbtxt"
EXAMPLES = 3  # of each kind, without --all

_AHEAD = 4  # images for each thread that are read before the oldest of them is done
_CLASSES = 8  # that are named in the first line


@dataclass
class Found:
    """Counts of findings by kind, and of each kind the first `limit`; None keeps all."""

    limit: int | None = None
    counts: Counter = field(default_factory=Counter)
    listed: dict[str, list[Finding]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def add(self, found: Iterable[Finding]) -> None:
        """Counts some and lists those for which there is room."""
        for finding in found:
            self.counts[finding.kind] += 1
            if self.limit is None or len(self.listed[finding.kind]) < self.limit:
                self.listed[finding.kind].append(finding)

    def of(self, severity: str) -> int:
        """How many are of this severity."""
        return sum(number for kind, number in self.counts.items() if KINDS[kind][0] == severity)


@dataclass
class Contents:
    """What is counted in the images of a set.

    Attributes:
        images, without_boxes: how many.
        classes: {class: boxes}.
        first: {class: the first image that has it}.
    """

    images: int = 0
    without_boxes: int = 0
    classes: Counter = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, image: AnnotatedImage) -> None:
        """Counts an image and its boxes."""
        self.images += 1
        self.without_boxes += not len(image)
        self.classes.update(image.classes)
        for name in set(image.classes) - self.first.keys():
            self.first[name] = image.name


@dataclass
class Prints:
    """Names and fingerprints of images; the fingerprints, 1 kB each, wait in a temporary file."""

    names: list[str] = field(default_factory=list)
    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def add(self, name: str, fingerprint: np.ndarray) -> None:
        """Adds an image."""
        self.names.append(name)
        self.file.write(fingerprint.tobytes())

    def array(self) -> np.ndarray:
        """(N,) FINGERPRINT, read where it is looked at."""
        self.file.flush()
        return np.memmap(self.file, FINGERPRINT, "r") if self.names else np.empty(0, FINGERPRINT)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    known = label_map.read(options.label_map)
    against = _against(options)
    found = Found(None if options.all or options.json else EXAMPLES)
    contents, other, prints = Contents(), Contents(), Prints()
    for image, in_file in _looked_at(options, options.workers, contents, prints, found, "this set"):
        found.add(findings.in_boxes(image, options.min_size, options.input_size))
        found.add(in_file)
    first = len(prints.names)
    if against:
        for _, in_file in _looked_at(against, options.workers, other, prints, found, "the other set"):
            found.add(each for each in in_file if each.kind == "undecodable")
    if not contents.images and not found.of("error"):
        raise UserError("there is not one image to look at")
    found.add(findings.in_classes(contents.classes, contents.first, known))
    found.add(_twins(prints, first, options.distance))
    summary = {
        "images": contents.images,
        "without_boxes": contents.without_boxes,
        "boxes": contents.classes.total(),
        "classes": dict(contents.classes.most_common()),
        "against_images": other.images if against else None,
    }
    print(_as_json(summary, found) if options.json else _as_text(summary, found))
    return EXIT_SOME_FAILED if found.of("error") else EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.check", description="Look over a data set: leaks, duplicates, bad boxes, bad files."
    )
    data_set.add_options(parser)
    group = parser.add_argument_group("another set, such as validation, that must not share an image with this one")
    group.add_argument("--against", metavar="PATH", help="its TFRecord shards")
    group.add_argument("--against-annotations", type=Path, metavar="FILE", help="or its annotations, in --format")
    group.add_argument("--against-images", type=Path, metavar="DIR", help="the folder of its images [--images]")
    parser.add_argument("--label-map", type=Path, default=LABEL_MAP, metavar="FILE", help="[data/label_map.pbtxt]")
    parser.add_argument(
        "--min-size",
        type=_number(float),
        default=findings.MIN_SIZE,
        metavar="PIXELS",
        help="boxes with a shorter side are tiny [%(default)g]",
    )
    parser.add_argument(
        "--input-size",
        type=_number(int, least=1),
        metavar="N",
        help="--min-size is for images scaled to N pixels on the long side",
    )
    parser.add_argument(
        "--distance",
        type=_number(int, most=16),
        default=near_duplicates.DISTANCE,
        metavar="BITS",
        help="of the 64 of a near-duplicate's hash that may differ; fewer for millions of images [%(default)s]",
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=_number(int, least=1, most=1024), default=cores, metavar="N", help="threads")
    parser.add_argument("--all", action="store_true", help="list everything that is found")
    parser.add_argument("--json", action="store_true", help="print everything that is found as one JSON object")
    return parser.parse_args(arguments)


def _number(number: type, least: int = 0, most: int = 65535):
    """A type for argparse: a number in a range."""

    def convert(text: str) -> float:
        try:
            value = number(text)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return value

    return convert


def _against(options: argparse.Namespace) -> argparse.Namespace | None:
    """The other set, with options as data_set.load takes them."""
    if options.against:
        if options.against_annotations or options.against_images:
            raise UserError("--against goes without --against-annotations and --against-images")
        if options.records and Path(options.against).resolve() == Path(options.records).resolve():
            raise UserError(f"--against {options.against}: that is the set itself")
        return argparse.Namespace(records=options.against, format=None, annotations=None, images=None, classes=None)
    if not options.against_annotations:
        if options.against_images:
            raise UserError("--against-images goes with --against-annotations")
        return None
    if not options.format:
        raise UserError("--against-annotations needs --format; records are given by --against")
    if options.annotations and options.against_annotations.resolve() == options.annotations.resolve():
        raise UserError(f"--against-annotations {options.against_annotations}: that is the set itself")
    return argparse.Namespace(
        records=None,
        format=options.format,
        annotations=options.against_annotations,
        images=options.against_images or options.images,
        classes=options.classes,
    )


def _looked_at(
    options: argparse.Namespace, workers: int, contents: Contents, prints: Prints, found: Found, what: str
) -> Iterator[tuple[AnnotatedImage, list[Finding]]]:
    """The images of a set with what their files show; `contents`, `prints` and `found` take what is seen of the set."""
    report = Report(show=lambda line: found.add([Finding("problem", "", line.removeprefix("error: "))]))
    stream = data_set.load(options, report)
    with ThreadPoolExecutor(workers) as pool:
        pending = deque()

        def oldest() -> tuple[AnnotatedImage, list[Finding]]:
            image, look = pending.popleft()
            try:
                in_file, fingerprint = look.result()
            except ImageError as error:
                return image, [Finding("undecodable", image.name, str(error))]
            prints.add(image.name, fingerprint)
            return image, in_file

        try:
            for image in tqdm(stream, total=len(stream), desc=what, unit="image", disable=None):
                contents.add(image)
                pending.append((image, pool.submit(_look, image)))
                if len(pending) > _AHEAD * workers:
                    yield oldest()
            while pending:
                yield oldest()
        finally:
            pool.shutdown(cancel_futures=True)
    for unit, reasons in [("boxes", report.dropped), ("images", report.skipped)]:
        found.add(Finding("left-out", "", f"{unit} {reason}: {n:,}", number=n) for reason, n in reasons.items())


def _look(image: AnnotatedImage) -> tuple[list[Finding], np.ndarray]:
    """What the file of an image shows, and its fingerprint. Raises ImageError."""
    try:
        data = image.encoded()
    except OSError as error:
        raise ImageError(error.strerror) from error
    return findings.in_file(image, data, exif_orientation(data)), near_duplicates.fingerprint(data)


def _twins(prints: Prints, first: int, distance: int) -> Iterator[Finding]:
    """Leaks and duplicates. first: images of the set itself, which come before those of the other one."""
    names = prints.names
    across, within = near_duplicates.find_twins(prints.array(), np.arange(len(names)) < first, distance)

    def text(twin: Twin) -> str:
        other, bits = names[twin.other], f"{twin.distance} of 64 bits differ"
        if twin.likeness == near_duplicates.SAME_FILE:
            return f"is {other}, byte for byte"
        if twin.likeness == near_duplicates.SAME_PICTURE:
            return f"shows the same as {other} ({bits})"
        return f"is much like {other} ({bits})"

    for twin in across:
        kind = "near-leak" if twin.likeness == near_duplicates.MUCH_ALIKE else "leak"
        yield Finding(kind, names[twin.image], f"{text(twin)}, in the other set", number=twin.distance)
    for twin in within:
        kind = "similar-image" if twin.likeness == near_duplicates.MUCH_ALIKE else "duplicate-image"
        yield Finding(kind, names[twin.image], text(twin), number=twin.distance)


def _as_json(summary: dict, found: Found) -> str:
    rows = [
        {
            "kind": each.kind,
            "severity": each.severity,
            "image": each.image or None,
            "box": None if each.box is None else each.box + 1,
            "text": each.text,
            "number": None if each.number is None else round(float(each.number), 4),
        }
        for kind in KINDS
        for each in found.listed[kind]
    ]
    counts = {kind: found.counts[kind] for kind in KINDS}
    severities = {severity: found.of(severity) for severity in SEVERITIES}
    return json.dumps({**summary, "severities": severities, "kinds": counts, "findings": rows})


def _as_text(summary: dict, found: Found) -> str:
    classes = list(summary["classes"].items())
    shown = ", ".join(f"{name} {number:,}" for name, number in classes[:_CLASSES])
    if len(classes) > _CLASSES:
        shown += f" and {len(classes) - _CLASSES} more classes"
    images, empty, boxes = (summary[name] for name in ("images", "without_boxes", "boxes"))
    lines = [f"images {images:,}, without boxes {empty:,}, boxes {boxes:,}" + (f": {shown}" if shown else "")]
    if summary["against_images"] is not None:
        lines.append(f"images of the other set {summary['against_images']:,}")
    for kind, (severity, what) in KINDS.items():
        if number := found.counts[kind]:
            lines += ["", f"{severity:<7} {number:>9,}  {what} ({kind})"]
            lines += [f"    {finding}" for finding in found.listed[kind]]
            if more := number - len(found.listed[kind]):
                lines.append(f"    and {more:,} more; --all lists them")
    total = ", ".join(f"{severity}s {found.of(severity):,}" for severity in SEVERITIES)
    return "\n".join([*lines, "", total])


if __name__ == "__main__":
    run_command(main)
