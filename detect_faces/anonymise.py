"""Makes faces unrecognisable: blurred, in blocks, or painted over.

What is left of a face is a handful of mean colours, however large it is: a blur whose width does not grow with the face
leaves large faces readable, and a Gaussian one of known width can be undone in part. The mean of a block can't. In a
video each frame gives other means of the same face, which together tell more than one: where that matters, paint over.
"""

from typing import Literal, get_args

import cv2
import numpy as np

from detect_faces.faces import Faces

Method = Literal["blur", "pixelate", "fill"]
Shape = Literal["ellipse", "box"]

BLOCKS = {"blur": 5, "pixelate": 8}  # along the longer side of the area
MIN_BLOCK = 4  # pixels: a small face is of fewer blocks
MARGIN = 0.21  # an ellipse around a box is larger than it by a factor of sqrt(2): 0.207 on every side


def anonymise(
    image: np.ndarray,
    faces: Faces,
    method: Method = "blur",
    *,
    margin: float = MARGIN,
    shape: Shape = "ellipse",
    colour: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """A copy of the image in which the faces cannot be recognised.

    >>> image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    >>> picture = anonymise(image, Faces([[20, 20, 60, 70]], [0.9]), "pixelate", shape="box", margin=0)
    >>> len(np.unique(image[20:70, 20:60].reshape(-1, 3), axis=0))
    2000
    >>> len(np.unique(picture[20:70, 20:60].reshape(-1, 3), axis=0))
    48

    Args:
        image: (H, W) or (H, W, C) uint8.
        faces: in pixels of the image. What of them lies outside the image is left out.
        method: "blur", "pixelate" or "fill" (with one colour, which leaves nothing but the place).
        margin: to add on every side, as a part of the box's width and height; the default lets the ellipse hold the
            whole box.
        shape: "ellipse" or "box".
        colour: of "fill", in the image's order of channels; for a grey image its first value.

    Returns:
        An image of the same shape and type. Pixels outside the areas are as they were.

    Raises:
        ValueError: another method or shape, or not such an image.
    """
    if method not in get_args(Method) or shape not in get_args(Shape):
        known = f"methods are {', '.join(get_args(Method))}; shapes are {', '.join(get_args(Shape))}"
        raise ValueError(f"cannot anonymise by {method!r} in the shape of {shape!r}; {known}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and not 1 <= image.shape[2] <= 4):
        raise ValueError(f"an image is (height, width, 1 to 4 channels) uint8, not {image.shape} {image.dtype}")
    picture = image.copy()
    canvas = picture[..., 0] if image.shape[2:] == (1,) else picture  # OpenCV knows no axis of one channel
    for box in faces.xyxy.astype(float):
        box = box + np.tile(margin * (box[2:] - box[:2]), 2) * [-1, -1, 1, 1]
        # Every pixel that it touches; a box of no size is the pixel that it lies in.
        x_min, y_min = np.floor(box[:2]).clip(0).astype(int)
        x_max, y_max = np.minimum(np.maximum(np.ceil(box[2:]), np.floor(box[:2]) + 1), image.shape[1::-1]).astype(int)
        if x_min >= x_max or y_min >= y_max:
            continue
        area = canvas[y_min:y_max, x_min:x_max]
        if method == "fill":
            changed = np.empty_like(area)
            changed[...] = colour[0] if area.ndim == 2 else (*colour, 255)[: area.shape[2]]
        else:
            changed = _blocks(area, BLOCKS[method], cv2.INTER_NEAREST if method == "pixelate" else cv2.INTER_LINEAR)
        if shape == "box":
            area[...] = changed
        else:
            cv2.copyTo(changed, _ellipse(box, x_min, y_min, x_max, y_max), area)
    return picture


def _blocks(area: np.ndarray, count: int, interpolation: int) -> np.ndarray:
    """The area from the mean colours of at most count x count blocks."""
    height, width = area.shape[:2]
    block = max(MIN_BLOCK, max(height, width) / count)
    small = (max(1, int(width / block)), max(1, int(height / block)))
    means = cv2.resize(area, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(means, (width, height), interpolation=interpolation)


def _ellipse(box: np.ndarray, x_min: int, y_min: int, x_max: int, y_max: int) -> np.ndarray:
    """Which pixels of the area lie in the ellipse that fills the box: (y_max - y_min, x_max - x_min) uint8."""
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 0.71)  # at least one pixel's centre
    x = (np.arange(x_min, x_max) + 0.5 - centre[0]) / half[0]
    y = (np.arange(y_min, y_max) + 0.5 - centre[1]) / half[1]
    return (x[None] ** 2 + y[:, None] ** 2 <= 1).astype(np.uint8)
