"""OpenCV's Haar cascades for frontal faces, with the settings that its tutorials use."""

from pathlib import Path

import cv2
import numpy as np

from detect_faces import Faces, UserError

SCALE_FACTOR = 1.1
MIN_NEIGHBORS = 3
MIN_SIZE = 20  # pixels; the windows that the cascades were trained on are 20 or 24


class Cascade:
    """A cascade, with the sum of the last stage ("level weight") as its score.

    The weight is any real number, of another range for each cascade. As a score it goes through
    1 / (1 + exp(-weight / 10)), which keeps the order, all that a precision-recall curve depends on.
    """

    min_score = 0.0  # who uses a cascade takes all that it returns

    def __init__(self, path: Path):
        self._classifier = cv2.CascadeClassifier(str(path))
        if self._classifier.empty():
            raise UserError(f"{path}: not a cascade that OpenCV can read")
        self.files = (path,)
        self.name = f"Haar {path.stem.removeprefix('haarcascade_frontalface_')}"
        self.settings = (
            f"OpenCV's {path.name}, scaleFactor {SCALE_FACTOR}, minNeighbors {MIN_NEIGHBORS}, minSize {MIN_SIZE}"
        )

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        # The same boxes as detectMultiScale gives; outputRejectLevels adds the weights.
        boxes, _, weights = self._classifier.detectMultiScale3(
            grey, SCALE_FACTOR, MIN_NEIGHBORS, minSize=(MIN_SIZE, MIN_SIZE), outputRejectLevels=True
        )
        xywh = np.reshape(boxes, (-1, 4))
        weights = np.reshape(weights, -1).astype(np.float64)
        faces = Faces(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), 1 / (1 + np.exp(-weights / 10)))
        return faces.at_least(min_score)


def load(model: str | None, threads: int) -> Cascade:
    """`model` is "default", "alt2", or another XML file; the number of threads is OpenCV's own setting."""
    cv2.setNumThreads(threads)
    path = Path(model or "default")
    if path.suffix != ".xml":
        path = Path(cv2.data.haarcascades) / f"haarcascade_frontalface_{path}.xml"
    if not path.is_file():
        raise UserError(f"{path}: no such cascade; give default, alt, alt2, alt_tree or the path of an .xml file")
    try:
        return Cascade(path)
    except (cv2.error, SystemError) as error:
        raise UserError(f"{path}: not a cascade that OpenCV can read") from error
