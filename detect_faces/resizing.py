"""Images, and parts of them, brought to the size of a network's input.

By means: where an image becomes smaller, each pixel is the mean of those it stands for, and everything stays where it
is. As the graph does it: bilinearly with the coordinates of TensorFlow's v1, which the Object Detection API resizes
with. That reads at most four pixels for each one of the output, so that small faces become grainy; and it moves what
is in the image, by up to half a pixel of the input in reducing it and by more in enlarging it, away from its boxes.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

_LONGEST = 2**15 - 2  # the longest side that OpenCV's warpAffine takes
_MOST_SAMPLES = 8  # along an axis: of all that lies in a pixel where it is 16 times smaller; memory grows with them


def resize_by_means(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image (H, W, 3) uint8 as (height, width, 3) uint8; enlarged, it is interpolated bilinearly.

    The means are those of samples, see `_samples`: with exact ones detectors found as much, and they took five times
    as long.
    """
    if image.shape[:2] == (height, width):
        return image
    fine = np.multiply((height, width), _samples(image.shape[:2], (height, width)))
    return _means(cv2.resize(image, fine[::-1].tolist(), interpolation=cv2.INTER_LINEAR), (height, width))


def resize_as_graph(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image (H, W, 3) uint8 as (height, width, 3) uint8, as the graph of a checkpoint resizes it.

    Pixel i of the output lies at i * (in / out) of the input, as in
    `tf.compat.v1.image.resize_bilinear(align_corners=False, half_pixel_centers=False)`. OpenCV computes it to the 32nd
    of a pixel and in whole numbers, ten times as fast as to the last bit.
    """
    step = np.divide(image.shape[:2], (height, width))
    return _sampled(image, np.zeros(2), step, (height, width), None)


def resize_part(
    image: np.ndarray, offset: Sequence[int], extent: Sequence[int], size: tuple[int, int], beyond: int
) -> np.ndarray:
    """The part of an image from `offset` on, of `extent`, resized to `size` by means.

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
    fine = np.multiply(size, _samples(extent, size))
    step = np.divide(extent, fine)
    sampled = _sampled(image, first + (step - 1) / 2, step, tuple(fine.tolist()), None if inside else beyond)
    return _means(sampled, size)


def _samples(extent: Sequence[int], size: Sequence[int]) -> list[int]:
    """How many samples along each axis make a pixel of the result: where it is smaller two or more.

    Up to _MOST_SAMPLES they lie no more than two pixels apart: interpolated between its neighbours, each pixel counts.
    """
    steps = [length / pixels for length, pixels in zip(extent, size, strict=True)]
    return [min(max(2, math.ceil(step / 2)), _MOST_SAMPLES) if step > 1 else 1 for step in steps]


def _means(sampled: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if sampled.shape[:2] == size:
        return sampled
    return cv2.resize(sampled, size[::-1], interpolation=cv2.INTER_AREA)


def _sampled(
    image: np.ndarray, first: np.ndarray, step: np.ndarray, size: tuple[int, int], beyond: int | None
) -> np.ndarray:
    """An image (H, W, 3) uint8, interpolated at `first`, `first` + `step`, ... (y, x): as many as `size` says.

    Beyond its border is its last pixel, or what is `beyond`.
    """
    thinned = np.ones(2, int)
    if max(image.shape[:2]) > _LONGEST:
        # What is needed of it; where that is still too long it becomes so small that every second pixel will do.
        start = np.maximum(np.floor(first).astype(int), 0)
        end = np.ceil(first + step * size).astype(int)
        image = image[start[0] : end[0] + 1, start[1] : end[1] + 1]
        first = first - start
        thinned = -(-np.array(image.shape[:2]) // _LONGEST)
        image = np.ascontiguousarray(image[:: thinned[0], :: thinned[1]])
    matrix = np.array([[step[1], 0, first[1]], [0, step[0], first[0]]]) / thinned[::-1, None]
    return cv2.warpAffine(
        image,
        matrix,
        size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if beyond is None else cv2.BORDER_CONSTANT,
        borderValue=(beyond or 0,) * 3,
    )
