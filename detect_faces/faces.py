"""Faces: the one value type for what a detector found in an image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces found in one image, best score first. Every method leaves it as it is and returns another.

    >>> faces = Faces([[10, 20, 30, 50], [100, 40, 180, 140]], [0.6, 0.9])
    >>> len(faces), faces.scores.tolist() == sorted(faces.scores, reverse=True)
    (2, True)
    >>> for box, score in faces:
    ...     print(box.round().astype(int).tolist(), f"{score:.1f}")
    [100, 40, 180, 140] 0.9
    [10, 20, 30, 50] 0.6

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

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Pairs of a box, (4,) xyxy, and its score, best first."""
        return zip(self.xyxy, self.scores.tolist(), strict=True)

    @classmethod
    def empty(cls) -> "Faces":
        """No faces."""
        return cls(np.zeros((0, 4)), np.zeros(0))

    @classmethod
    def from_yxyx(cls, yxyx: np.ndarray, scores: np.ndarray, width: int, height: int) -> "Faces":
        """From TensorFlow's boxes: yxyx (N, 4), (y_min, x_min, y_max, x_max) in 0..1 of an image of width x height."""
        yxyx = np.asarray(yxyx, np.float32).reshape(-1, 4)
        return cls(yxyx[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32), scores)

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) float32, width and height of each box in pixels.

        >>> Faces([[10, 20, 30, 50]], [0.6]).sizes.tolist()
        [[20.0, 30.0]]
        """
        return self.xyxy[:, 2:] - self.xyxy[:, :2]

    def at_least(self, score: float) -> "Faces":
        """Those whose score is `score` or higher."""
        return self.select(self.scores >= score)

    def min_size(self, pixels: float) -> "Faces":
        """Those that are at least so many pixels wide and high."""
        return self.select((self.sizes >= pixels).all(axis=1))

    def best(self, count: int) -> "Faces":
        """The `count` with the highest scores."""
        return self.select(np.arange(min(count, len(self))))

    def largest(self, count: int = 1) -> "Faces":
        """The `count` with the largest area, best score first as always; the better one of two of the same size.

        >>> Faces([[0, 0, 9, 9], [0, 0, 50, 60], [0, 0, 20, 20]], [0.9, 0.5, 0.7]).largest().xyxy.tolist()
        [[0.0, 0.0, 50.0, 60.0]]
        """
        return self.select(np.sort(np.argsort(-self.sizes.prod(axis=1), kind="stable")[:count]))

    def select(self, index: np.ndarray) -> "Faces":
        """Those that a boolean mask (N,) or an array of positions picks."""
        return Faces(self.xyxy[index], self.scores[index])

    def crops(self, image: np.ndarray, *, margin: float = 0.0, square: bool = False) -> list[np.ndarray]:
        """The part of the image that shows each face: see detect_faces.crops."""
        from detect_faces.crops import crops

        return crops(image, self, margin=margin, square=square)
