"""Changes of colour in JAX, on a whole batch at once where the network computes: those of training.augmentation.

After each the values are cut to 0..255. Source: the operations of tf.image that the OD API's preprocessor calls.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

_LUMA = (0.2989, 0.5870, 0.1140)


def apply(changes: Sequence[Mapping], images: jax.Array, amounts: jax.Array) -> jax.Array:
    """A batch with its colours changed.

    Args:
        changes: in their order.
        images: (B, H, W, 3) RGB in 0..255, of any type.
        amounts: (B, changes), of `augmentation.amount`.

    Returns:
        (B, H, W, 3) float32.
    """
    images = images.astype(jnp.float32)
    for number, change in enumerate(changes):
        changed = _CHANGES[change["name"]](images, amounts[:, number, None, None, None])
        images = jnp.clip(changed, 0.0, 255.0)
    return images


def _brightness(images, delta):
    return images + 255.0 * delta


def _contrast(images, factor):
    mean = images.mean(axis=(1, 2), keepdims=True)
    return mean + (images - mean) * factor


def _saturation(images, factor):
    # In HSV the distance of each channel to the largest is proportional to the saturation, which ends at 1.
    value = images.max(axis=-1, keepdims=True)
    chroma = value - images.min(axis=-1, keepdims=True)
    return value - (value - images) * jnp.minimum(factor, value / jnp.maximum(chroma, 1e-6))


def _hue(images, turn):
    red, green, blue = images[..., :1], images[..., 1:2], images[..., 2:]
    value = images.max(axis=-1, keepdims=True)
    chroma = value - images.min(axis=-1, keepdims=True)
    safe = jnp.maximum(chroma, 1e-6)
    sixth = jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    sixth = jnp.where(value == red, (green - blue) / safe, sixth)
    away = (sixth + 6 * turn + jnp.array([5.0, 3.0, 1.0])) % 6
    return value - chroma * jnp.clip(jnp.minimum(away, 4 - away), 0.0, 1.0)


def _grey(images, grey):
    return jnp.where(grey > 0, (images * jnp.array(_LUMA)).sum(-1, keepdims=True), images)


_CHANGES = {
    "random_adjust_brightness": _brightness,
    "random_adjust_contrast": _contrast,
    "random_adjust_saturation": _saturation,
    "random_adjust_hue": _hue,
    "random_rgb_to_gray": _grey,
}
