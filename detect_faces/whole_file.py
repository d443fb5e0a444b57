"""Files written whole or not at all, however the process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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


def write_whole(path: Path, data) -> None:
    """Writes `data`, bytes or a buffer of them, to `path`."""
    with whole_file(path, "wb") as file:
        file.write(data)
