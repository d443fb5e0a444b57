"""Reads an image file as an upright BGR array, with one clear line for whatever is not an image."""

import os
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError
from detect_faces.image_header import MAGIC_BYTES, image_kind, image_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # of the files that a folder is searched for
MAX_PIXELS = 200_000_000  # 600 MB as an array; the largest phone panoramas and 200-megapixel cameras stay below


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG, PNG, WebP or BMP file, whatever its name ends in.

    Args:
        path: the image file.

    Returns:
        (height, width, 3) uint8, BGR, turned upright as EXIF says. Grey and CMYK become BGR, 16 bits become 8, alpha is
        dropped, of an animation the first frame is taken.

    Raises:
        UserError: there is no such file, or it is no image that can be decoded whole. The message starts with `path`.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAGIC_BYTES)
            if image_kind(data):  # anything else may be of any size, or endless
                data += file.read()
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno)}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """As read_image, from the encoded bytes; `name` is what the error message calls them."""
    if not data:
        raise UserError(f"{name}: the file is empty")
    if not image_kind(data):
        raise UserError(f"{name}: not a JPEG, PNG, WebP or BMP image")
    try:
        width, height = image_size(data)
    except ValueError as error:
        raise UserError(f"{name}: cannot be decoded: {error}") from error
    if width * height > MAX_PIXELS:
        raise UserError(f"{name}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}")
    # From memory and not by cv2.imread: imread fills the missing part of a truncated JPEG with grey and says nothing.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{name}: cannot be decoded: the {image_kind(data)} image is damaged or cut off")
    return image


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Writes a BGR image in the format of the path's suffix, whole or not at all. Raises UserError."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: cannot write such a file; end the name in one of {', '.join(SUFFIXES)}")
    try:
        done, encoded = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:  # a side of a WebP has at most 16383 pixels, one of a JPEG 65500
        raise UserError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels are too large for this format; take .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.with_name(path.name + ".part")
        torn.write_bytes(encoded)
        torn.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {os.strerror(error.errno)}") from error
