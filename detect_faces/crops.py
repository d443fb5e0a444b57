"""Cuts the faces out of an image."""

import numpy as np

from detect_faces.faces import Faces


def crops(image: np.ndarray, faces: Faces, *, margin: float = 0.0, square: bool = False) -> list[np.ndarray]:
    """The part of the image that shows each face.

    >>> image = np.zeros((100, 200, 3), np.uint8)
    >>> faces = Faces([[50, 20, 70, 50], [190, 0, 200, 20]], [0.9, 0.8])
    >>> [crop.shape for crop in crops(image, faces)]
    [(30, 20, 3), (20, 10, 3)]
    >>> [crop.shape for crop in crops(image, faces, margin=0.5, square=True)]
    [(60, 60, 3), (40, 40, 3)]

    Args:
        image: (H, W) or (H, W, C), in which the faces were found.
        faces: in pixels of the image, N of them.
        margin, square: as of crop_boxes.

    Returns:
        N copies (h, w) or (h, w, C) of at least one pixel, in the order of the faces.
    """
    height, width = image.shape[:2]
    boxes = crop_boxes(faces.xyxy, width, height, margin=margin, square=square)
    return [image[y_min:y_max, x_min:x_max].copy() for x_min, y_min, x_max, y_max in boxes]


def crop_boxes(xyxy: np.ndarray, width: int, height: int, *, margin: float = 0.0, square: bool = False) -> np.ndarray:
    """Where to cut: boxes of whole pixels, inside the image and never empty.

    >>> crop_boxes([[10.4, 20, 30, 50]], 100, 100).tolist()
    [[10, 20, 30, 50]]
    >>> crop_boxes([[10.4, 20, 30, 50]], 100, 100, margin=0.5, square=True).tolist()
    [[0, 5, 60, 65]]

    Args:
        xyxy: (N, 4), (x_min, y_min, x_max, y_max) in pixels.
        width, height: of the image in pixels.
        margin: to add on every side, as a part of the box's width (left and right) and height (top and bottom).
        square: as wide as high: the longer side, around the same centre; at the border it is moved into the image, and
            it is never larger than the image's shorter side, so that it shows the image and nothing else.

    Returns:
        (N, 4) int, (x_min, y_min, x_max, y_max), the lower right corner exclusive.
    """
    xyxy = np.asarray(xyxy, np.float64).reshape(-1, 4)
    limit = np.array([width, height])
    centres, sizes = (xyxy[:, :2] + xyxy[:, 2:]) / 2, np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0) * (1 + 2 * margin)
    if square:
        side = np.rint(sizes.max(axis=1, initial=0)).clip(1, limit.min())[:, None]
        low = np.rint(centres - side / 2).clip(0, limit - side)
        return np.hstack([low, low + side]).astype(int)
    # Every pixel that the box touches, but for rounding in the last digits.
    low = np.floor(centres - sizes / 2 + 0.01).clip(0, limit - 1)
    high = np.ceil(centres + sizes / 2 - 0.01).clip(low + 1, limit)
    return np.hstack([low, high]).astype(int)
