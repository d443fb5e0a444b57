"""Folders that one process at a time writes to."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detect_faces.errors import UserError


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
