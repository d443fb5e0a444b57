"""Whether a baseline JPEG is whole, without decoding it.

Decoders stop at damaged tables and at a stream that ends early; damage among the entropy-coded data only spoils pixels.
So the tables and the first rows are decoded, and the rest is looked through for its end (ITU T.81, annex B: in
entropy-coded data a byte 0xFF is followed by 0x00 or a restart marker; anything else is the next marker).
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

_BASELINE = (0xC0, 0xC1)
_SCAN, _END = 0xDA, 0xD9
_FIRST_ROWS = 512  # bytes of entropy-coded data that are decoded


def is_whole(data: bytes) -> bool:
    """Whether `data` is certainly a whole baseline JPEG, at about a third of the cost of decoding it.

    False where this cannot be said without decoding: progressive and damaged images, and such as have anything
    unusual between their pixels and their end.
    """
    start = _scan_start(data)
    if not start or _next_marker(data, start) != _END:
        return False
    try:
        with Image.open(io.BytesIO(data[: start + _FIRST_ROWS] + b"\xff\xd9"), formats=["JPEG"]) as image:
            image.draft("L", (1, 1))
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error):
        return False
    return True


def _scan_start(data: bytes) -> int:
    """Where the entropy-coded data begin; 0 if this is no baseline JPEG."""
    at, baseline = 2, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0x00 or marker == 0x01 or 0xD0 <= marker <= 0xD9:  # nothing with a length: not usual here
            return 0
        baseline = baseline or marker in _BASELINE
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return at if baseline else 0
    return 0


def _next_marker(data: bytes, start: int) -> int:
    """The first marker from `start` on that is no restart; 0 without one."""
    stream = np.frombuffer(data, np.uint8)[start:]
    after = stream[np.flatnonzero(stream[:-1] == 0xFF) + 1]
    markers = after[(after != 0x00) & (after != 0xFF) & ~((after >= 0xD0) & (after <= 0xD7))]
    return int(markers[0]) if len(markers) else 0
