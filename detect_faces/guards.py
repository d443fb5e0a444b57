"""Limits that an image has to keep before any of it is decoded: bytes, pixels, work and memory."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePath

from detect_faces.errors import UserError
from detect_faces.image_header import Header, image_kind, other_kind, read_header

MAX_PIXELS = 200_000_000  # 600 MB as an array; the largest phone panoramas and 200-megapixel cameras stay below
MAX_BYTES = 400_000_000  # of an encoded image; a 16-bit PNG of the largest cameras takes so much
MAX_SECONDS = 60.0  # for reading and decoding one image, fetching included
MAX_SCANS = 100  # of a progressive JPEG; encoders make about ten, and each goes over all the pixels again
MOST_COMPRESSED = 1100  # times that deflate can shrink data at best (1032), and a little
RESERVE = 32_000_000  # bytes of memory to leave for everything else

# The control groups that this process is in; a container is one, and so is a job of systemd or Slurm.
CONTROL_GROUPS = "/proc/self/cgroup"
# Of cgroup v2 and v1: where their folders are, a group's limit of memory, and what its processes use.
GROUP_FILES = {
    "v2": ("/sys/fs/cgroup", "memory.max", "memory.current"),
    "v1": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}


@dataclass(frozen=True)
class Limits:
    """What an input may cost.

    Attributes:
        pixels: width x height at most.
        bytes: size of the encoded image at most.
        seconds: for reading and decoding it.
    """

    pixels: int = MAX_PIXELS
    bytes: int = MAX_BYTES
    seconds: float = MAX_SECONDS


def checked_header(data: bytes, name: str, limits: Limits) -> Header:
    """The header of an image that may be decoded; only the header and the length of `data` are looked at.

    Raises:
        UserError: it is no image, or one that breaks a limit, or that says it has more pixels than so few bytes hold.
    """
    if not data:
        raise UserError(f"{name}: the file is empty")
    if not image_kind(data):
        raise UserError(f"{name}: {no_image(data)}")
    if len(data) > limits.bytes:
        raise UserError(f"{name}: {too_large(limits)}")
    try:
        header = read_header(data)
    except ValueError as error:
        raise UserError(f"{name}: cannot be decoded: {error}") from error
    size = f"{header.width} x {header.height} pixels"
    pixels = header.width * header.height
    if pixels > limits.pixels:
        raise UserError(f"{name}: {size} are more than the limit of {limits.pixels:,}")
    if len(data) < _fewest_bytes(header):
        raise UserError(
            f"{name}: cannot be decoded: its header says {size}, which {len(data):,} bytes cannot hold; "
            "the image is damaged or cut off"
        )
    if header.progressive and data.count(b"\xff\xda") > MAX_SCANS:
        raise UserError(f"{name}: a progressive JPEG of more than {MAX_SCANS} scans, which no camera or program makes")
    return header


def no_image(head: bytes) -> str:
    """Why a file that begins so is refused, and what to do where it is of a kind that many people have."""
    text = "not a JPEG, PNG, WebP or BMP image"
    kind = other_kind(head)
    if kind == "video":
        return f"{text} but a video"
    return f"{text} but {kind}; convert it to JPEG or PNG" if kind else text


def too_large(limits: Limits) -> str:
    """Says that an input has too many bytes."""
    return f"more than the limit of {limits.bytes:,} bytes"


def _fewest_bytes(header: Header) -> float:
    """Fewer cannot hold an image of this size, whatever it shows."""
    pixels = header.width * header.height
    if header.kind == "PNG":
        return header.height * (1 + header.width * header.bits // 8) / MOST_COMPRESSED
    if header.kind == "JPEG":  # a bit, at least, for each block of 8 x 8
        return pixels / (64 * 8)
    return pixels * header.bits / 8  # BMP; a WebP of one colour takes a few bytes, whatever its size


def decoding_bytes(header: Header, encoded: int, reduced: int = 1, turned: bool = True) -> int:
    """Memory that decoding takes at its peak, with the encoded bytes and the array that comes out.

    Args:
        header: of the image.
        encoded: bytes of it.
        reduced: a JPEG is decoded at 1 / 2, 4 or 8 of its size.
        turned: it may have to be turned upright, which takes a second array.
    """
    pixels = header.width * header.height
    need = encoded + 3 * pixels / reduced**2 * (2 if turned else 1)
    if header.kind == "JPEG" and header.progressive:
        need += 2 * header.samples * pixels  # all coefficients are kept until the last scan
    elif header.kind == "WebP":
        need += 4 * pixels  # of a lossless one
    return int(need)


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine, of its container, of its own limit. None: not known."""
    found = []
    meminfo = _text("/proc/meminfo")
    for line in (meminfo or "").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    found += _group_limits()
    found += _process_limit()
    return max(0, min(found)) if found else None


def _group_limits() -> list[int]:
    """What each limit of this process's control group, and of those around it, leaves."""
    groups = [line.split(":", 2) for line in (_text(CONTROL_GROUPS) or "").splitlines()]
    paths = {
        "v2" if number == "0" else "v1": path for number, kinds, path in groups if number == "0" or "memory" in kinds
    }
    found = []
    for version, (root, limit_name, used_name) in GROUP_FILES.items():
        # A container sees its own group as the root, even where the path names it as the machine does.
        group = PurePath(paths.get(version, "/").lstrip("/"))
        for folder in {Path(root), Path(root, group), *(Path(root, outer) for outer in group.parents)}:
            limit, used = _text(folder / limit_name), _text(folder / used_name)
            if limit and used and limit.strip() != "max":
                found.append(int(limit) - int(used) + _cached(folder / "memory.stat"))
    return found


def _cached(stat_file: Path) -> int:
    """Bytes of a group's files in the page cache: they count as used, and are given up as soon as memory is short."""
    rows = dict(line.split(" ", 1) for line in (_text(stat_file) or "").splitlines())
    names = ("inactive_file", "active_file")
    # In v1, those of the groups inside it are only in the totals, as they are in its use.
    return sum(int(rows.get(f"total_{name}", rows.get(name, 0))) for name in names)


def _process_limit() -> list[int]:
    try:
        import resource
    except ImportError:  # not a Unix
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    statm = _text("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not statm:
        return []
    return [limit - int(statm.split()[0]) * os.sysconf("SC_PAGE_SIZE")]


def refuse_without_memory(name: str, need: int) -> None:
    """Raises UserError where an image takes more memory than there is; a small one always fits."""
    available = available_memory() if need > RESERVE else None
    if available is not None and need > available - RESERVE:
        raise UserError(
            f"{name}: takes {need / 1e6:,.0f} MB of memory and {max(0, available - RESERVE) / 1e6:,.0f} MB are free; "
            "make it smaller first"
        )


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
