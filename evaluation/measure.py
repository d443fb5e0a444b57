"""Runs several detectors over the same images, in turns, and goes on where it was killed.

The detectors take turns image by image, and in another order for each, so that whatever else the machine does is shared
by all of them. Each has a detections file in the folder; it grows by a line for each image and takes its final name at
the end. What is there of the same detectors, settings, code and packages is not measured again.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

import detect_faces
from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from detect_faces.images import decode_image
from detect_faces.whole_file import write_whole
from evaluation import detectors
from evaluation.detect import detect_one
from evaluation.detectors import Detector
from evaluation.pairing import without_folder
from tools.annotations import AnnotatedImage
from tools.report import Report

PLAN = "measured.json"  # what the detections files in the folder were measured with


@dataclass(frozen=True)
class Run:
    """A detector and what it found.

    Attributes:
        detector: None for detections that were read from a file.
        name, settings, min_score: as of a Detector.
        spec: how the detector is named on the command line.
        lines: for each image, in the order of the images.
    """

    detector: Detector | None
    name: str
    settings: str
    min_score: float
    spec: str
    lines: list[ImageDetections] = field(default_factory=list)

    @property
    def found(self) -> list[Faces]:
        """All detections of each image; none where the detector failed."""
        return [line.faces if line.error is None else Faces.empty() for line in self.lines]

    @property
    def failed(self) -> list[str]:
        """The images on which the detector failed."""
        return [line.image for line in self.lines if line.error is not None]

    @property
    def times(self) -> list[float]:
        """Milliseconds of the images that it did not fail on, as far as they are known."""
        return [line.ms for line in self.lines if line.error is None and line.ms is not None]

    @property
    def file_name(self) -> str:
        """Of its detections file."""
        kept = "".join(character if character.isalnum() or character in "._" else "-" for character in self.name)
        return f"{kept}.jsonl"

    def in_use(self, image: int) -> Faces:
        """What a user of the detector would be shown for an image."""
        line = self.lines[image]
        return line.faces.at_least(self.min_score) if line.error is None else Faces.empty()


def load(specs: Sequence[str], threads: int) -> list[Run]:
    """The detectors, each NAME=MODEL as evaluation.detectors has it, or detections=FILE.jsonl.

    Raises:
        UserError: one cannot be loaded.
    """
    runs = []
    for spec in specs:
        name, model = detectors.parse(spec)
        if name == "detections":
            if model is None:
                raise UserError("the detector detections needs its file: detections=FILE.jsonl")
            lines = list(detections_file.read(model))
            runs.append(Run(None, Path(model).stem, f"read from {Path(model).name}", 0.5, spec, lines))
        else:
            detector = detectors.load(name, model, threads)
            runs.append(Run(detector, detector.name, detector.settings, detector.min_score, spec))
    apart = []
    for run in runs:
        apart.append(_named_apart(run, apart))
    return apart


def _named_apart(run: Run, others: Sequence[Run]) -> Run:
    """The run, with a number in its name where another one before it has that name."""
    if all(run.file_name.lower() != other.file_name.lower() for other in others):
        return run
    number = 2 + sum(other.name.startswith(f"{run.name} (") for other in others)
    return Run(run.detector, f"{run.name} ({number})", run.settings, run.min_score, run.spec, run.lines)


def measure(
    runs: Sequence[Run], stream: Iterable[AnnotatedImage], folder: Path, threads: int, report: Report
) -> tuple[list[AnnotatedImage], int]:
    """Fills the lines of the runs, and writes a detections file for each into the folder.

    Images that do not decode are left out and go to the report; so do those on which a detector fails, for which it
    then has found nothing.

    Returns:
        The images, and how many of them were measured before this call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    live = [run for run in runs if run.detector is not None]
    plan = {
        "threads": threads,
        "versions": versions(),
        "code": _digest(*_code()),
        "detectors": [_identity(run) for run in live],
    }
    given = [{line.image: line for line in run.lines} for run in runs]  # of those that were read from a file
    done = _begin(folder, live, plan)
    images, before, warm = [], 0, False
    for run in runs:
        run.lines.clear()
    parts = [open(_part(folder, run), "a", encoding="utf-8") for run in live]
    try:
        for image in stream:
            key = (image.name, image.width, image.height)
            if key in done:
                found = done[key]
                before += 1
            else:
                try:
                    pixels = decode_image(image.encoded(), image.name)
                except UserError as error:
                    report.problem(image.name, str(error).removeprefix(f"{image.name}: "))
                    continue
                if not warm:  # the first run also sets up memory and threads
                    for run in live:
                        detect_one(run.detector, image, pixels)
                    warm = True
                found = _in_turn(live, image, pixels, len(images))
                for part, line in zip(parts, found, strict=True):
                    part.write(json.dumps(line.to_json()) + "\n")
                    part.flush()
            for run, line in zip(live, found, strict=True):
                run.lines.append(line)
                if line.error is not None:
                    report.problem(image.name, f"{run.name} failed: {line.error}")
            images.append(image)
    finally:
        for part in parts:
            part.close()
    for run, lines in zip(runs, given, strict=True):
        if run.detector is None:
            run.lines.extend(_given(run, lines, images))
    for run in runs:
        detections_file.write(folder / run.file_name, run.lines)
    for run in live:
        _part(folder, run).unlink()
    return images, before


