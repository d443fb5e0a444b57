"""Detector: runs an exported model with LiteRT on one image at a time."""

import os
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from detect_faces.errors import UserError
from detect_faces.faces import Faces
from detect_faces.model import Model, load_model
from detect_faces.nms import non_max_suppression
from detect_faces.preprocessing import network_input
from detect_faces.tflite_file import gate

SIGNATURE = "detect"


class Detector:
    """A loaded model. Load it once and use it for many images; one thread may use it at a time.

    Attributes:
        model: the description that came with the network.
        threads: how many the network runs on.
    """

    def __init__(self, model_path: str | Path, threads: int | None = None):
        """Loads a model.

        Args:
            model_path: the folder of an exported model, or the path of its model.json.
            threads: for the network; by default as many as this process may use CPUs, but no more than 4.

        Raises:
            UserError: the model is missing, damaged, of another kind, or with operations that the gate refuses.
        """
        self.model: Model = load_model(model_path)
        self.threads = threads or min(4, len(os.sched_getaffinity(0)))
        gate(self.model.tflite)
        try:
            # By path, so that LiteRT maps the file into memory instead of reading it.
            interpreter = Interpreter(model_path=str(self.model.tflite), num_threads=self.threads)
            self._run = interpreter.get_signature_runner(SIGNATURE)
            input_shape = tuple(self._run.get_input_details()["image"]["shape"].tolist())
            outputs = set(self._run.get_output_details())
        except (ValueError, RuntimeError, KeyError, TypeError) as error:  # TypeError: a name that is no text
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{self.model.tflite}: not a face detector of this project: {reason}") from error
        if input_shape != (1, self.model.height, self.model.width, 3) or not {"boxes", "scores"} <= outputs:
            raise UserError(
                f"{self.model.tflite}: takes {input_shape} and gives {', '.join(sorted(outputs))}, which is not what "
                "model.json says; export the model again"
            )

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        """Finds the faces in an image.

        Args:
            image_bgr: (H, W, 3) uint8, as cv2.imread gives.
            min_score: leave out lower scores; `detector.model.min_score` leaves what is worth showing. The same as
                `.at_least(min_score)` on all detections, and faster: fewer boxes go into their suppression.

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
        model = self.model
        pixels, (width, height) = network_input(image_bgr, model)
        output = self._run(image=pixels)
        boxes, scores = output["boxes"][0], output["scores"][0]  # (N, 4) yxyx in 0..1 of the network's input, (N,)

        candidates = (scores > np.float32(model.score_threshold)) & (scores >= np.float32(min_score))
        candidates &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores = boxes[candidates], scores[candidates]
        kept = non_max_suppression(boxes, scores, model.iou_threshold, model.max_detections)
        boxes, scores = boxes[kept], scores[kept]

        # Of the padded input -> of the image's part of it, clipped to that -> pixels of the image.
        boxes = boxes * np.array([model.height / height, model.width / width] * 2, np.float32)
        boxes = boxes.clip(0, 1)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Faces.from_yxyx(boxes[visible], scores[visible], image_bgr.shape[1], image_bgr.shape[0])
