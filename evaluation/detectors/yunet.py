"""YuNet through OpenCV's own class, as its model zoo publishes it: `yunet=face_detection_yunet_2023mar.onnx`.

Needs nothing but the model file. The image goes in at its own size; OpenCV pads it to a multiple of 32.
"""

import cv2
import numpy as np

from detect_faces import Faces
from evaluation.detectors import opencv_model

NMS_IOU = 0.3  # this and the three below are the defaults of cv2.FaceDetectorYN
TOP_K = 5000
MIN_SCORE = 0.9
LOWEST_SCORE = 0.01  # of the curve; below lie thousands of boxes that no threshold would let through


class YuNet:
    name = "YuNet"
    min_score = MIN_SCORE

    def __init__(self, model: str | None):
        path, self._net = opencv_model("yunet", model, _read, "a YuNet model")
        self.files = (path,)
        self.settings = f"{path.name}, OpenCV {cv2.__version__} FaceDetectorYN, original size, NMS {NMS_IOU}"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        self._net.setScoreThreshold(max(min_score, LOWEST_SCORE))
        self._net.setInputSize(image_bgr.shape[1::-1])
        _, rows = self._net.detect(image_bgr)  # (N, 15): x, y, width, height, five landmarks, score; None for none
        rows = np.zeros((0, 15), np.float32) if rows is None else rows
        return Faces(np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]), rows[:, 14].clip(0, 1)).at_least(min_score)


def _read(path: str) -> cv2.FaceDetectorYN:
    return cv2.FaceDetectorYN.create(path, "", (320, 320), LOWEST_SCORE, NMS_IOU, TOP_K)


def load(model: str | None, threads: int) -> YuNet:
    """`model` is the ONNX file; the number of threads is OpenCV's."""
    return YuNet(model)
