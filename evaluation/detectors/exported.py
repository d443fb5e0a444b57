"""An exported model, run as the command detect-faces runs it; by TensorFlow where no TFLite could be made of it."""

from pathlib import Path

import numpy as np

import detect_faces
from detect_faces import Faces, UserError
from evaluation.detectors import Detector, graph


class ExportedModel:
    """The model of a folder exported-models/<run>."""

    def __init__(self, folder: str, threads: int):
        self._detector = detect_faces.Detector(folder, threads=threads)
        model = self._detector.model
        self.name = model.name
        self.min_score = model.min_score
        path = Path(folder)
        self.files = (model.tflite, path if path.is_file() else model.tflite.with_name("model.json"))
        self.settings = f"{model.tflite.name}, LiteRT, {model.width} x {model.height}, min_score {model.min_score:g}"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        return self._detector.detect(image_bgr, min_score)


def load(model: str | None, threads: int) -> Detector:
    """`model` is the folder."""
    if model is None:
        raise UserError(
            "the detector exported needs its folder: exported=FOLDER, such as exported=exported-models/demo"
        )
    if not (Path(model) / "model.json").exists() and (Path(model) / "saved_model").is_dir():  # of two stages
        return graph.load(str(Path(model) / "saved_model"), threads)
    return ExportedModel(model, threads)
