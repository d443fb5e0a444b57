"""python -m evaluation.evaluate --records PATH --detections PATH

Prints how good detections are, by COCO's, WIDER FACE's and Open Images' rules, at which score to cut, which faces are
missed and what the false alarms are. They are a detections file (.jsonl), from `python -m evaluation.detect` or from
`detect-faces --jsonl --min-score 0`, or COCO results (.json), or a WIDER FACE submission (a folder), for all images of
the records, down to the lowest score.

`ignore` boxes and groups of faces need not be found, and finding them is no mistake.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence

from tqdm import tqdm

from detect_faces import Faces, UserError
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from evaluation import bootstrap, wider_face_lists
from evaluation.calibration import calibration
from evaluation.coco import MAX_DETECTIONS, coco_metrics
from evaluation.convert_detections import image_ids
from evaluation.error_kinds import error_counts
from evaluation.evaluate_text import as_text
from evaluation.image_curves import ImageCurves
from evaluation.matched_set import match_set
from evaluation.open_images_ap import open_images_ap
from evaluation.pairing import lines_for
from evaluation.precision_recall import curve_of
from evaluation.subsets import subsets
from evaluation.thresholds import WANTED, advice
from evaluation.wider_face_lists import WiderFaces
from evaluation.wider_face_protocol import wider_face_curves
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.report import Report

PROTOCOLS = ("coco", "wider", "open_images")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    if options.max_detections < 1:
        raise UserError(f"--max-detections {options.max_detections}: give 1 or more")
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = [without_pixels(image) for image in data_set.load(options, report)]
    if not images:
        raise UserError("there is not one good image to evaluate on")
    lines = lines_for(images, options.detections, image_ids(options), allow_failed=options.leave_out_failed)
    images, lines = _without_failed(images, lines, report)
    protocols = PROTOCOLS if options.protocol == "all" else (options.protocol,)
    wider = wider_face_lists.official(images, options.wider_lists) if options.wider_lists else None
    figures = evaluate(
        images,
        [line.faces for line in lines],
        options.score or [0.5],
        options.max_detections,
        protocols=protocols,
        wider=wider,
        wanted_precision=options.precision or WANTED,
        errors_from=options.score[0] if options.score else None,
    )
    figures["median_ms"] = median_ms(lines)
    print(json.dumps(figures, indent=1) if options.json else as_text(figures))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.evaluate", description="Print how good detections are, and what is wrong with them."
    )
    parser.add_argument("--detections", required=True, metavar="PATH", help="a .jsonl or .json file, or a folder")
    parser.add_argument(
        "--protocol", choices=(*PROTOCOLS, "all"), default="all", help="whose average precision to print [%(default)s]"
    )
    parser.add_argument(
        "--score",
        type=float,
        action="append",
        help="give precision and recall at this score; repeatable [0.5]. Errors are told from the first one on; "
        "without it, from that of the best F1",
    )
    parser.add_argument(
        "--precision",
        type=float,
        action="append",
        help=f"give the score to cut at for this precision; repeatable [{' '.join(map(str, WANTED))}]",
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        default=MAX_DETECTIONS,
        metavar="N",
        help="COCO: count the best N of an image [%(default)s]; COCO's own figures are for 100, which cuts crowds",
    )
    parser.add_argument(
        "--wider-lists",
        metavar="DIR",
        help="the folder of wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat; without it, faces are "
        "easy, medium and hard by their height",
    )
    parser.add_argument(
        "--leave-out-failed",
        action="store_true",
        help="evaluate without the images that the detections file has an error for, and end with exit code 1",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    data_set.add_options(parser)
    return parser.parse_args(arguments)


def _without_failed(
    images: list[AnnotatedImage], lines: list[ImageDetections], report: Report
) -> tuple[list[AnnotatedImage], list[ImageDetections]]:
    """The images that did not fail, and their lines; the others go to the report."""
    for line in lines:
        if line.error is not None:
            report.problem(line.image, f"{line.error}; left out")
    good = [index for index, line in enumerate(lines) if line.error is None]
    if not good:
        raise UserError("all images failed when the detections were made; there is nothing to evaluate")
    return [images[index] for index in good], [lines[index] for index in good]


def evaluate(
    images: Sequence[AnnotatedImage],
    detections: Sequence[Faces],
    scores: Sequence[float],
    max_detections: int = MAX_DETECTIONS,
    *,
    protocols: Sequence[str] = PROTOCOLS,
    wider: Sequence[WiderFaces] | None = None,
    wanted_precision: Sequence[float] = WANTED,
    errors_from: float | None = None,
    resamples: int = bootstrap.RESAMPLES,
) -> dict:
    """All figures of the detections in these images, as the JSON object that the command prints.

    Args:
        images, detections: the same images in the same order; detections down to the lowest score.
        scores: at which to give precision and recall.
        max_detections: for COCO's metrics, of an image the best so many count.
        protocols: of PROTOCOLS; those that are not here have no key in the result.
        wider: what WIDER FACE looks for in each image; by default, faces by their height.
        wanted_precision: for which to look up a score.
        errors_from: the score for misses and false alarms; by default that of the best F1.
        resamples: how many draws the intervals are made from.
    """
    matched = match_set(images, detections)
    curve = curve_of(matched)
    weights = bootstrap.draws(len(images), resamples)
    best = curve.best_f1_score()
    if errors_from is None:
        errors_from = 0.5 if best is None else best
    figures = {
        "images": len(images),
        "faces": curve.faces,
        "not_counted": int((~matched.counted).sum()),
        "detections": len(matched.scores),
    }
    if "coco" in protocols:
        figures |= {
            "max_detections": max_detections,
            "cut": sum(max(0, len(faces) - max_detections) for faces in detections),
            "coco": coco_metrics(images, detections, max_detections),
        }
    if "wider" in protocols:
        figures["wider_face"] = _wider_face(images, detections, wider, weights)
    if "open_images" in protocols:
        figures["open_images"] = {
            "AP50": open_images_ap(images, detections),
            "groups": int((matched.flags["group_of"] == 1).sum()) if "group_of" in matched.flags else 0,
        }
    return figures | {
        "AP50_interval": bootstrap.average_precision_interval(ImageCurves.of_matched(matched), weights),
        "at_score": [
            curve.at(score) | {"intervals": bootstrap.intervals_at(matched, score, weights)} for score in scores
        ],
        "best_f1": None if best is None else curve.at(best),
        "thresholds": advice(curve, wanted_precision),
        "errors": error_counts(matched, errors_from),
        "subsets": [subset.at(errors_from) for subset in subsets(matched)],
        "calibration": calibration(matched).to_json(),
    }


def _wider_face(
    images: Sequence[AnnotatedImage],
    detections: Sequence[Faces],
    wider: Sequence[WiderFaces] | None,
    weights,
) -> dict:
    faces = wider_face_lists.by_height(images) if wider is None else wider
    curves = wider_face_curves(faces, detections)
    return {
        "faces_from": wider_face_lists.BY_HEIGHT if wider is None else wider_face_lists.OFFICIAL,
        "AP": {name: curve.average_precision() for name, curve in curves.items()},
        "intervals": {name: bootstrap.average_precision_interval(curve, weights) for name, curve in curves.items()},
        "faces": {name: int(curve.faces.sum()) for name, curve in curves.items()},
    }


def without_pixels(image: AnnotatedImage) -> AnnotatedImage:
    """The image without its encoded bytes, for keeping many."""
    return dataclasses.replace(image, source=b"")


def median_ms(lines: Sequence[ImageDetections]) -> float | None:
    """The median time of the lines of a detections file, None where it has none."""
    times = [line.ms for line in lines if line.ms is not None]
    return statistics.median(times) if times else None


if __name__ == "__main__":
    run_command(main)
