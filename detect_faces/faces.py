"""Faces: the one value type for what a detector found in an image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces found in one image, best score first.

    Attributes:
        xyxy: (N, 4) float32, (x_min, y_min, x_max, y_max) in pixels of the upright image, x to the right, y down.
        scores: (N,) float32 in 0..1.
    """

    xyxy: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        xyxy = np.asarray(self.xyxy, np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, np.float32).reshape(-1)
        if len(xyxy) != len(scores):
            raise ValueError(f"{len(xyxy)} boxes but {len(scores)} scores")
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "xyxy", xyxy[order])
        object.__setattr__(self, "scores", scores[order])

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> "Faces":
        return cls(np.zeros((0, 4)), np.zeros(0))

    @classmethod
    def from_yxyx(cls, yxyx: np.ndarray, scores: np.ndarray, width: int, height: int) -> "Faces":
        """From TensorFlow's boxes: yxyx (N, 4), (y_min, x_min, y_max, x_max) in 0..1 of an image of width x height."""
        yxyx = np.asarray(yxyx, np.float32).reshape(-1, 4)
        return cls(yxyx[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32), scores)

    def at_least(self, score: float) -> "Faces":
        """Those whose score is `score` or higher."""
        return self.select(self.scores >= score)

    def select(self, index: np.ndarray) -> "Faces":
        """Those that a boolean mask (N,) or an array of positions picks."""
        return Faces(self.xyxy[index], self.scores[index])
