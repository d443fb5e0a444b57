"""From a source to its picture, in two steps: read it and look at its header, then decode it."""

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

from detect_faces.errors import UserError
from detect_faces.exif import jpeg_orientation
from detect_faces.guards import Limits, checked_header, decoding_bytes, refuse_without_memory, too_large
from detect_faces.image_header import MAGIC_BYTES, other_kind
from detect_faces.images import Picture, decode, read_bytes, reduction
from detect_faces.inputs import Source

ALPHA_BYTES = 8  # a pixel: decoding alpha with 16 bits, or holding it and the copy that it is put into
LARGE_SIDE = 1000  # pixels; below it is not worth while to decode less of them


@dataclass(frozen=True)
class Video:
    """In place of a picture: the source is a video, to be read frame by frame."""

    source: Source


@dataclass(frozen=True)
class Reading:
    """How images are to be read.

    Attributes:
        limits: of an image.
        reduced_side: decode a JPEG at 1/2, 1/4 or 1/8 where its longer side keeps at least so many pixels; 0: never. It
            is asked for large images only.
        copies: pictures that are made of it and written, with its metadata and alpha.
    """

    limits: Limits
    reduced_side: Callable[[], int] = lambda: 0
    copies: int = 0

    def prepare(self, source: Source) -> tuple[int, Callable[[], Picture | Video]]:
        """Reads a source; returns the bytes of memory that decoding takes at most, and what decodes it.

        Raises:
            UserError: it cannot be read, is no image, or is over a limit.
        """
        if source.problem:
            raise UserError(f"{source}: {source.problem}")
        if source.kind == "camera" or (source.kind == "file" and _is_video(source)):
            return 0, lambda: Video(source)
        data = _read(source, self.limits)
        header = checked_header(data, source.name, self.limits)
        large = header.kind == "JPEG" and max(header.width, header.height) > LARGE_SIDE
        side = self.reduced_side() if large else 0
        reduced = reduction(header, side) if side else 1
        need = decoding_bytes(header, len(data), reduced, turned=header.kind != "JPEG" or jpeg_orientation(data) != 1)
        if self.copies:  # when the picture is decoded, and before or while it is encoded
            pixels = header.width * header.height
            need = max(need, len(data) + 3 * (1 + self.copies) * pixels) + (ALPHA_BYTES * pixels if header.alpha else 0)

        def finish() -> Picture:
            refuse_without_memory(source.name, need)
            try:
                return decode(data, source.name, header, reduced, self.copies > 0)
            except MemoryError as error:
                raise UserError(f"{source}: no memory left for {header.width} x {header.height} pixels") from error

        return need, finish


def _read(source: Source, limits: Limits) -> bytes:
    if source.kind == "url":
        from detect_faces.fetch import fetch

        return fetch(source.name, limits)
    if source.kind == "stdin":
        data = sys.stdin.buffer.read(limits.bytes + 1)
        if len(data) > limits.bytes:
            raise UserError(f"{source}: {too_large(limits)}")
        return data
    return read_bytes(source.name, limits)


def _is_video(source: Source) -> bool:
    """Whether a file begins as videos do. What can be read only once (a pipe) is not looked into: it is an image."""
    try:
        if not stat.S_ISREG(os.stat(source.name).st_mode):
            return False
        with open(source.name, "rb") as file:
            return other_kind(file.read(MAGIC_BYTES)) == "video"
    except OSError:
        return False  # read_bytes says what is wrong
