"""An exported model as a whole: the image into the network's input, and its candidates into boxes in the image."""

from pathlib import Path

import numpy as np

from detect_faces.model import Model, load_model
from detect_faces.network import Network
from detect_faces.nms import non_max_suppression
from detect_faces.preprocessing import network_input


class ExportedModel:
    """The model of a folder with model.json and model.tflite, run by LiteRT.

    Attributes:
        description: what model.json says.
        input_side: the longer side of the network's input in pixels.
    """

    def __init__(self, path: str | Path, threads: int, input_size: int | None = None, *, as_graph: bool = False):
        """Loads a model.

        Args:
            path: its folder, or its model.json.
            threads: to run on.
            input_size: side of a square input in place of the model's own.
            as_graph: resize images as the OD API's graph does, whatever the model says.

        Raises:
            UserError: the model is missing, damaged, of another kind, refused by the gate, or takes no such input.
        """
        self.description: Model = load_model(path)
        self._network = Network(self.description, threads, (input_size, input_size) if input_size else None)
        self._as_graph = as_graph
        self.name = self.description.name
        self.min_score = self.description.min_score
        self.score_threshold = self.description.score_threshold
        self.iou_threshold = self.description.iou_threshold
        self.input_side = max(self._network.width, self._network.height)

    def find(self, image_bgr: np.ndarray, min_score: float, *, suppress: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """What the network finds in an image.

        Args:
            image_bgr: (H, W, 3) uint8.
            min_score: leave out lower scores, and those up to the model's score_threshold.
            suppress: keep one box for each face; False gives all candidates, to be merged with others.

        Returns:
            Boxes (N, 4) float32 xyxy in pixels of the image, and scores (N,). Boxes may reach beyond the image, or lie
            outside it.
        """
        model, network = self.description, self._network
        pixels, (width, height) = network_input(
            image_bgr, model, (network.width, network.height), as_graph=self._as_graph
        )
        boxes, scores = network.candidates(pixels, model.score_threshold, min_score)
        whole = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores = boxes[whole], scores[whole]
        if suppress:
            # In the input's coordinates and before anything is clipped, as the graph of the checkpoint does it.
            kept = non_max_suppression(boxes, scores, model.iou_threshold, model.max_detections)
            boxes, scores = boxes[kept], scores[kept]
        # Of the padded input -> of the image's part of it -> pixels of the image.
        to_part = np.array([network.width / width, network.height / height] * 2, np.float32)
        to_pixels = np.array(image_bgr.shape[1::-1] * 2, np.float32)
        return boxes[:, [1, 0, 3, 2]] * to_part * to_pixels, scores
