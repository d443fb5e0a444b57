"""python -m evaluation.compare --records PATH --model FOLDER --output DIR

Compares an exported model with OpenCV's face cascades on the same images: accuracy and milliseconds, in one table. The
detectors take turns image by image, so that whatever else the machine does is shared by all of them.

DIR gets compare.md, compare.json, a detections file for each detector, and compare.jpg: the image on which the model
and the better cascade differ most.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from detect_faces.images import decode_image, write_image
from detect_faces.quiet import keep_stderr_for_python
from evaluation import detectors
from evaluation.detectors import Detector
from evaluation.evaluate import evaluate, without_pixels
from evaluation.matching import FALSE, TRUE, match, not_counted
from evaluation.side_by_side import side_by_side
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.files import write_whole
from tools.formats import ImageStream
from tools.report import Report

COLUMNS = ("detector", "AP50", "AP", "score from", "precision", "recall", "best F1", "at score", "median ms", "p95 ms")


@dataclass(frozen=True)
class Run:
    """A detector and what it found, a line for each image."""

    detector: Detector
    lines: list[ImageDetections] = field(default_factory=list)

    def faces(self, image: int) -> Faces:
        """What a user of the detector would be shown for an image."""
        return self.lines[image].faces.at_least(self.detector.min_score)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.compare", description="Compare an exported model with OpenCV's face cascades."
    )
    parser.add_argument("--model", required=True, metavar="FOLDER", help="an exported model")
    parser.add_argument(
        "--cascade",
        nargs="+",
        default=["default", "alt2"],
        help="default, alt, alt2, alt_tree, XML files [%(default)s]",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    data_set.add_options(parser)
    detectors.add_threads_option(parser)
    options = parser.parse_args(arguments)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    runs = [Run(detectors.load("exported", options.model, options.threads))]
    runs += [Run(detectors.load("cascade", cascade, options.threads)) for cascade in options.cascade]
    options.output.mkdir(parents=True, exist_ok=True)
    images = measure(runs, data_set.load(options, report), report)
    if not images:
        raise UserError("there is not one good image to compare on")

    figures = {
        "images": len(images),
        "faces": sum(int((~not_counted(image)).sum()) for image in images),
        "threads": options.threads,
        "detectors": [_figures(run, images) for run in runs],
    }
    table = as_markdown(figures)
    rival = max(range(1, len(runs)), key=lambda i: figures["detectors"][i]["coco"]["AP50"] or 0)
    name, picture = most_different(runs[0], runs[rival], images, data_set.load(options, Report(lambda _: None)))
    for run in runs:
        detections_file.write(options.output / f"{run.detector.name.replace(' ', '-')}.jsonl", run.lines)
    write_whole(options.output / "compare.json", (json.dumps(figures, indent=1) + "\n").encode())
    write_whole(options.output / "compare.md", (table + "\n").encode())
    write_image(options.output / "compare.jpg", picture)
    print(table)
    print(f"\n{options.output}/compare.jpg shows {name}, where they differ most", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def measure(runs: list[Run], stream: ImageStream, report: Report) -> list[AnnotatedImage]:
    """Runs all detectors on each image, in turn, and adds what they find to the runs.

    Returns:
        The images, without pixels; those that do not decode are left out and go to the report.
    """
    images = []
    for image in tqdm(stream, total=len(stream), unit="image", disable=None):
        try:
            pixels = decode_image(image.encoded(), image.name)
        except UserError as error:
            report.problem(image.name, str(error).removeprefix(f"{image.name}: "))
            continue
        if not images:
            for run in runs:  # the first run also sets up memory and threads
                run.detector.detect(pixels)
        first = len(images) % len(runs)  # nobody always comes after the same one
        for run in runs[first:] + runs[:first]:
            faces, ms = detectors.timed(run.detector, pixels)
            run.lines.append(ImageDetections(image.name, image.width, image.height, faces, ms))
        images.append(without_pixels(image))
    return images


def as_markdown(figures: dict) -> str:
    """The comparison as a table with aligned columns, and how it was measured."""
    rows = [COLUMNS]
    for detector in figures["detectors"]:
        use, best, coco = detector["in_use"], detector["best_f1"] or {}, detector["coco"]
        ratios = [
            coco["AP50"],
            coco["AP"],
            use["score"],
            use["precision"],
            use["recall"],
            best.get("f1"),
            best.get("score"),
        ]
        rows.append(
            (
                detector["name"],
                *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios),
                f"{detector['median_ms']:.1f}",
                f"{detector['p95_ms']:.1f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])))
    lines = []
    for name, *cells in rows:
        aligned = [name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]
        lines.append(f"| {' | '.join(aligned)} |")
    settings = [f"- {detector['name']}: {detector['settings']}" for detector in figures["detectors"]]
    return "\n".join(
        [
            *lines,
            "",
            f"{figures['images']:,} images with {figures['faces']:,} faces, the same for all, in one run in which the "
            f"detectors took turns, {figures['threads']} thread{'s' if figures['threads'] > 1 else ''} each.",
            "Precision and recall: at IoU .50, detections from the given score on, as each is used. Best F1: at the",
            "score that turns out best on these images. Milliseconds: from decoded image to boxes.",
            "",
            *settings,
        ]
    )


def most_different(ours: Run, rival: Run, images: list[AnnotatedImage], stream: ImageStream) -> tuple[str, np.ndarray]:
    """The name and a picture of the image on which one makes most more mistakes than the other, each as it is used."""
    counts = [[_counts(image, run.faces(i)) for run in (ours, rival)] for i, image in enumerate(images)]
    index = max(range(len(images)), key=lambda i: abs(sum(counts[i][0][1:]) - sum(counts[i][1][1:])))
    image = next(image for image in stream if image.name == images[index].name)
    found = {}
    for run, (hits, missed, false) in zip((ours, rival), counts[index], strict=True):
        title = f"{run.detector.name}: {hits} of {hits + missed} faces, {false} false"
        found[title] = run.faces(index)
    return image.name, side_by_side(decode_image(image.encoded(), image.name), found)


def _counts(image: AnnotatedImage, faces: Faces) -> tuple[int, int, int]:
    """Faces found, faces missed, false detections."""
    matches = match(image, faces)
    hits = int((matches == TRUE).sum())
    return hits, int((~not_counted(image)).sum()) - hits, int((matches == FALSE).sum())


def _figures(run: Run, images: list[AnnotatedImage]) -> dict:
    detector, times = run.detector, [line.ms for line in run.lines]
    figures = evaluate(images, [line.faces for line in run.lines], [detector.min_score])
    return {
        "name": detector.name,
        "settings": detector.settings,
        "coco": figures["coco"],
        "in_use": figures["at_score"][0],
        "best_f1": figures["best_f1"],
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.percentile(times, 95)),
    }


if __name__ == "__main__":
    keep_stderr_for_python()
    run_command(main)
