"""python -m evaluation.evaluate --records PATH --detections FILE.jsonl

Prints how good the detections in a detections file are: COCO's metrics, and precision and recall at a score. The file
comes from `python -m evaluation.detect` or from `detect-faces --jsonl --min-score 0`, for the images of the records.

`ignore` boxes and groups of faces need not be found, and finding them is no mistake.
"""

import argparse
import dataclasses
import json
import statistics
import sys

from tqdm import tqdm

from detect_faces import Faces, UserError, detections_file
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from evaluation.coco import MAX_DETECTIONS, coco_metrics
from evaluation.matching import not_counted
from evaluation.pairing import detections_for
from evaluation.precision_recall import precision_recall
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.report import Report

MEANINGS = {
    "AP": "mean over IoU .50 to .95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "AP_small": "faces below 32 x 32 pixels",
    "AP_medium": "up to 96 x 96",
    "AP_large": "above",
    "AR": "best recall, mean over IoU .50 to .95",
    "AR_small": "",
    "AR_medium": "",
    "AR_large": "",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.evaluate",
        description="Print COCO's metrics, precision and recall of a detections file.",
    )
    parser.add_argument("--detections", required=True, metavar="FILE", help="a detections file (.jsonl)")
    parser.add_argument(
        "--score", type=float, action="append", help="give precision and recall at this score; repeatable [0.5]"
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        default=MAX_DETECTIONS,
        metavar="N",
        help="count the best N of an image [%(default)s]; COCO's own figures are for 100, which cuts crowds",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    data_set.add_options(parser)
    options = parser.parse_args(arguments)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = [without_pixels(image) for image in data_set.load(options, report)]
    if not images:
        raise UserError("there is not one good image to evaluate on")
    detections = detections_for(images, options.detections)
    figures = evaluate(images, detections, options.score or [0.5], options.max_detections)
    figures["median_ms"] = median_ms(options.detections)
    print(json.dumps(figures, indent=1) if options.json else as_text(figures))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def evaluate(
    images: list[AnnotatedImage],
    detections: list[Faces],
    scores: list[float],
    max_detections: int = MAX_DETECTIONS,
) -> dict:
    """All figures of the detections in these images, as the JSON object that the command prints."""
    curve = precision_recall(images, detections)
    best = curve.best_f1_score()
    return {
        "images": len(images),
        "faces": curve.faces,
        "not_counted": sum(int(not_counted(image).sum()) for image in images),
        "detections": sum(map(len, detections)),
        "max_detections": max_detections,
        "coco": coco_metrics(images, detections, max_detections),
        "at_score": [curve.at(score) for score in scores],
        "best_f1": None if best is None else curve.at(best),
    }


def as_text(figures: dict) -> str:
    """The figures as a table for people."""
    lines = [
        f"{figures['images']:,} images, {figures['faces']:,} faces (and {figures['not_counted']:,} not counted), "
        f"{figures['detections']:,} detections",
        "",
        f"COCO metrics, at most {figures['max_detections']} detections an image",
    ]
    lines += [f"  {name:<12}{_ratio(value)}   {MEANINGS[name]}".rstrip() for name, value in figures["coco"].items()]
    lines += ["", "At IoU .50, detections from this score on", "  score     precision  recall     F1"]
    rows = [(point, "") for point in figures["at_score"]]
    rows += [(figures["best_f1"], "best F1")] if figures["best_f1"] else []
    for point, remark in rows:
        ratios = "     ".join(_ratio(point[name]) for name in ("precision", "recall", "f1"))
        lines.append(f"  {point['score']:.4f}    {ratios}   {remark}".rstrip())
    if figures["median_ms"] is not None:
        lines += ["", f"{figures['median_ms']:.1f} ms an image from decoded image to boxes (median)"]
    return "\n".join(lines)


def without_pixels(image: AnnotatedImage) -> AnnotatedImage:
    """The image without its encoded bytes, for keeping many."""
    return dataclasses.replace(image, source=b"")


def median_ms(path: str) -> float | None:
    """The median time in a detections file, None where it has none."""
    times = [line.ms for line in detections_file.read(path) if line.ms is not None]
    return statistics.median(times) if times else None


def _ratio(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.4f}"


if __name__ == "__main__":
    run_command(main)
