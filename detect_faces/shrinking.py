"""Makes large pictures smaller by whole factors, as JPEGs are decoded smaller: what is left is twice the input or more.

So what was decoded in full and what was not look alike to a network, and the rest of the way, to the size of its input
(see detect_faces.resizing), is short.
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
