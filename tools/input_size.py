"""Image size at a model's input: what the OD API's image resizers make of a picture."""

import numpy as np
from google.protobuf.message import Message

from detect_faces.preprocessing import letterbox_size
from tools import pipeline_config

Size = tuple[int, int]  # (width, height) in pixels


def letterbox(side: int) -> Message:
    """The resizer that keeps the aspect ratio, makes the long side `side` pixels and pads to a square."""
    make = pipeline_config.message_class("KeepAspectRatioResizer")
    return make(min_dimension=side, max_dimension=side, pad_to_max_dimension=True)


def resized(resizer: Message, width: int, height: int) -> tuple[Size, Size]:
    """The size of an image after resizing, and that of the model's input: the same but for padding.

    The image lies at the top left of the input. The same arithmetic as in object_detection/core/preprocessor.py.

    Args:
        resizer: one of the resizer messages of tools.pipeline_config.
        width, height: pixels of the image.
    """
    match resizer.DESCRIPTOR.name:
        case "FixedShapeResizer":
            size = resizer.width, resizer.height
        case "KeepAspectRatioResizer":
            short, long = resizer.min_dimension, resizer.max_dimension
            size = letterbox_size(width, height, *((long, short) if height < width else (short, long)))
            if resizer.pad_to_max_dimension:
                return size, (long, long)
        case "ConditionalShapeResizer":
            size = _conditional(resizer, width, height)
        case "PadToMultipleResizer":
            multiple = resizer.multiple
            return (width, height), (-(-width // multiple) * multiple, -(-height // multiple) * multiple)
        case _:  # IdentityResizer
            size = width, height
    return size, size


def is_fixed(resizer: Message) -> bool:
    """Whether all images get the same input size."""
    return resizer.DESCRIPTOR.name == "FixedShapeResizer" or getattr(resizer, "pad_to_max_dimension", False)


def _conditional(resizer: Message, width: int, height: int) -> Size:
    """The long side made smaller, or the short side made larger, where it is beyond the threshold; in float32."""
    if resizer.condition == resizer.GREATER:
        side = max(width, height)
        target = min(side, resizer.size_threshold)
    else:
        side = min(width, height)
        target = max(side, resizer.size_threshold)
    ratio = np.float32(target) / np.float32(side)
    return max(1, int(np.float32(width) * ratio)), max(1, int(np.float32(height) * ratio))
