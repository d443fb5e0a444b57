"""The lines of a text file of annotations, with their numbers."""

from collections.abc import Iterator
from pathlib import Path

from detect_faces.errors import UserError


def numbered_lines(path: str | Path, what: str, give: str = "") -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without space around them, and their numbers from 1.

    Args:
        path: the file, UTF-8 with or without a byte-order mark.
        what: the file should be, such as "an image set".
        give: what to give instead of a file that cannot be read; by default, the path of `what`.

    Raises:
        UserError: it cannot be read, or is not text.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give {give or f'the path of {what}'}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not {what}") from error
