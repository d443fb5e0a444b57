"""A part of an image, cut out and resized in one go by OpenCV; where it reaches beyond the image it is grey."""

from collections.abc import Sequence

import cv2
import numpy as np

GREY = 127  # the OD API pads with mid grey, too


def cut_out(image: np.ndarray, offset: Sequence[int], extent: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The part of an image from `offset` on, of `extent`, resized to `size`.

    In TensorFlow's v1 coordinates, as the OD API resizes: pixel i of the output lies at i * (in / out), to the 32nd of
    a pixel, which is what OpenCV computes in. That is ten times as fast as to the last bit.

    Args:
        image: (H, W, 3) uint8.
        offset: (y, x) in pixels of the image; below 0 the part begins beyond it.
        extent: (height, width) in pixels of the image.
        size: (height, width) of the result.
    """
    (y, x), (height, width) = offset, size
    matrix = np.float32([[extent[1] / width, 0, x], [0, extent[0] / height, y]])
    inside = y >= 0 and x >= 0 and y + extent[0] <= image.shape[0] and x + extent[1] <= image.shape[1]
    return cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT,
        borderValue=(GREY,) * 3,
    )
