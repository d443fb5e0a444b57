"""python -m export.run_part PART --images FOLDER | --features FOLDER --output OUT

Runs a part of a split graph (python -m export.split) on a folder. The first part, once for each photograph; the second
part as often as you like, without the photographs:

    python -m export.run_part split/before.pb --images photos --output features
    python -m export.run_part split/after.pb --features features --output detections.jsonl

Kill the first whenever you like: the same command goes on with the photographs that have no features yet. The second
writes a detections file, in the photographs' order. With --whole and --images it runs the whole graph as well, and says
what differs and how long each takes:

    python -m export.run_part split/after.pb --features features --output detections.jsonl \\
        --whole frozen_inference_graph.pb --images photos
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detect_faces import Faces, detections_file, graph_file
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.images import decode_image
from detect_faces.inputs import find_sources
from detect_faces.options import thread_count
from detect_faces.quiet import keep_stderr_for_python
from export import feature_folder
from export.feature_folder import Entry, Features
from export.graph_session import GraphSession
from export.split import AFTER, BEFORE, DESCRIPTION, FORMAT
from export.split_source import sha256
from tools.files import only_writer
from training.console import say

BOXES, SCORES, CLASSES, COUNT = "detection_boxes:0", "detection_scores:0", "detection_classes:0", "num_detections:0"


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse(argv)
    split = read_split(options.part)
    if options.part.name == split["before"]["file"]:
        refuse(options, "the first part", needs=("images",), not_with=("features", "whole", "class_id"))
        return run_before(options, split)
    refuse(options, "the second part", needs=("features",), not_with=() if options.whole else ("images",))
    if options.whole and not options.images:
        raise UserError("--whole runs on the photographs; give their folder with --images")
    return run_after(options, split)


def run_before(options: argparse.Namespace, split: dict) -> int:
    """Writes the features of each photograph that has none yet; returns the exit code."""
    images = photographs(options.images)
    graph = sha256(options.part)
    part = session(options.part, split["before"], options)
    outputs = [row["tensor"] for row in split["before"]["outputs"]]
    placeholders = {row["fed_from"]: row["tensor"] for row in split["after"]["inputs"]}
    options.output.mkdir(parents=True, exist_ok=True)
    entries, times, skipped = [], [], 0
    with only_writer(options.output):
        (options.output / feature_folder.INDEX).unlink(missing_ok=True)
        for path in progress(images):
            name = path.relative_to(options.images).as_posix()
            try:
                data = read_bytes(path)
                digest = hashlib.sha256(data).hexdigest()
                if feature_folder.is_complete(options.output, name, digest, graph):
                    skipped += 1
                else:
                    image = decode_image(data, str(path))
                    values, ms = timed(part, outputs, part.photograph(image), warm=bool(times))
                    times.append(ms)
                    tensors = {placeholders[output]: value for output, value in zip(outputs, values, strict=True)}
                    features = Features(name, image.shape[1], image.shape[0], digest, graph, ms, tensors)
                    feature_folder.write(options.output, features)
                entries.append(Entry(name))
            except UserError as error:
                entries.append(Entry(name, reason := str(error).removeprefix(f"{path}: ")))
                tqdm.write(f"error: {path}: {reason}", file=sys.stderr)
        feature_folder.write_index(options.output, graph, entries)
    bad = sum(entry.error is not None for entry in entries)
    size = sum(file.stat().st_size for file in options.output.rglob("*.npz"))
    say(f"{options.output}: {len(times)} photographs, {skipped} were there already, {bad} bad; {size / 1e6:.1f} MB")
    if times:
        say(f"{options.part.name}: median {np.median(times):.1f} ms a photograph")
    say(f"next: python -m export.run_part {options.part.with_name(AFTER)} --features {options.output} --output FILE")
    return EXIT_SOME_FAILED if bad else EXIT_OK


def run_after(options: argparse.Namespace, split: dict) -> int:
    """Writes the detections file of a folder of features; returns the exit code."""
    names = [row["tensor"] for row in split["after"]["outputs"]]
    if missing := [name for name in (BOXES, SCORES) if name not in names]:
        raise UserError(f"{options.part}: its outputs lack {missing[0]}: no detections can be made of them")
    entries = feature_folder.read_index(options.features, split["before"]["sha256"])
    part = session(options.part, split["after"], options)
    whole = Whole(options, names) if options.whole else None
    after_times, before_times, failed = [], [], 0

    def results() -> Iterator[ImageDetections]:
        nonlocal failed
        for entry in progress(entries):
            try:
                if entry.error is not None:
                    raise UserError(f"{entry.image}: {entry.error}")
                features = feature_folder.read(options.features, entry.image)
                values, ms = timed(part, names, feeds(part, features, options), warm=bool(after_times))
                if whole:
                    whole.compare(entry.image, features, values)
                after_times.append(ms)
                before_times.append(features.ms)
                faces = detections(dict(zip(names, values, strict=True)), features, options.class_id)
                yield ImageDetections(entry.image, features.width, features.height, faces, features.ms + ms)
            except UserError as error:
                failed += 1
                reason = str(error).removeprefix(f"{entry.image}: ")
                tqdm.write(f"error: {entry.image}: {reason}", file=sys.stderr)
                yield ImageDetections(entry.image, error=reason)

    count = detections_file.write(options.output, results())
    say(f"{options.output}: {count} photographs, {failed} of them bad; ms there is that of both parts")
    if after_times:
        before, after = np.median(before_times), np.median(after_times)
        say(f"median ms a photograph: {BEFORE} {before:.1f}, {AFTER} {after:.1f}")
        if whole:
            whole.report(names, after)
    return EXIT_SOME_FAILED if failed else EXIT_OK


@dataclass
class Whole:
    """The whole graph, run beside the second part on the same photographs."""

    options: argparse.Namespace
    outputs: list[str]
    times: list[float] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        graph_def = graph_file.read(self.options.whole, trust=self.options.trust)
        self.session = GraphSession(graph_def, self.options.threads)
        nodes = {node.name for node in graph_def.node}
        if missing := [name for name in self.outputs if graph_file.node_name(name) not in nodes]:
            raise UserError(f"{self.options.whole}: has no {missing[0]}; give the graph that was split")

    def compare(self, name: str, features: Features, values: list[np.ndarray]) -> None:
        """Runs it on a photograph, and keeps the time and the largest difference of each output."""
        path = self.options.images / name
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != features.sha256:
            raise UserError(f"{path}: is another photograph than the one its features were made of")
        feed = self.session.photograph(decode_image(data, str(path)))
        expected, ms = timed(self.session, self.outputs, feed, warm=bool(self.times))
        self.times.append(ms)
        for output, one, other in zip(self.outputs, expected, values, strict=True):
            if one.shape != other.shape:
                raise UserError(f"{name}: {output} is {one.shape} of the whole graph and {other.shape} of the parts")
            apart = np.abs(one.astype(np.float64) - other)
            apart = np.where(np.isnan(one) & np.isnan(other), 0, np.where(np.isnan(apart), np.inf, apart))
            self.largest[output] = max(self.largest.get(output, 0.0), float(np.max(apart, initial=0.0)))

    def report(self, outputs: list[str], after: float) -> None:
        """Prints the differences, and says what the second part alone saves."""
        for output in outputs:
            print(f"{output}: largest difference {self.largest[output]:.3g}")
        whole = np.median(self.times)
        print(f"the whole graph {whole:.1f} ms, {AFTER} alone {after:.1f} ms: {whole / after:.1f} times faster")


def detections(values: dict[str, np.ndarray], features: Features, class_id: int | None) -> Faces:
    """What the second part's outputs say was found, boxes in pixels of the photograph."""
    count = int(values[COUNT].reshape(-1)[0]) if COUNT in values else values[SCORES].shape[-1]
    boxes, scores = values[BOXES].reshape(-1, 4)[:count], values[SCORES].reshape(-1)[:count]
    found = Faces.from_yxyx(boxes, scores, features.width, features.height)
    if class_id is None:
        return found
    if CLASSES not in values:
        raise UserError(f"--class-id {class_id}: the graph gives no {CLASSES}")
    chosen = values[CLASSES].reshape(-1)[:count].round() == class_id
    return Faces.from_yxyx(boxes[chosen], scores[chosen], features.width, features.height)


