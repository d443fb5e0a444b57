"""What an image file says of itself in its first bytes: its kind and its size in pixels, without decoding it."""

import struct
from dataclasses import dataclass

MAGIC_BYTES = 12  # as many bytes as image_kind and other_kind look at
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # of the files that a folder is searched for


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    Attributes:
        kind: 'JPEG', 'PNG', 'WebP' or 'BMP'.
        width, height: pixels, before any EXIF rotation.
        bits: of a pixel as it is stored, before any compression; 0 where that depends on the pixels.
        samples: of a JPEG: numbers in a pixel, with those that are stored at a lower resolution counted in part.
        progressive: of a JPEG: it is stored in many scans over the whole image.
        alpha: of a PNG or WebP: it may be transparent in places.
    """

    kind: str
    width: int
    height: int
    bits: int = 0
    samples: float = 0.0
    progressive: bool = False
    alpha: bool = False


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


def other_kind(head: bytes) -> str | None:
    """What a file that is no image of a known kind is, by its first MAGIC_BYTES bytes: 'video', 'HEIC', 'GIF', ..."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
            return "HEIC"
        return "AVIF" if brand in (b"avif", b"avis") else "video"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "video"
    # Matroska and WebM, MPEG program streams, Flash video, Windows media; QuickTime without ftyp.
    if head.startswith((b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"FLV\x01", b"\x30\x26\xb2\x75")):
        return "video"
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "video"
    for magic, kind in {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF"}.items():
        if head.startswith(magic):
            return kind
    return None


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels as the header has them, before any EXIF rotation. Raises ValueError as read_header."""
    header = read_header(data)
    return header.width, header.height


def read_header(data: bytes) -> Header:
    """The header of an image.

    Raises:
        ValueError: `data` is not of a known kind, or its header is damaged or cut off.
    """
    readers = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "BMP": _bmp}
    kind = image_kind(data)
    if kind is None:
        raise ValueError("not a JPEG, PNG, WebP or BMP image")
    try:
        header = readers[kind](data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"its {kind} header is cut off") from error
    if header.width < 1 or header.height < 1:
        raise ValueError(f"its {kind} header says {header.width} x {header.height} pixels")
    return header


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError("its PNG header is damaged")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    # Colours may also be said to be transparent, in a chunk of its own before the pixels.
    alpha = colour in (4, 6) or data.find(b"tRNS", 0, max(0, data.find(b"IDAT"))) > 0
    return Header("PNG", width, height, bits=depth * {2: 3, 4: 2, 6: 4}.get(colour, 1), alpha=alpha)


def _jpeg(data: bytes) -> Header:
    # ITU T.81 annex B: segments of marker and length up to the frame header (SOF), which holds the size.
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("its JPEG header is damaged")
        while data[at] == 0xFF:  # a marker may be preceded by fill bytes
            at += 1
        marker = data[at]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack_from(">HHB", data, at + 4)
            factors = [data[at + 10 + 3 * i] for i in range(components)]
            blocks = [(factor >> 4) * (factor & 15) for factor in factors]
            samples = sum(blocks) / max(blocks, default=1) if all(blocks) else float(components)
            return Header("JPEG", width, height, samples=samples, progressive=marker in (0xC2, 0xC6, 0xCA, 0xCE))
        if marker in (0xD9, 0xDA):  # the end or the pixels, and no frame header before them
            raise ValueError("its JPEG header is damaged")
        stands_alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += 1 if stands_alone else 1 + struct.unpack_from(">H", data, at + 1)[0]


def _webp(data: bytes) -> Header:
    # RFC 9649: the first chunk is VP8 (lossy), VP8L (lossless) or VP8X (the canvas of everything else).
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1))
    if chunk == b"VP8X":
        width_low, width_high, height_low, height_high = struct.unpack_from("<HBHB", data, 24)
        size = width_low + (width_high << 16) + 1, height_low + (height_high << 16) + 1
        return Header("WebP", *size, alpha=bool(data[20] & 0x10))
    raise ValueError("its WebP header is damaged")


def _bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if header_size == 12 else "<iiHH", data, 18)
    height = abs(height)  # negative: the rows run from top to bottom
    # Two of the ways of storing compress runs of pixels.
    runs = header_size != 12 and struct.unpack_from("<I", data, 30)[0] in (1, 2)
    return Header("BMP", width, height, bits=0 if runs else bits)
