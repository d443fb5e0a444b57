"""Boxes out of what a network says of its anchors, where the network leaves that to whoever runs it.

An 8-bit network does: 256 steps are enough for how far a box is from its anchor, and not for where it is in an image.
Source: Ren et al., Faster R-CNN (2015), section 3.1.2, as the OD API's box_coders/faster_rcnn_box_coder.py scales it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# An exponent of 88 is the largest in float32; no box is e^10 times its anchor.
_LARGEST = 10.0


@dataclass(frozen=True)
class Grid:
    """Anchors of one layer: every shape at every cell. All in pixels of the network's input.

    Attributes:
        cells: (rows, columns).
        offset: (y, x) of the first cell's centre.
        stride: (y, x) from one cell's centre to the next.
        shapes: (height, width) of each anchor of a cell.
    """

    cells: tuple[int, int]
    offset: tuple[float, float]
    stride: tuple[float, float]
    shapes: tuple[tuple[float, float], ...]

    def __len__(self) -> int:
        """The number of anchors."""
        return self.cells[0] * self.cells[1] * len(self.shapes)


@dataclass(frozen=True)
class BoxDecoding:
    """How boxes come out of encodings.

    Attributes:
        scales: what the encodings of y, x, height and width were multiplied by.
        grids: of each input size (width, height) the layers, in the network's order.
    """

    scales: tuple[float, float, float, float]
    grids: Mapping[tuple[int, int], Sequence[Grid]]


class BoxDecoder:
    """Decodes the encodings of one input size."""

    def __init__(self, decoding: BoxDecoding, input_size: tuple[int, int]):
        """Lays the anchors out for an input of (width, height)."""
        width, height = input_size
        anchors = np.concatenate([_anchors(grid) for grid in decoding.grids[input_size]])
        self._anchors = (anchors / (height, width, height, width)).astype(np.float32)
        self._scales = np.float32(decoding.scales)

    def __call__(self, encodings: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The boxes of some anchors.

        Args:
            encodings: (N, 4), of all anchors.
            chosen: (K,) their numbers.

        Returns:
            (K, 4) float32 yxyx in 0..1 of the input, not clipped.
        """
        anchors, encoded = self._anchors[chosen], encodings[chosen] / self._scales
        centres = anchors[:, :2] + encoded[:, :2] * anchors[:, 2:]
        halves = np.exp(np.minimum(encoded[:, 2:], _LARGEST)) * anchors[:, 2:] / 2
        return np.concatenate([centres - halves, centres + halves], axis=1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Scores in 0..1, float32."""
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80, dtype=np.float32)))


def logit(score: float) -> float:
    """The inverse of `sigmoid`, of one score below 1; -inf of 0 and less.

    >>> logit(0.5), round(logit(0.9), 3), logit(0)
    (0.0, 2.197, -inf)
    """
    return math.log(score / (1 - score)) if score > 0 else -math.inf


def _anchors(grid: Grid) -> np.ndarray:
    """(rows * columns * shapes, 4) float64: the centre's y and x, height, width; row by row, cell by cell."""
    y, x = (grid.offset[axis] + grid.stride[axis] * np.arange(grid.cells[axis]) for axis in (0, 1))
    anchors = np.empty((len(y), len(x), len(grid.shapes), 4))
    anchors[..., 0], anchors[..., 1] = y[:, None, None], x[:, None]
    anchors[..., 2:] = grid.shapes
    return anchors.reshape(-1, 4)
