"""Images, and parts of them, resized bilinearly with the coordinates that the Object Detection API resizes with.

Those of TensorFlow's v1: pixel i of the output lies at i * (in / out) of the input, as in
`tf.compat.v1.image.resize_bilinear(align_corners=False, half_pixel_centers=False)`. Nothing is averaged when an image
becomes smaller: at most four pixels are read for each one of the output. OpenCV computes it to the 32nd of a pixel and
in whole numbers, ten times as fast as to the last bit.
"""

from collections.abc import Sequence

import cv2
import numpy as np

_LONGEST = 2**15 - 2  # the longest side that OpenCV's warpAffine takes


def resize_bilinear(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image (H, W, 3) uint8 as (height, width, 3) uint8."""
    return resize_part(image, (0, 0), image.shape[:2], (height, width), 0)


def resize_part(
    image: np.ndarray, offset: Sequence[int], extent: Sequence[int], size: tuple[int, int], beyond: int
) -> np.ndarray:
    """The part of an image from `offset` on, of `extent`, resized to `size`, in one go.

    Args:
        image: (H, W, 3) uint8.
        offset: (y, x) in pixels of the image; below 0 the part begins beyond it.
        extent: (height, width) in pixels of the image.
        size: (height, width) of the result.
        beyond: the grey level of what lies beyond the image.

    Returns:
        (height, width, 3) uint8.
    """
    first, last = np.array(offset), np.add(offset, extent)
    inside = (first >= 0).all() and (last <= image.shape[:2]).all()
    thinned = np.ones(2, int)
    if max(image.shape[:2]) > _LONGEST:
        # What is needed of it; where that is still too long it becomes so small that every second pixel will do.
        start = np.maximum(first, 0)
        image = image[start[0] : last[0] + 1, start[1] : last[1] + 1]
        first = first - start
        thinned = -(-np.array(image.shape[:2]) // _LONGEST)
        image = np.ascontiguousarray(image[:: thinned[0], :: thinned[1]])
    step = np.divide(extent, size)
    matrix = np.array([[step[1], 0, first[1]], [0, step[0], first[0]]]) / thinned[::-1, None]
    return cv2.warpAffine(
        image,
        matrix,
        size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT,
        borderValue=(beyond,) * 3,
    )
