"""The alpha channel of a PNG or WebP: read apart from the colours, upright as they are, and put back behind them."""

import cv2
import numpy as np

SUFFIXES = (".png", ".webp")  # of the files that can hold it


def read_alpha(encoded: np.ndarray, orientation: int) -> np.ndarray | None:
    """The alpha channel of an encoded image that is known to decode: (H, W) uint8, upright; None where it has none.

    Args:
        encoded: (bytes,) uint8.
        orientation: of its EXIF data, 1 to 8. OpenCV turns colours upright, but not what comes with alpha.
    """
    whole = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if whole is None or whole.ndim < 3 or whole.shape[2] != 4:
        return None
    alpha = whole[..., 3]
    if alpha.dtype != np.uint8:  # of 16 bits the upper eight, as OpenCV does it with the colours
        alpha = (alpha >> 8).astype(np.uint8)
    if orientation > 4:
        alpha = alpha.T
    if orientation in (2, 3, 6, 7):
        alpha = alpha[:, ::-1]
    if orientation in (3, 4, 7, 8):
        alpha = alpha[::-1]
    return alpha


def with_alpha(image: np.ndarray, alpha: np.ndarray | None, suffix: str) -> np.ndarray:
    """The image with its alpha channel, where there is one and a file of that suffix can hold it.

    Args:
        image: (H, W, 3) uint8.
        alpha: (H, W) uint8, or None.
        suffix: of the file that it is for.

    Returns:
        (H, W, 4), or the image itself.
    """
    return image if alpha is None or suffix.lower() not in SUFFIXES else np.dstack([image, alpha])
