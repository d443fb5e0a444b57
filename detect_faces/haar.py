"""OpenCV's Haar cascades for frontal faces, behind the interface of the other detectors.

A cascade (Viola and Jones, 2001) looks at windows of every size and gives no score. But it finds a face in several
windows next to each other, and OpenCV tells how many. `minNeighbors` is a threshold on that number n, so it is the
score as well: n / (n + 4), which is 0.5 for the fewest that minNeighbors=3 lets through. Down to two windows, its curve
is better than with minNeighbors=3 and the "level weights" of the last stage as scores: on 200 images of WIDER FACE
alt2's AP50 is .176 in place of .153, more by .009 to .027 at 95 %; with these weights and minNeighbors=1 it is .172.
"""

import threading
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError

FILES = {"haar": "haarcascade_frontalface_default.xml", "haar_alt2": "haarcascade_frontalface_alt2.xml"}
SCALE_FACTOR = 1.1  # as OpenCV's tutorials have it
MIN_NEIGHBORS = 3
FEWEST_NEIGHBORS = 1  # of the curve
MIN_SIZE = 20  # pixels; the windows that the cascades were trained on are 20 or 24


class Haar:
    """A cascade. Several threads may use it: they take turns.

    Attributes:
        min_score: that of the fewest windows that MIN_NEIGHBORS lets through.
        input_side: None, it looks at every size.
    """

    name: str
    min_score = 0.5
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
        """What detectMultiScale finds in an image, with scores; from min_score on, exactly that of MIN_NEIGHBORS.

        Args:
            image_bgr: (H, W, 3) uint8.
            min_score: leave out lower scores.
            suppress: makes no difference, a cascade always groups its windows.

        Returns:
            Boxes (N, 4) float32 xyxy in pixels of the image, and scores (N,).
        """
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        neighbors = MIN_NEIGHBORS if min_score >= self.min_score else FEWEST_NEIGHBORS
        with self._turn:
            boxes, windows = self._classifier.detectMultiScale2(
                grey, SCALE_FACTOR, neighbors, minSize=(MIN_SIZE, MIN_SIZE)
            )
        xywh = np.reshape(boxes, (-1, 4)).astype(np.float32)
        windows = np.reshape(windows, -1).astype(np.float32)
        scores = windows / (windows + MIN_NEIGHBORS + 1)  # it takes more than minNeighbors
        good = scores >= np.float32(min_score)
        return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])[good], scores[good]
