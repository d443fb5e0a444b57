"""A frozen graph (.pb) or a SavedModel, run by TensorFlow: `graph=frozen_inference_graph.pb`.

Needs TensorFlow, which this room does without: it is imported with the model, by detect_faces.
"""

from pathlib import Path

import numpy as np

from detect_faces import Detector, Faces, UserError


class Graph:
    def __init__(self, path: str, threads: int):
        self._detector = Detector(path, threads=threads, backend="tensorflow")
        self.name = f"{self._detector.name} (TensorFlow)"
        self.min_score = self._detector.min_score
        self.files = (Path(path),)
        self.settings = f"{Path(path).name}, TensorFlow, min_score {self.min_score:g}"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        return self._detector.detect(image_bgr, min_score)


def load(model: str | None, threads: int) -> Graph:
    """`model` is the .pb file or the folder."""
    if model is None:
        raise UserError("the detector graph needs its model: graph=FILE.pb, or the folder of a SavedModel")
    return Graph(model, threads)
