"""An exported model, run as the command detect-faces runs it."""

from pathlib import Path

import numpy as np

from detect_faces import Detector, Faces, UserError


class ExportedModel:
    """The model of a folder exported-models/<run>."""

    def __init__(self, folder: str, threads: int):
        self._detector = Detector(folder, threads=threads)
        model = self._detector.model
        self.name = model.name
        self.min_score = model.min_score
        path = Path(folder)
        self.files = (model.tflite, path if path.is_file() else path / "model.json")
        self.settings = f"{model.tflite.name}, LiteRT, {model.width} x {model.height}, min_score {model.min_score:g}"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        return self._detector.detect(image_bgr, min_score)


def load(model: str | None, threads: int) -> ExportedModel:
    """`model` is the folder."""
    if model is None:
        raise UserError(
            "the detector exported needs its folder: exported=FOLDER, such as exported=exported-models/demo"
        )
    return ExportedModel(model, threads)
