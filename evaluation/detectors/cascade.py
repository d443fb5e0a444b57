"""OpenCV's Haar cascades for frontal faces, with the settings that its tutorials use."""

from pathlib import Path

import cv2
import numpy as np

from detect_faces import Faces, UserError
from detect_faces.haar import FEWEST_NEIGHBORS, MIN_NEIGHBORS, MIN_SIZE, SCALE_FACTOR, Haar


class Cascade:
    """A cascade, with the number of windows that show a face as its score (detect_faces.haar)."""

    def __init__(self, path: Path):
        self._haar = Haar(path)
        self.name, self.min_score = self._haar.name, self._haar.min_score
        self.files = (path,)
        self.settings = (
            f"OpenCV's {path.name}, scaleFactor {SCALE_FACTOR}, "
            f"minNeighbors {MIN_NEIGHBORS} (of the curve {FEWEST_NEIGHBORS}), minSize {MIN_SIZE}"
        )

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        return Faces(*self._haar.find(image_bgr, min_score))


def load(model: str | None, threads: int) -> Cascade:
    """`model` is "default", "alt2", or another XML file; the number of threads is OpenCV's."""
    path = Path(model or "default")
    if path.suffix != ".xml":
        path = Path(cv2.data.haarcascades) / f"haarcascade_frontalface_{path}.xml"
    if not path.is_file():
        raise UserError(f"{path}: no such cascade; give default, alt, alt2, alt_tree or the path of an .xml file")
    return Cascade(path)
