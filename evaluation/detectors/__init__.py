"""Detectors by name: one module each. Another detector is one more file: here with its name in NAMES, or anywhere.

A detector is named as NAME, NAME=MODEL, FILE.py or FILE.py=MODEL. Each module or file has

    load(model: str | None, threads: int) -> Detector
        model: what stands behind the =, in the detector's own terms; None for its default.
        Raises UserError when the model, or the package that runs it, is not there.

which is all there is to a detector of one's own:

    import cv2
    import numpy as np
    from detect_faces import Faces

    class Middle:
        name, settings, min_score, files = "middle", "always the middle of the image", 0.5, ()

        def detect(self, image_bgr, min_score=0.0):
            height, width = image_bgr.shape[:2]
            box = [0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]
            return Faces([box], [0.9]).at_least(min_score)

    def load(model, threads):
        return Middle()
"""

import argparse
import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

import cv2
import numpy as np

from detect_faces import Faces, UserError

NAMES = ("cascade", "dlib_hog", "exported", "graph", "mediapipe", "mtcnn", "scrfd", "yunet")


class Detector(Protocol):
    """Something that finds faces.

    Attributes:
        name: as tables show it.
        settings: everything that its results depend on, in one line.
        min_score: the score from which on a user of it takes a detection for a face.
        files: of its model, or folders of them; empty where it has none, or they cannot be told.
    """

    name: str
    settings: str
    min_score: float
    files: Sequence[Path]

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
    return (detector.detect(image_bgr, 0.0) if detector.min_score else faces), ms


def load(name: str, model: str | None, threads: int) -> Detector:
    """The detector `name`, one of NAMES or the path of a Python file, ready to use.

    The number of threads is OpenCV's as well from now on, of which there is one for the whole process.
    """
    cv2.setNumThreads(threads)
    if name.endswith(".py"):
        return _checked(_from_file(name).load(model, threads), name)
    if name not in NAMES:
        raise UserError(f"unknown detector {name!r}; known are {', '.join(NAMES)}, and the path of a .py file")
    return importlib.import_module(f"evaluation.detectors.{name}").load(model, threads)


def parse(spec: str) -> tuple[str, str | None]:
    """NAME and MODEL of "NAME=MODEL" or "NAME".

    >>> parse("cascade=alt2"), parse("mtcnn")
    (('cascade', 'alt2'), ('mtcnn', None))
    """
    name, _, model = spec.partition("=")
    return name, model or None


def needs(package: str, install: str) -> ModuleType:
    """Imports the package that an optional detector runs on; UserError says how to get it.

    Args:
        package: the module to import.
        install: what pip takes.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "is not installed" if getattr(error, "name", None) == package else f"cannot be imported ({error})"
        raise UserError(f"the package {package} {reason}; .venv/bin/python -m pip install '{install}'") from error


def opencv_model(detector: str, model: str | None, read: Callable[[str], object], kind: str) -> tuple[Path, object]:
    """The path of an ONNX file, and what OpenCV makes of it. Raises UserError where it isn't there, or isn't one.

    Args:
        detector, model: NAME and MODEL.
        read: OpenCV's function that takes the path.
        kind: of the model, for the message.
    """
    path = model_file(detector, model, ".onnx")
    try:
        return path, read(str(path))
    except cv2.error as error:
        raise UserError(f"{path}: OpenCV cannot read it as {kind}") from error


def model_file(detector: str, model: str | None, suffix: str) -> Path:
    """The path of a model that has to be given. Raises UserError when it isn't, or isn't there."""
    if model is None:
        raise UserError(f"the detector {detector} needs its model: {detector}=FILE{suffix}")
    if not Path(model).is_file():
        raise UserError(f"{model}: no such file; the detector {detector} needs its model ({suffix})")
    return Path(model)


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


def _from_file(path: str) -> ModuleType:
    """The module in a file. It is a program, and it runs: whoever names it trusts it."""
    spec = importlib.util.spec_from_file_location(f"detector_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; give a detector's Python file") from error
    except Exception as error:  # whatever a program can do wrong
        raise UserError(f"{path}: does not run: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not callable(getattr(module, "load", None)):
        raise UserError(f"{path}: has no load(model, threads); evaluation/detectors/__init__.py says what it returns")
    return module


def _checked(detector: Detector, path: str) -> Detector:
    missing = [name for name in ("name", "settings", "min_score", "files", "detect") if not hasattr(detector, name)]
    if missing:
        raise UserError(f"{path}: its detector has no {', '.join(missing)}")
    return detector
