"""OpenCV's Haar cascades for frontal faces, behind the interface of the other detectors.

A cascade (Viola and Jones, 2001) looks at windows of every size and gives no score; its last stage does, the "level
weight", which OpenCV hands out on demand. It is any real number, of another range for each cascade. As a score it goes
through 1 / (1 + exp(-weight / 10)), which keeps the order, all that a precision-recall curve depends on.
"""

import threading
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError

FILES = {"haar": "haarcascade_frontalface_default.xml", "haar_alt2": "haarcascade_frontalface_alt2.xml"}
SCALE_FACTOR = 1.1  # as OpenCV's tutorials have it
MIN_NEIGHBORS = 3
MIN_SIZE = 20  # pixels; the windows that the cascades were trained on are 20 or 24


class Haar:
    """A cascade. Several threads may use it: they take turns.

    Attributes:
        min_score: whoever uses a cascade takes all that it returns.
        input_side: None, it looks at every size.
    """

    name: str
    min_score = 0.0
    score_threshold = 0.0
    iou_threshold = 0.3  # of tiles only: the cascade groups what it finds in one picture itself
    input_side = None

    def __init__(self, path: str | Path):
        """Loads a cascade.

        Args:
            path: one of the names in FILES, which come with OpenCV, or another XML file.

        Raises:
            UserError: no such file, not a cascade, or an OpenCV without them.
        """
        self.path = Path(path)
        if str(path) in FILES:
            # OpenCV 5 has neither the class nor the files.
            if not hasattr(cv2, "CascadeClassifier") or not hasattr(cv2, "data"):
                raise UserError(f"OpenCV {cv2.__version__} has no cascades; install opencv-python below 5")
            self.path = Path(cv2.data.haarcascades, FILES[str(path)])
        if not self.path.is_file():
            raise UserError(f"{path}: no such cascade; give {', '.join(FILES)} or the path of an .xml file")
        self.name = f"Haar {self.path.stem.removeprefix('haarcascade_frontalface_')}"
        try:
            self._classifier = cv2.CascadeClassifier(str(self.path))
            empty = self._classifier.empty()
        except (cv2.error, SystemError):
            empty = True
        if empty:
            raise UserError(f"{self.path}: not a cascade that OpenCV can read")
        self._turn = threading.Lock()

    def find(self, image_bgr: np.ndarray, min_score: float, *, suppress: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """What detectMultiScale finds in an image, with scores.

        Args:
            image_bgr: (H, W, 3) uint8.
            min_score: leave out lower scores.
            suppress: makes no difference, a cascade always groups its windows.

        Returns:
            Boxes (N, 4) float32 xyxy in pixels of the image, and scores (N,).
        """
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        with self._turn:
            # The same boxes as detectMultiScale gives; outputRejectLevels adds the weights.
            boxes, _, weights = self._classifier.detectMultiScale3(
                grey, SCALE_FACTOR, MIN_NEIGHBORS, minSize=(MIN_SIZE, MIN_SIZE), outputRejectLevels=True
            )
        xywh = np.reshape(boxes, (-1, 4)).astype(np.float32)
        scores = 1 / (1 + np.exp(-np.reshape(weights, -1).astype(np.float64) / 10))
        good = scores >= min_score
        return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])[good], scores[good].astype(np.float32)
