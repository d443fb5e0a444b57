"""SCRFD (insightface's face detector) through OpenCV's DNN module: `scrfd=scrfd_2.5g_kps.onnx`, no other package.

Its three levels give, for each cell and two anchors, a score and the distances from the cell to the sides of the box.
"""

import cv2
import numpy as np

from detect_faces import Faces
from detect_faces.nms import non_max_suppression
from evaluation.detectors import opencv_model

SIDE, STRIDES, ANCHORS = 640, (8, 16, 32), 2
NMS_IOU, MIN_SCORE = 0.4, 0.5  # insightface's own
LOWEST_SCORE = 0.02  # of the curve, as in its evaluation


class Scrfd:
    name = "SCRFD"
    min_score = MIN_SCORE

    def __init__(self, model: str | None):
        path, self._net = opencv_model("scrfd", model, cv2.dnn.readNetFromONNX, "an ONNX model")
        self._outputs = self._net.getUnconnectedOutLayersNames()
        self.files = (path,)
        self.settings = f"{path.name}, OpenCV {cv2.__version__} DNN, long side {SIDE}, NMS {NMS_IOU}"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        scale = SIDE / max(image_bgr.shape[:2])
        small = cv2.resize(image_bgr, None, fx=scale, fy=scale)[:SIDE, :SIDE]
        square = np.zeros((SIDE, SIDE, 3), np.uint8)
        square[: small.shape[0], : small.shape[1]] = small
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 128, mean=(127.5, 127.5, 127.5), swapRB=True))
        arrays = [array.reshape(-1, array.shape[-1]) for array in self._net.forward(self._outputs)]
        sized = {array.shape: array for array in arrays}  # names differ between exports, shapes do not
        boxes, scores = [], []
        for stride in STRIDES:
            cells = np.mgrid[: SIDE // stride, : SIDE // stride][::-1].reshape(2, -1).T * stride
            centres = np.repeat(cells, ANCHORS, axis=0)  # (cells * anchors, 2): x, y
            distances = sized[len(centres), 4] * stride
            boxes.append(np.hstack([centres - distances[:, :2], centres + distances[:, 2:]]))
            scores.append(sized[len(centres), 1][:, 0])
        boxes, scores = np.concatenate(boxes), np.concatenate(scores)
        candidates = (scores >= max(min_score, LOWEST_SCORE)) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores = boxes[candidates].astype(np.float32), scores[candidates]
        kept = non_max_suppression(boxes, scores, NMS_IOU, len(boxes))
        return Faces(boxes[kept] / scale, scores[kept].clip(0, 1)).at_least(min_score)


def load(model: str | None, threads: int) -> Scrfd:
    """`model` is the ONNX file; the number of threads is OpenCV's."""
    return Scrfd(model)
