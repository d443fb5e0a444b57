"""Makes large pictures smaller before a network does, which would leave most of their pixels out.

A network's input is made by TensorFlow's bilinear resizing, as in its training; that reads at most four pixels for each
one of the input. In pictures much larger than those it was trained on, faces become grainy. Means over the pixels keep
what is there: benchmarks/README.md has what that gains.
"""

import cv2
import numpy as np

ENOUGH = 2  # times the network's input: more is not needed
FACTORS = (8, 4, 2)  # as JPEGs are decoded smaller


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The image at 1/2, 1/4 or 1/8 if its longer side then still has `side` pixels; itself if not, or if side is 0.

    Args:
        image: (H, W, 3) uint8.
        side: in pixels, such as that of Detector.enough_side.
    """
    height, width = image.shape[:2]
    for factor in FACTORS:
        if side and max(height, width) >= side * factor:
            size = (max(1, width // factor), max(1, height // factor))
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image
