"""What the segments of a JPEG say, and whether a baseline JPEG is whole, without decoding it (ITU T.81, annex B)."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

_BASELINE = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_EXIF, _SCAN, _END = 0xE1, 0xDA, 0xD9
_FIRST_ROWS = 512  # bytes of entropy-coded data that are decoded


@dataclass(frozen=True)
class Header:
    """A plain JPEG: baseline, 8 bits, grey or three components, without EXIF or XMP.

    Attributes:
        width, height: pixels.
        pixels: where the entropy-coded data begin.
    """

    width: int
    height: int
    pixels: int


def plain_header(data: bytes) -> Header | None:
    """The header of a plain JPEG, of which `data` may be the beginning; None for everything else."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _BASELINE and size is None and at + 10 <= len(data):
            precision, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            if precision != 8 or components not in (1, 3):
                return None
            size = width, height
        elif marker == _SCAN:
            return Header(*size, pixels=end) if size and min(size) > 0 else None
        elif marker in _OTHER_FRAMES or marker == _EXIF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:
            return None
        at = end
    return None


def is_whole(data: bytes, header: Header) -> bool:
    """Whether a plain JPEG is certainly whole, at about a third of the cost of decoding it.

    Decoders stop at damaged tables and at a stream that ends early; damage among the entropy-coded data only spoils
    pixels. So the tables and the first rows are decoded, and the rest is looked through for its end: in entropy-coded
    data a byte 0xFF is followed by 0x00 or a restart marker, anything else is the next marker. False where something
    is unusual, and only decoding can tell.
    """
    if _next_marker(data, header.pixels) != _END:
        return False
    try:
        with Image.open(io.BytesIO(data[: header.pixels + _FIRST_ROWS] + b"\xff\xd9"), formats=["JPEG"]) as image:
            image.draft("L", (1, 1))
            image.load()
            return image.mode in ("L", "RGB")
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error):
        return False


def _next_marker(data: bytes, start: int) -> int:
    """The first marker from `start` on that is no restart; 0 without one."""
    stream = np.frombuffer(data, np.uint8)[start:]
    after = stream[np.flatnonzero(stream[:-1] == 0xFF) + 1]
    markers = after[(after != 0x00) & (after != 0xFF) & ~((after >= 0xD0) & (after <= 0xD7))]
    return int(markers[0]) if len(markers) else 0
