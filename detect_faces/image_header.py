"""What an image file says of itself in its first bytes: its kind and its size in pixels, without decoding it."""

import struct

MAGIC_BYTES = 12  # as many bytes as image_kind looks at


def image_kind(head: bytes) -> str | None:
    """'JPEG', 'PNG', 'WebP' or 'BMP' by the file's first MAGIC_BYTES bytes, None for anything else."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(b"BM"):
        return "BMP"
    return None


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels as the header has them, before any EXIF rotation.

    Raises:
        ValueError: `data` is not of a known kind, or its header is damaged or cut off.
    """
    sizes = {"JPEG": _jpeg_size, "PNG": _png_size, "WebP": _webp_size, "BMP": _bmp_size}
    kind = image_kind(data)
    if kind is None:
        raise ValueError("not a JPEG, PNG, WebP or BMP image")
    try:
        width, height = sizes[kind](data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"its {kind} header is cut off") from error
    if width < 1 or height < 1:
        raise ValueError(f"its {kind} header says {width} x {height} pixels")
    return width, height


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("its PNG header is damaged")
    return struct.unpack_from(">II", data, 16)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    # ITU T.81 annex B: segments of marker and length up to the frame header (SOF), which holds the size.
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("its JPEG header is damaged")
        while data[at] == 0xFF:  # a marker may be preceded by fill bytes
            at += 1
        marker = data[at]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 4)
            return width, height
        if marker in (0xD9, 0xDA):  # the end or the pixels, and no frame header before them
            raise ValueError("its JPEG header is damaged")
        stands_alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += 1 if stands_alone else 1 + struct.unpack_from(">H", data, at + 1)[0]


def _webp_size(data: bytes) -> tuple[int, int]:
    # RFC 9649: the first chunk is VP8 (lossy), VP8L (lossless) or VP8X (the canvas of everything else).
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        width_low, width_high, height_low, height_high = struct.unpack_from("<HBHB", data, 24)
        return width_low + (width_high << 16) + 1, height_low + (height_high << 16) + 1
    raise ValueError("its WebP header is damaged")


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return width, abs(height)  # negative: the rows run from top to bottom
