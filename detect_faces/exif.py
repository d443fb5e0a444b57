"""EXIF data: the way up that they give, and a copy of them without what a changed picture should not carry along."""

import struct

from detect_faces.image_header import image_kind

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
# The maker's notes can hold a preview of the picture, and the place; so can other programs' data inside of EXIF. Sizes
# and offsets are those of the picture as it was.
NEVER_KEPT = {
    0x0100, 0x0101, 0xA002, 0xA003,  # width and height
    0x0111, 0x0117, 0x0201, 0x0202,  # where a thumbnail lies
    0x014A,  # further pictures
    0x02BC, 0x83BB, 0x8649, 0x8773,  # XMP, IPTC, Photoshop's, a colour profile
    0x927C,  # the maker's notes
    0xC4A5, 0xEA1C,  # for printing, padding
}  # fmt: skip
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
MOST_ENTRIES = 1000

Entry = tuple[int, int, int, bytes]  # tag, type, count, value


def cleaned(tiff: bytes, keep_place: bool) -> bytes | None:
    """A copy of EXIF data for a picture that was changed and is stored upright.

    Built anew from the entries, so that nothing which no entry names comes along. Without the thumbnail (it shows the
    picture as it was), the maker's notes, and unless `keep_place` all of GPS; the orientation is set to upright.

    Args:
        tiff: EXIF data from their byte order mark on, without "Exif\\0\\0".
        keep_place: keep GPS as well.

    Returns:
        The same, or None where they are damaged and so are not to be kept.
    """
    try:
        order, at = _start(tiff)
        entries = _kept(tiff, order, at, keep_place, depth=0)
        upright = (ORIENTATION, 3, 1, struct.pack(order + "H", 1))
        entries = [upright if entry[0] == ORIENTATION else entry for entry in entries]
        mark = b"II*\0" if order == "<" else b"MM\0*"
        return mark + struct.pack(order + "I", 8) + _serialised(order, entries, 8)
    except (struct.error, ValueError):
        return None


def jpeg_orientation(data: bytes) -> int:
    """The orientation of a JPEG, 1 (upright) to 8; 1 where it has none."""
    at = 2
    while image_kind(data[:12]) == "JPEG" and at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    return 1


def orientation(tiff: bytes) -> int:
    """The orientation in EXIF data, 1 (upright) to 8; 1 where there is none."""
    try:
        order, at = _start(tiff)
        for tag, kind, _, value in _entries(tiff, order, at):
            if tag == ORIENTATION and kind == 3:
                number = struct.unpack_from(order + "H", value)[0]
                return number if 1 <= number <= 8 else 1
    except (struct.error, ValueError):
        pass
    return 1


def _start(tiff: bytes) -> tuple[str, int]:
    """The byte order as struct writes it, and where the first directory (IFD) lies."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("no TIFF header")
    return order, struct.unpack_from(order + "I", tiff, 4)[0]


def _entries(tiff: bytes, order: str, at: int) -> list[Entry]:
    (count,) = struct.unpack_from(order + "H", tiff, at)
    if count > MOST_ENTRIES:
        raise ValueError("too many entries")
    entries = []
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, start)
        size = TYPE_SIZES.get(kind, 0) * number
        offset = start + 8 if size <= 4 else struct.unpack_from(order + "I", tiff, start + 8)[0]
        if not size or offset + size > len(tiff):
            continue  # of a type that nobody knows, or beyond the end
        entries.append((tag, kind, number, tiff[offset : offset + size]))
    return entries


def _kept(tiff: bytes, order: str, at: int, keep_place: bool, depth: int) -> list[tuple]:
    """The entries to keep; in place of a directory's offset its own entries."""
    kept = []
    for tag, kind, number, value in _entries(tiff, order, at):
        if tag in (EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD):
            if depth < 2 and kind == 4 and (keep_place or tag != GPS_IFD):
                inner = _kept(tiff, order, struct.unpack(order + "I", value[:4])[0], keep_place, depth + 1)
                kept.append((tag, kind, 1, inner))
        elif tag not in NEVER_KEPT:
            kept.append((tag, kind, number, value))
    return kept


def _serialised(order: str, entries: list[tuple], at: int) -> bytes:
    """A directory that begins at `at`, with what its entries point to behind it."""
    entries = sorted(entries, key=lambda entry: entry[0])
    table = struct.pack(order + "H", len(entries))
    behind = b""
    end = at + 2 + 12 * len(entries) + 4
    for tag, kind, number, value in entries:
        if isinstance(value, list):
            inner = _serialised(order, value, end + len(behind))
            field, behind = struct.pack(order + "I", end + len(behind)), behind + inner
        elif len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field, behind = struct.pack(order + "I", end + len(behind)), behind + value
        behind += b"\0" * (len(behind) % 2)
        table += struct.pack(order + "HHI", tag, kind, number) + field
    return table + struct.pack(order + "I", 0) + behind  # 0: no further directory, so no thumbnail
