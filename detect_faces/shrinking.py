"""Makes large pictures smaller before a network does, which would leave most of their pixels out.

A network's input is made by TensorFlow's bilinear resizing, as in its training; that reads at most four pixels for each
one of the input. In pictures much larger than those it was trained on, faces become grainy. Means over the pixels keep
what is there: benchmarks/README.md has what that gains.
"""

import cv2
import numpy as np

from detect_faces.detector import Detector
from detect_faces.faces import Faces

ENOUGH = 2  # times the network's input: more is not needed
FACTORS = (8, 4, 2)  # as JPEGs are decoded smaller


def enough_side(detector: Detector, input_size: int | None) -> int:
    """Pixels that the longer side of a picture should keep for a detector; 0 where it needs all there are.

    Args:
        detector: what is known of its input decides: a cascade looks at every size, and tiles are parts of the whole.
        input_size: in place of the model's own, as it was loaded.
    """
    if detector.tile or detector.model is None:
        return 0
    return ENOUGH * (input_size or max(detector.model.width, detector.model.height))


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The image at 1/2, 1/4 or 1/8 if its longer side then still has `side` pixels; itself if not, or if side is 0.

    Args:
        image: (H, W, 3) uint8.
        side: as of enough_side.
    """
    height, width = image.shape[:2]
    for factor in FACTORS:
        if side and max(height, width) >= side * factor:
            size = (max(1, width // factor), max(1, height // factor))
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def in_pixels_of(faces: Faces, image: np.ndarray, width: int, height: int) -> Faces:
    """Faces found in an image of a picture, in pixels of the picture.

    Args:
        faces: in pixels of the image.
        image: (H, W, 3), which shows the whole picture.
        width, height: of the picture.
    """
    if (width, height) == image.shape[1::-1]:
        return faces
    x, y = width / image.shape[1], height / image.shape[0]
    return Faces(faces.xyxy * [x, y, x, y], faces.scores)
