"""Which images a command line means: files, folders, patterns, lists, URLs, cameras, standard input."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

from detect_faces.errors import UserError
from detect_faces.image_header import SUFFIXES

PATTERN = re.compile(r"[*?[]")
URL = re.compile(r"https?://", re.IGNORECASE)
# Of files in a folder that are not looked at, but may show faces: images that cannot be read, and videos.
OTHER_PICTURES = {".heic", ".heif", ".avif", ".gif", ".tif", ".tiff", ".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm"}
CAMERA = re.compile(r"camera:(\d{1,3})")


@dataclass(frozen=True)
class Source:
    """Something to find faces in.

    Attributes:
        name: as it is printed.
        inside: of what is written about it: its place in an output folder, with the suffix of an image.
        kind: 'file' (an image or a video; its content says which), 'url', 'camera' or 'stdin'.
        problem: why there is nothing to read.
    """

    name: str
    inside: PurePath
    kind: str = "file"
    problem: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return Path(self.name)


def find_sources(arguments: Iterable[str], allow_urls: bool = False) -> Iterator[Source]:
    """The sources of each argument, in order.

    A file is taken whatever its name. Of a folder, and the folders in it, the files are taken that are named as images
    and not hidden, in order of their names; links to folders are not followed. A pattern that is no file's name is
    expanded (`**` for folders of any depth). What does not exist stays, with its problem, to be reported in its turn.
    """
    for argument in arguments:
        if argument == "-":
            yield Source("-", PurePath("stdin.jpg"), "stdin")
        elif CAMERA.fullmatch(argument):
            yield Source(argument, PurePath(argument.replace(":", "") + ".jpg"), "camera")
        elif URL.match(argument):
            yield url_source(argument, allow_urls)
        elif os.path.isdir(argument):
            yield from _of_folder(argument, argument)
        elif PATTERN.search(argument) and not os.path.exists(argument):
            yield from _of_pattern(argument)
        else:
            yield Source(argument, image_name(PurePath(PurePath(argument).name)))


def listed_sources(file: IO[bytes], null: bool = False, allow_urls: bool = False) -> Iterator[Source]:
    """The sources that a list names, one a line (or each ended by a zero byte), as the list is read.

    Files, folders and URLs, but no patterns: a name is taken as it is.
    """
    for line in _until(file, b"\0") if null else file:
        name = os.fsdecode(line if null else line.rstrip(b"\r\n"))
        if not name:
            continue
        if URL.match(name):
            yield url_source(name, allow_urls)
        elif os.path.isdir(name):
            yield from _of_folder(name, "")
        else:
            yield Source(name, image_name(_below(name, "")))


def open_list(path: str) -> IO[bytes]:
    """The list of --files-from; `-` is standard input."""
    if path == "-":
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"--files-from {path}: {os.strerror(error.errno)}") from error


def url_source(url: str, allowed: bool) -> Source:
    """An image to fetch, or its problem where that is not allowed."""
    from urllib.parse import unquote, urlsplit

    problem = None if allowed else "a URL is only fetched with --allow-urls"
    try:
        parts = urlsplit(url)
        host = parts.hostname or "url"
    except ValueError as error:
        return Source(url, PurePath("url.jpg"), "url", problem or str(error))
    steps = [step for step in unquote(parts.path).replace("\0", "").split("/") if step not in ("", ".", "..")]
    return Source(url, image_name(PurePath(host.replace("/", "_"), *steps)), "url", problem)


def image_name(inside: PurePath) -> PurePath:
    """The name of a picture that is written, which needs the suffix of an image."""
    return inside if inside.suffix.lower() in SUFFIXES else inside.with_name((inside.name or "image") + ".jpg")


def _of_folder(folder: str, root: str) -> Iterator[Source]:
    found, left_out = False, Counter()
    for path in _walk(folder, left_out):
        found = True
        yield Source(path, _below(path, root))
    if left_out:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items()))
        print(f"note: {folder}: left out: {kinds}; of folders only images are taken that can be read", file=sys.stderr)
    if not found:
        problem = f"no file in this folder ends in {', '.join(SUFFIXES)}"
        yield Source(folder, image_name(PurePath(PurePath(folder).name)), problem=problem)


def _of_pattern(pattern: str) -> Iterator[Source]:
    from glob import iglob

    # Names are laid out below the part that has no pattern in it.
    root = os.path.dirname(pattern[: PATTERN.search(pattern).start()] + "x")
    paths = sorted(set(iglob(pattern, recursive=True)), key=lambda path: PurePath(path).parts)
    if not paths:
        yield Source(pattern, PurePath("none.jpg"), problem="no file fits this pattern")
    for path in paths:
        if os.path.isfile(path):
            yield Source(path, image_name(_below(path, root)))
        elif os.path.isdir(path) and "**" not in pattern:
            yield from _of_folder(path, root)


def _walk(folder: str, left_out: Counter[str]) -> Iterator[str]:
    """The files below a folder that are named as images, in order of their names; unreadable folders are left out.

    Args:
        left_out: to count other pictures and videos in, by their suffix.
    """
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        print(f"note: {folder}: {os.strerror(error.errno)}; left out", file=sys.stderr)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(os.path.join(folder, entry.name), left_out)
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in SUFFIXES and _is_file_or_broken_link(entry):
            yield os.path.join(folder, entry.name)
        elif suffix in OTHER_PICTURES:
            left_out[suffix] += 1


def _is_file_or_broken_link(entry: os.DirEntry) -> bool:
    """Whether it is a file, or a link that leads nowhere or in a circle, to be reported. Pipes and devices are not."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a circle
        return True


def _below(path: str, root: str) -> PurePath:
    """The part of a path below `root`, or all of it, but without a leading / and without .. steps."""
    pure = PurePath(path)
    if root and pure.is_relative_to(root):
        pure = pure.relative_to(root)
    steps = [step for step in pure.parts if step not in ("/", "..")]
    return PurePath(*steps) if steps else PurePath("image")


def _until(file: IO[bytes], end: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read1(65536) if hasattr(file, "read1") else file.read(65536):
        *whole, rest = (rest + chunk).split(end)
        yield from whole
    if rest:
        yield rest
