"""What the segments of a JPEG say, and whether a baseline JPEG is whole, without decoding it (ITU T.81, annex B)."""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

_BASELINE = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_EXIF, _SCAN, _END = 0xE1, 0xDA, 0xD9
_FEW = 8192  # bytes of a header that are worth being kept
_SMALL = bytes((0, 8, 0, 8))  # height and width of an image that takes no time to decode


@dataclass(frozen=True)
class Header:
    """A plain JPEG: baseline, 8 bits, grey or three components, without EXIF or XMP.

    Attributes:
        width, height: pixels.
        size_at: where height and width stand, two bytes each.
        pixels: where the entropy-coded data begin.
    """

    width: int
    height: int
    size_at: int
    pixels: int


def plain_header(data: bytes) -> Header | None:
    """The header of a plain JPEG, of which `data` may be the beginning; None for everything else."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at, size, size_at = 2, None, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _BASELINE and size is None and at + 10 <= len(data):
            precision, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            if precision != 8 or components not in (1, 3):
                return None
            size, size_at = (width, height), at + 5
        elif marker == _SCAN:
            return Header(*size, size_at, pixels=end) if size and min(size) > 0 else None
        elif marker in _OTHER_FRAMES or marker == _EXIF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:
            return None
        at = end
    return None


def is_whole(data: bytes, header: Header) -> bool:
    """Whether a plain JPEG is certainly whole, at a fraction of the cost of decoding it.

    Decoders stop at damaged tables and at a stream that ends early; damage among the entropy-coded data only spoils
    pixels. So the tables are decoded, without pixels, and the rest is looked through for its end: in entropy-coded data
    a byte 0xFF is followed by 0x00 or a restart marker, anything else is the next marker. False where something is
    unusual, and only decoding can tell.
    """
    if _next_marker(data, header.pixels) != _END:
        return False
    tables = bytearray(data[: header.pixels])
    tables[header.size_at : header.size_at + 4] = _SMALL
    decode = _tables_decode if len(tables) < _FEW else _tables_decode.__wrapped__  # a colour profile is not to be kept
    return decode(bytes(tables))


@lru_cache(maxsize=1024)
def _tables_decode(tables: bytes) -> bool:
    """Whether a decoder takes all that comes before the pixels. Images of one camera or program share theirs."""
    try:
        with Image.open(io.BytesIO(tables + b"\xff\xd9"), formats=["JPEG"]) as image:
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
