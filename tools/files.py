"""Files written whole or not at all, and folders that one process at a time writes to."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from detect_faces.errors import UserError


@contextmanager
def whole_file(path: Path, mode: str = "w", **options) -> Iterator[IO]:
    """A file open for writing that takes its final name when the block ends well and vanishes when it doesn't."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Writes `data` to `path`."""
    with whole_file(path, "wb") as file:
        file.write(data)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds an existing folder against another process that does the same; raises UserError where one holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process ends
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"{folder}: another process is writing here; wait for it, or give another folder") from error
    try:
        yield
    finally:
        os.close(descriptor)
