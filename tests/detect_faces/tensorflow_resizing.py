"""TensorFlow's resizing with the coordinates of its v1, and noise to resize: the oracle of the runtime's own."""

import numpy as np
import tensorflow as tf


def legacy_resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image (H, W, 3) as (height, width, 3) float32."""
    return tf.compat.v1.image.resize_bilinear(
        image[None].astype(np.float32), (height, width), align_corners=False, half_pixel_centers=False
    )[0].numpy()


def noise(width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8, the same each time."""
    return np.random.default_rng(width * 7919 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
