"""Detector: runs an exported model with LiteRT on one image at a time."""

import os
from pathlib import Path

import numpy as np

from detect_faces.faces import Faces
from detect_faces.model import Model, load_model
from detect_faces.network import Network
from detect_faces.nms import non_max_suppression
from detect_faces.preprocessing import network_input


class Detector:
    """A loaded model. Load it once and use it for many images, from several threads if need be: they take turns.

    Attributes:
        model: the description that came with the network.
        threads: how many the network runs on.
    """

    def __init__(self, model: str | Path, *, threads: int | None = None, input_size: int | None = None):
        """Loads a model.

        Args:
            model: the folder of an exported model, or the path of its model.json.
            threads: for the network; by default as many as this process may use CPUs, but no more than 4.
            input_size: side of the network's input in pixels, for a model that takes any; None for its own.

        Raises:
            UserError: the model is missing, damaged, of another kind, with operations that the gate refuses, or takes
                no input of that size.
        """
        self.model: Model = load_model(model)
        self.threads = threads or min(4, len(os.sched_getaffinity(0)))
        self._network = Network(self.model, self.threads, (input_size, input_size) if input_size else None)

    def detect(self, image_bgr: np.ndarray, min_score: float | None = None) -> Faces:
        """Finds the faces in an image.

        Args:
            image_bgr: (H, W, 3) uint8, as cv2.imread gives.
            min_score: leave out lower scores; None for the model's own, which leaves what is worth showing, 0.0 for
                all that there is, as a precision-recall curve needs it. The same as `.at_least(min_score)` on all
                detections, and faster: fewer boxes go into their suppression.

        Returns:
            Faces with a score of at least min_score and above the model's score_threshold, in pixels of the image.

        Raises:
            ValueError: image_bgr is not such an array.
        """
        if getattr(image_bgr, "dtype", None) != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
            shape = getattr(image_bgr, "shape", type(image_bgr).__name__)
            raise ValueError(f"an image is (height, width, 3) uint8 in BGR order, not {shape}")
        if not image_bgr.size:
            raise ValueError("the image has no pixels")
        model, network = self.model, self._network
        pixels, (width, height) = network_input(image_bgr, model, (network.width, network.height))
        boxes, scores = self._network.candidates(pixels)
        min_score = model.min_score if min_score is None else min_score
        candidates = (scores > np.float32(model.score_threshold)) & (scores >= np.float32(min_score))
        candidates &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores = boxes[candidates], scores[candidates]
        kept = non_max_suppression(boxes, scores, model.iou_threshold, model.max_detections)
        boxes, scores = boxes[kept], scores[kept]

        # Of the padded input -> of the image's part of it, clipped to that -> pixels of the image.
        boxes = boxes * np.array([network.height / height, network.width / width] * 2, np.float32)
        boxes = boxes.clip(0, 1)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Faces.from_yxyx(boxes[visible], scores[visible], image_bgr.shape[1], image_bgr.shape[0])
