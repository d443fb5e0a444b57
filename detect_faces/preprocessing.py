"""From an image to the network's input, normalised as in the TensorFlow graph that the network was trained in."""

from typing import Literal, get_args

import cv2
import numpy as np

from detect_faces.model import Model
from detect_faces.resizing import resize_as_graph, resize_by_means

Channels = Literal["BGR", "RGB"]


def as_bgr(image: np.ndarray, channels: Channels = "BGR") -> np.ndarray:
    """An image as the detectors take it: (H, W, 3) uint8, BGR. What already is so comes back as it is.

    >>> as_bgr(np.array([[[255, 0, 0, 128]]], np.uint8), "RGB").tolist()
    [[[0, 0, 255]]]

    Args:
        image: (H, W, 3) uint8, or grey (H, W) or (H, W, 1), or with alpha (H, W, 4), which is left out.
        channels: the order of the first three.

    Raises:
        ValueError: it is something else; the message says how to convert it.
    """
    if channels not in get_args(Channels):
        raise ValueError(f"channels {channels!r} is not one of {', '.join(get_args(Channels))}")
    if not isinstance(image, np.ndarray):
        hint = {
            "str": "; read the file with detect_faces.read_image",
            "PosixPath": "; read the file with detect_faces.read_image",
            "NoneType": ": cv2.imread gives None for a file that it cannot read",
        }.get(type(image).__name__, "; of a Pillow image take np.asarray(image.convert('RGB')) and channels='RGB'")
        raise ValueError(f"an image is a numpy array, not {type(image).__name__}{hint}")
    if image.dtype != np.uint8:
        hint = {"u": "divide 16 bits by 257", "f": "multiply 0..1 by 255"}.get(image.dtype.kind, "convert it")
        raise ValueError(f"an image is of uint8, not {image.dtype}; {hint}, then image.astype(np.uint8)")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"an image is (height, width) or (height, width, 1, 3 or 4 channels), not {image.shape}")
    if not image.size:
        raise ValueError("the image has no pixels")
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    if channels == "RGB":
        return cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2BGR)
    return image if image.shape[2] == 3 else np.ascontiguousarray(image[..., :3])


def letterbox_size(width: int, height: int, input_width: int, input_height: int) -> tuple[int, int]:
    """(width, height) of the image inside the network's input when its aspect ratio is kept.

    In float32 and rounding halves to even, as `resize_to_range` of the Object Detection API computes it; but a very
    long and thin image keeps one pixel, where that would be zero.
    """
    width, height = np.float32(width), np.float32(height)
    scale = min(np.float32(input_height) / height, np.float32(input_width) / width)
    return max(1, int(np.rint(scale * width))), max(1, int(np.rint(scale * height)))


def network_input(
    image_bgr: np.ndarray, model: Model, input_size: tuple[int, int] | None = None, *, as_graph: bool = False
) -> tuple[np.ndarray, tuple[int, int]]:
    """The network's input, and the part of it that shows the image (from the top left; the rest is padding).

    Args:
        image_bgr: (H, W, 3) uint8.
        model: says the size, the way of resizing and the normalisation.
        input_size: (width, height) in place of the model's.
        as_graph: resize as the OD API's graph does, whatever the model says.

    Returns:
        (1, height, width, 3) float32 RGB of that size, and (width, height) of the image in it.
    """
    height, width = image_bgr.shape[:2]
    size = input_width, input_height = input_size or (model.width, model.height)
    if model.letterbox:
        size = letterbox_size(width, height, *size)
    canvas = np.empty((1, input_height, input_width, 3), np.float32)
    shown = canvas[0, : size[1], : size[0]]
    resized = (resize_by_means if model.by_means and not as_graph else resize_as_graph)(image_bgr, *size)
    rgb = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    np.multiply(rgb, np.float32(model.scale), out=shown, dtype=np.float32)
    shown += np.float32(model.offset)
    padding = np.float32(model.pad_value) * np.float32(model.scale) + np.float32(model.offset)
    canvas[0, size[1] :] = padding
    canvas[0, : size[1], size[0] :] = padding
    return canvas, size
