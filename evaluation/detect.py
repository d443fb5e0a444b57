"""python -m evaluation.detect --detector NAME[=MODEL] --records PATH --output FILE.jsonl

Makes the detections file of a detector on annotated images. For a model, for OpenCV's cascade, for one's own:

    python -m evaluation.detect --detector exported=exported-models/demo \\
        --records data/records/sample/validation --output demo.jsonl
    python -m evaluation.detect --detector cascade=alt2 --records data/records/sample/validation --output cascade.jsonl
    python -m evaluation.detect --detector my_detector.py --records data/records/sample/validation --output mine.jsonl

An image that cannot be decoded, or on which the detector fails, gets a line that says so, and the exit code is 1.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from tqdm import tqdm

from detect_faces import UserError, detections_file
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from detect_faces.images import decode_image
from detect_faces.quiet import keep_stderr_for_python
from evaluation import detectors
from evaluation.detectors import Detector
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.report import Report


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.detect", description="Make the detections file of a detector on annotated images."
    )
    parser.add_argument(
        "--detector",
        required=True,
        metavar="NAME[=MODEL]",
        help=f"{', '.join(detectors.NAMES)}, or the path of a Python file",
    )
    parser.add_argument("--model", help="the same as NAME=MODEL")
    parser.add_argument("--output", required=True, metavar="FILE", help="the detections file (.jsonl) to write")
    data_set.add_options(parser)
    detectors.add_threads_option(parser)
    options = parser.parse_args(arguments)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    name, model = detectors.parse(options.detector)
    if model and options.model:
        raise UserError(f"--detector {options.detector} names its model already; leave --model out")
    detector = detectors.load(name, model or options.model, options.threads)
    images = data_set.load(options, report)
    with tqdm(images, total=len(images), unit="image", disable=None) as progress:
        count = detections_file.write(options.output, detect_all(detector, progress, report))
    print(f"{options.output}: {count} images, {detector.name}: {detector.settings}", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def detect_all(detector: Detector, images: Iterable[AnnotatedImage], report: Report) -> Iterator[ImageDetections]:
    """The detections in each image, all of them, whatever their score; images that do not decode go to the report."""
    warm = False
    for image in images:
        try:
            pixels = decode_image(image.encoded(), image.name)
        except UserError as error:
            report.problem(image.name, reason := str(error).removeprefix(f"{image.name}: "))
            yield ImageDetections(image.name, error=reason)
            continue
        if not warm:  # the first run also sets up memory and threads
            detect_one(detector, image, pixels)
            warm = True
        line = detect_one(detector, image, pixels)
        if line.error is not None:
            report.problem(image.name, f"{detector.name} failed: {line.error}")
        yield line


def detect_one(detector: Detector, image: AnnotatedImage, pixels: np.ndarray) -> ImageDetections:
    """The line of the detections file for an image; where the detector fails, whatever way, its error is in it."""
    try:
        faces, ms = detectors.timed(detector, pixels)
    except Exception as error:  # a detector is anybody's program, and the other images go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return ImageDetections(image.name, error=reason[:300])
    return ImageDetections(image.name, pixels.shape[1], pixels.shape[0], faces, ms)


if __name__ == "__main__":
    keep_stderr_for_python()
    run_command(main)
