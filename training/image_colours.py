"""Changes of colour of one image, in OpenCV: those of training.augmentation, in a quarter of the OD API's time.

The OD API's own go over an image some twenty times, twice into HSV and back, and cost more than reading, decoding and
cropping it. Source: the operations of tf.image that its preprocessor calls.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np


def apply(changes: Sequence[Mapping], image: np.ndarray, amounts: Sequence[float]) -> np.ndarray:
    """An image with its colours changed.

    Args:
        changes: in their order, as `training.augmentation` describes them.
        image: (H, W, 3) RGB in 0..255, of any type.
        amounts: of each change, of `augmentation.amount`.

    Returns:
        (H, W, 3) float32.
    """
    image = image.astype(np.float32)
    for change, amount in zip(changes, amounts, strict=True):
        image = _CHANGES[change["name"]](image, np.float32(amount))
    return image


def _brightness(image, delta):
    image += 255 * delta
    return np.clip(image, 0, 255, out=image)


def _contrast(image, factor):
    mean = np.float32(cv2.mean(image)[:3])
    image *= factor
    image += mean * (1 - factor)
    return np.clip(image, 0, 255, out=image)


def _saturation(image, factor):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _hue(image, turn):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] += 360 * (turn % 1)  # OpenCV takes hues beyond the circle, though none below 0
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _grey(image, grey):
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grey else image


_CHANGES = {
    "random_adjust_brightness": _brightness,
    "random_adjust_contrast": _contrast,
    "random_adjust_saturation": _saturation,
    "random_adjust_hue": _hue,
    "random_rgb_to_gray": _grey,
}