def _in_turn(runs: Sequence[Run], image: AnnotatedImage, pixels: np.ndarray, turn: int) -> list[ImageDetections]:
    first = turn % len(runs) if runs else 0  # nobody always comes after the same one
    order = list(range(len(runs)))
    found = {i: detect_one(runs[i].detector, image, pixels) for i in order[first:] + order[:first]}
    # As the file has them, rounded: killed in between or not, the figures are the same.
    return [ImageDetections.from_json(found[i].to_json()) for i in order]


def _given(run: Run, lines: dict[str, ImageDetections], images: Sequence[AnnotatedImage]) -> Iterable[ImageDetections]:
    lines = {line.image: line for line in without_folder(lines.values(), {image.name for image in images})}
    missing = [image.name for image in images if image.name not in lines]
    if missing:
        raise UserError(
            f"{run.spec}: {len(missing)} of {len(images)} images have no line in it ({missing[0]}"
            f"{', ...' if missing[1:] else ''}); make it on these images"
        )
    return (lines[image.name] for image in images)


def _begin(folder: Path, runs: Sequence[Run], plan: dict) -> dict[tuple[str, int, int], list[ImageDetections]]:
    """What is already measured: the lines of each image that all runs have; starts anew where the plan was another."""
    path = folder / PLAN
    try:
        same = json.loads(path.read_text()) == json.loads(json.dumps(plan))
    except (OSError, ValueError):
        same = False
    if not same:
        for run in runs:
            _part(folder, run).unlink(missing_ok=True)
            (folder / run.file_name).unlink(missing_ok=True)
        write_whole(path, (json.dumps(plan, indent=1) + "\n").encode())
        return {}
    by_run = []
    for run in runs:
        source = _part(folder, run) if _part(folder, run).exists() else folder / run.file_name
        by_run.append(_whole_lines(source))
    names = set.intersection(*map(set, by_run)) if by_run else set()
    done = {}
    for run, lines in zip(runs, by_run, strict=True):
        kept = [line for name, line in lines.items() if name in names]
        detections_file.write(_part(folder, run), kept)  # without a torn last line
    for name in names:
        lines = [lines[name] for lines in by_run]
        whole = next((line for line in lines if line.error is None), None)
        if whole:
            done[name, whole.width, whole.height] = lines
    if done:
        print(f"{folder}: {len(done)} images are measured already, with the same detectors", file=sys.stderr)
    return done


def _whole_lines(path: Path) -> dict[str, ImageDetections]:
    """The lines of a detections file that may have been cut off while it was written."""
    lines = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return lines
    for line in text.splitlines(keepends=True):
        try:
            if line.endswith("\n"):
                detections = ImageDetections.from_json(json.loads(line))
                lines[detections.image] = detections
        except (KeyError, TypeError, ValueError):
            continue
    return lines


def _part(folder: Path, run: Run) -> Path:
    return folder / f".{run.file_name}.growing"


def versions() -> list[str]:
    """Of Python, and of the packages that most detectors run on, as far as they are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in ("numpy", "opencv-python", "opencv-python-headless", "ai-edge-litert"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _identity(run: Run) -> dict:
    """What makes its results: another one of these, and they are measured again."""
    name, _ = detectors.parse(run.spec)
    files = [*getattr(run.detector, "files", ()), *([name] if name.endswith(".py") else [])]
    return {"spec": run.spec, "settings": run.settings, "files": [_digest(Path(path)) for path in files]}


def _code() -> list[Path]:
    """What of this project the detectors run."""
    folders = (Path(detect_faces.__file__).parent, Path(detectors.__file__).parent)
    return [path for folder in folders for path in sorted(folder.glob("*.py"))]


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()
