"""python -m tools.verify RECORDS [RECORDS ...]: reads records to the last byte and names everything that is wrong.

    python -m tools.verify data/records/wider_face/train data/records/wider_face/validation

RECORDS is a folder of shards, a file, a glob or prefix@N. Found are shards that are missing or not as in the manifest,
torn and damaged records, images that TensorFlow does not decode or would not decode as they look, boxes that are none,
classes that the label map does not have, and images that are there twice. Exit code 0 if all is well, 1 if not.
"""

import argparse
import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import label_map, processes, tf_example, tfrecord_file
from tools.images import ImageError, encode_for_record
from tools.report import Report
from tools.tfrecord_file import MANIFEST, RecordError


@dataclass
class Contents:
    """What one file of records holds.

    Attributes:
        file: its path.
        images, boxes: numbers of the good ones.
        sha256: of the file.
        names: a digest of each image's name (8 bytes), to find it again in other files.
        faults: (place, what is wrong).
    """

    file: Path
    images: int = 0
    boxes: int = 0
    sha256: str = ""
    names: dict[bytes, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    known = label_map.read(options.label_map) if options.label_map else None
    shards = [(path, known or _label_map_of(path), entry) for path, entry in _listed(options.records, report)]
    seen: dict[bytes, Path] = {}
    with tqdm(total=len(shards), unit="file", disable=None) as progress:
        for contents, (path, _, entry) in zip(_read_all(shards, options.workers), shards, strict=True):
            for place, reason in contents.faults:
                report.problem(place, reason)
            if entry:
                _compare(contents, entry, report)
            for digest, name in contents.names.items():
                if digest in seen:
                    report.problem(str(path), f"{name} is in {seen[digest]} as well")
                seen.setdefault(digest, path)
            report.images += contents.images
            report.boxes += contents.boxes
            progress.update()
    if options.json:
        counts = {"files": len(shards), "images": report.images, "boxes": report.boxes, "problems": report.problems}
        print(json.dumps(counts))
    else:
        verdict = f"{report.problems:,} problems, listed above" if report.problems else "all well"
        print(f"{len(shards):,} files, {report.images:,} images, {report.boxes:,} boxes: {verdict}")
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.verify", description="Read records to the last byte and name everything that is wrong."
    )
    parser.add_argument("records", nargs="+", metavar="RECORDS", help="folder of shards, file, glob or prefix@N")
    parser.add_argument("--label-map", metavar="FILE", type=Path, help="ids of the classes [the manifest's]")
    parser.add_argument("--workers", metavar="N", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON on stdout")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: give 1 or more")
    return options


def _listed(patterns: list[str], report: Report) -> list[tuple[Path, dict | None]]:
    """The files to read, each with its entry in the manifest beside it. What is not there goes to the report."""
    found: dict[Path, dict | None] = {}
    for pattern in patterns:
        folder = Path(pattern)
        entries = _entries(folder) if folder.is_dir() else {}
        try:
            files = tfrecord_file.find_files(pattern)
        except UserError as error:
            files = tfrecord_file.files_in(folder) if folder.is_dir() else []
            if not files:
                raise
            report.problem(pattern, str(error).removeprefix(f"{pattern}: "))
        for path in sorted(entries.keys() - set(files)):
            report.problem(str(path), "is in the manifest, but not there; make the records again")
        for path in files:
            if entries and path not in entries:
                report.problem(str(path), f"is not in {folder / MANIFEST}")
            found[path] = entries.get(path)
    return list(found.items())


def _entries(folder: Path) -> dict[Path, dict]:
    manifest = _manifest(folder)
    try:
        return {folder / entry["file"]: entry for entry in manifest["shards"]} if manifest else {}
    except (LookupError, TypeError) as error:
        raise UserError(f"{folder / MANIFEST}: not a manifest of records; make the records again") from error


def _manifest(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{folder / MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{folder / MANIFEST}: damaged ({error}); make the records again") from error


def _label_map_of(path: Path) -> dict[str, int] | None:
    manifest = _manifest(path.parent)
    return manifest.get("label_map") if isinstance(manifest, dict) else None


def _compare(contents: Contents, entry: Mapping, report: Report) -> None:
    # A fault inside the file says more than that its digest differs.
    if contents.sha256 != entry.get("sha256") and not contents.faults:
        report.problem(str(contents.file), "is not the file that the manifest describes (its SHA-256 differs)")


def _read_all(shards: list[tuple[Path, dict | None, dict | None]], workers: int) -> Iterator[Contents]:
    tasks = [(path, known) for path, known, _ in shards]
    if min(workers, len(tasks)) <= 1:
        yield from (read_file(*task) for task in tasks)
        return
    with processes.workers(min(workers, len(tasks))) as executor:
        yield from executor.map(read_file, *zip(*tasks, strict=True))


def read_file(path: Path, known: Mapping[str, int] | None) -> Contents:
    """Reads a file of records and everything in it; `known` is its label map, if there is one."""
    contents = Contents(path)
    damaged: list[RecordError] = []
    for record in tfrecord_file.read_records(path, damaged.append):
        place = f"{path}, record {record.number}"
        try:
            name, boxes = _read_record(record.data, known)
        except ValueError as error:
            contents.faults.append((place, str(error)))
            continue
        contents.images += 1
        contents.boxes += boxes
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        if digest in contents.names:
            contents.faults.append((place, f"{name} is there twice"))
        contents.names[digest] = name
    contents.faults += [(error.place, error.reason) for error in damaged]
    with open(path, "rb") as file:
        contents.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return contents


def _read_record(data: bytes, known: Mapping[str, int] | None) -> tuple[str, int]:
    """(name, number of boxes) of a good record. Raises ValueError saying everything that is wrong with it."""
    try:
        image = tf_example.decode(data)
        labels = tf_example.labels(data)
    except tf_example.ExampleError as error:
        raise ValueError(str(error)) from error
    faults = []
    try:
        encoded = encode_for_record(image.source)
        if encoded.changed:
            faults.append(f"its image is not as TensorFlow would read it ({encoded.changed})")
        elif (encoded.width, encoded.height) != (image.width, image.height):
            faults.append(f"its image is {encoded.width}x{encoded.height}, not {image.width}x{image.height}")
    except ImageError as error:
        faults.append(f"its image: {error}")
    sides = image.xyxy / ([image.width, image.height] * 2)
    for number, (xmin, ymin, xmax, ymax) in enumerate(sides.tolist(), 1):
        if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
            faults.append(f"box {number} has a side that is not a finite number")
        elif not (0 <= xmin < xmax <= 1 + 1e-6 and 0 <= ymin < ymax <= 1 + 1e-6):
            box = ", ".join(f"{side:g}" for side in (xmin, ymin, xmax, ymax))
            faults.append(f"box {number} ({box}) is inverted, empty or beyond the image")
    for (name, label), times in Counter(zip(image.classes, labels, strict=False)).items():
        if known and known.get(name) != label:
            has = f"has {name!r} as {known[name]}" if name in known else f"has no {name!r}"
            faults.append(f"{times} boxes are of class {name!r}, id {label}: the label map {has}")
    if len(labels) != len(image):
        faults.append(f"has {len(image)} boxes but {len(labels)} class ids")
    if faults:
        raise ValueError(f"{image.name}: " + "; ".join(faults))
    return image.name, len(image)


if __name__ == "__main__":
    run_command(main)
