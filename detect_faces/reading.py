"""From a source to its picture, in two steps: read it and look at its header, then decode it."""

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

from detect_faces.errors import UserError
from detect_faces.guards import Limits, checked_header, decoding_bytes, refuse_without_memory, too_large
from detect_faces.image_header import MAGIC_BYTES, other_kind
from detect_faces.images import Picture, decode, read_bytes, reduction
from detect_faces.inputs import Source


@dataclass(frozen=True)
class Video:
    """In place of a picture: the source is a video, to be read frame by frame."""

    source: Source


@dataclass(frozen=True)
class Reading:
    """How images are to be read.

    Attributes:
        limits: of an image.
        reduced_side: decode a JPEG at 1/2, 1/4 or 1/8 where its longer side keeps at least so many pixels; 0: never.
        metadata: keep it for what is written.
        copies: arrays of the picture's size that are made of it later, for the estimate of memory.
    """

    limits: Limits
    reduced_side: int = 0
    metadata: bool = False
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
        reduced = reduction(header, self.reduced_side) if self.reduced_side else 1
        need = decoding_bytes(header, len(data), reduced) + 3 * self.copies * header.width * header.height

        def finish() -> Picture:
            refuse_without_memory(source.name, need)
            try:
                return decode(data, source.name, header, reduced, self.metadata)
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
