"""Detectors by name: one module each. Another detector is one more file here and its name in NAMES.

Each module has

    load(model: str | None, threads: int) -> Detector
        model: what --model says, in the detector's own terms; None for its default.
        Raises UserError when the model, or the package that runs it, is not there.
"""

import argparse
import importlib
import os
import time
from typing import Protocol

import numpy as np

from detect_faces import Faces, UserError

NAMES = ("cascade", "exported")


class Detector(Protocol):
    """Something that finds faces.

    Attributes:
        name: as tables show it.
        settings: everything that its results depend on, in one line.
        min_score: the score from which on a user of it takes a detection for a face.
    """

    name: str
    settings: str
    min_score: float

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        """All detections in an image, (H, W, 3) uint8, with at least this score."""
        ...


def timed(detector: Detector, image_bgr: np.ndarray) -> tuple[Faces, float]:
    """All detections in an image, which metrics need for the whole curve, and milliseconds.

    The time is that of finding what a user of the detector would be shown, from its own min_score on.
    """
    start = time.perf_counter()
    faces = detector.detect(image_bgr, detector.min_score)
    ms = 1000 * (time.perf_counter() - start)
    return (detector.detect(image_bgr) if detector.min_score else faces), ms


def load(name: str, model: str | None, threads: int) -> Detector:
    """The detector `name`, ready to use."""
    if name not in NAMES:
        raise UserError(f"unknown detector {name!r}; known are {', '.join(NAMES)}")
    return importlib.import_module(f"evaluation.detectors.{name}").load(model, threads)


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Adds --threads, for whatever a detector runs on."""
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        choices=range(1, 65),
        metavar="N",
        help="of the detector [%(default)s]",
    )