def feeds(part: GraphSession, features: Features, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The features as what the second part takes. Raises UserError where a tensor is missing or of another type."""
    place = feature_folder.path_of(options.features, features.image)
    fed = {}
    for tensor in part.inputs:
        if tensor.name not in features.tensors:
            raise UserError(f"{place}: has no {tensor.name}; run the first part again")
        value = features.tensors[tensor.name]
        if value.dtype.kind == "V":  # NumPy's files do not know bfloat16
            value = value.view(tensor.dtype.as_numpy_dtype)
        if value.dtype != tensor.dtype.as_numpy_dtype or not tensor.shape.is_compatible_with(value.shape):
            raise UserError(f"{place}: {tensor.name} is {value.dtype} {value.shape}; run the first part again")
        fed[tensor.name] = value
    return fed


def timed(part: GraphSession, outputs: list[str], feed: dict, *, warm: bool) -> tuple[list[np.ndarray], float]:
    """The outputs, and milliseconds; the first run of a session, which also prepares it, does not count."""
    if not warm:
        part.run(outputs, feed)
    start = time.perf_counter()
    values = part.run(outputs, feed)
    return [np.asarray(value) for value in values], 1000 * (time.perf_counter() - start)


def read_split(part: Path) -> dict:
    """split.json beside a part. Raises UserError where there is none, or the part is not one of its two."""
    path = part.parent / DESCRIPTION
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        files = {split[name]["file"]: split[name]["sha256"] for name in ("before", "after")}
        known = split["format"] == FORMAT
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give {BEFORE} or {AFTER} in the folder of a split graph") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the description of a split graph; split it again") from error
    if not known:
        raise UserError(f"{path}: of another version; split the graph again")
    if part.name not in files:
        raise UserError(f"{part}: not a part of the split graph there; give {' or '.join(files)}")
    if part.is_file() and sha256(part) != files[part.name]:
        raise UserError(f"{part}: is not the graph that {DESCRIPTION} describes; split it again")
    return split


def session(path: Path, described: dict, options: argparse.Namespace) -> GraphSession:
    """A part, ready to run."""
    part = GraphSession(graph_file.read(path, trust=options.trust), options.threads)
    names = {tensor.name for tensor in part.inputs}
    if names != {row["tensor"] for row in described["inputs"]}:
        raise UserError(f"{path}: has other inputs than {DESCRIPTION} says; split the graph again")
    return part


def photographs(folder: Path) -> list[Path]:
    """The images in a folder and those in it, in order. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder; give the folder of the photographs")
    images = [source.path for source in find_sources([str(folder)]) if source.problem is None]
    if not images:
        raise UserError(f"{folder}: there are no photographs in it")
    return images


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def refuse(options: argparse.Namespace, what: str, needs: tuple[str, ...], not_with: tuple[str, ...]) -> None:
    """Raises UserError for options that don't go with a part."""
    for name in needs:
        if getattr(options, name) is None:
            raise UserError(f"{options.part} is {what}; give --{name} FOLDER")
    for name in not_with:
        if getattr(options, name) is not None:
            raise UserError(f"{options.part} is {what}, which takes no --{name.replace('_', '-')}")


def progress(items: list) -> Iterator:
    return tqdm(items, unit="image", disable=None)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export.run_part", description="Run a part of a split graph on a folder."
    )
    parser.add_argument("part", type=Path, metavar="PART", help=f"{BEFORE} or {AFTER} in the folder of a split graph")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photographs, for the first part")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="what the first part gave, for the second")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="OUT", help="first part: folder; second: detections file (.jsonl)"
    )
    parser.add_argument(
        "--whole", type=Path, metavar="FILE", help="second part: compare with the frozen graph as a whole"
    )
    parser.add_argument("--class-id", type=int, metavar="N", help="second part: detections of this class [all]")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="of TensorFlow [the CPUs]")
    parser.add_argument("--trust", action="store_true", help="run operations that the gate does not let through")
    return parser.parse_args(argv)


if __name__ == "__main__":
    keep_stderr_for_python()  # TensorFlow talks to it from C++
    run_command(main)
