"""The CSV files of Open Images that have a line for each box or label, read line by line in flat memory.

The boxes of the train split are 14.6 million lines, of which one class needs few: each line is cut up only as far as
its ImageID and LabelName.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from detect_faces.errors import UserError
from tools.report import Report

_LONGEST_HEADER = 1 << 16  # bytes


class Table:
    """A CSV file that is found by its column names.

    Attributes:
        path: the file.
        header: its first line, as it stands there.
        columns: {column: position}.
    """

    def __init__(self, path: str | Path, needed: Sequence[str], hints: dict[str, str], kind: str):
        """Reads the header.

        Args:
            path: the file.
            needed: columns that must be there, with ImageID and LabelName.
            hints: {column: what a file with this column is}, for a file that is of another kind.
            kind: what the file should be, such as "an Open Images boxes CSV".

        Raises:
            UserError: it cannot be read, or lacks a column.
        """
        self.path, self._kind = path, kind
        try:
            with open(path, "rb") as file:
                self.header = file.readline(_LONGEST_HEADER)
            names = [name.strip() for name in next(csv.reader([self.header.decode("utf-8-sig").strip()]), [])]
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; give the path of {kind}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: not text, so not {kind}") from error
        self.columns = {name: position for position, name in enumerate(names)}
        self._width = len(names)
        if missing := [name for name in needed if name not in self.columns]:
            hint = next((hint for column, hint in hints.items() if column in self.columns), f"not {kind}")
            raise UserError(f"{path}, line 1: no column {', '.join(missing)}: {hint}")

    def lines(self, report: Report, only: str = "") -> Iterator[tuple[int, bytes, bytes, bytes]]:
        """(line number, ImageID, LabelName, the line) of each line; one with too many or too few columns is reported.

        Args:
            report: takes the bad lines.
            only: a LabelName; the others are passed over, unchecked, at a third of the cost.

        Raises:
            UserError: the file cannot be read.
        """
        image, label, commas = self.columns["ImageID"], self.columns["LabelName"], self._width - 1
        cuts, wanted = max(image, label) + 1, only.encode()
        try:
            with open(self.path, "rb", buffering=1 << 20) as file:
                file.readline()
                for number, line in enumerate(file, 2):
                    if wanted not in line:
                        continue
                    if line.count(b",") == commas and b'"' not in line:
                        cells = (line if cuts < self._width else line.rstrip(b"\r\n")).split(b",", cuts)
                    elif not line.strip():
                        continue
                    else:
                        cells = [cell.encode() for cell in self.cells(line)]
                        if len(cells) != self._width:
                            reason = f"has {len(cells)} columns, the header has {self._width}; this line is left out"
                            report.problem(f"{self.path}, line {number}", reason)
                            continue
                    if not only or cells[label] == wanted:
                        yield number, cells[image], cells[label], line
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from error

    def cells(self, line: bytes) -> list[str]:
        """The columns of a line. Raises UserError if it is not text."""
        try:
            text = line.decode().rstrip("\r\n")
            return next(csv.reader([text]), []) if '"' in text else text.split(",")
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{self.path}: not {self._kind} ({error})") from error


def boxes_table(path: str | Path) -> Table:
    """A boxes CSV. Raises UserError."""
    hints = {"Confidence": "this is the file of image labels, not of boxes"}
    return Table(path, ("ImageID", "LabelName", "XMin", "YMin", "XMax", "YMax"), hints, "an Open Images boxes CSV")


def labels_table(path: str | Path) -> Table:
    """A CSV of image labels. Raises UserError."""
    table = Table(path, ("ImageID", "LabelName", "Confidence"), {}, "an Open Images CSV of verified image labels")
    if "XMin" in table.columns:
        raise UserError(f"{path}, line 1: this is the file of boxes, not of image labels")
    return table


def verified(table: Table, cells: Sequence[str]) -> bool:
    """Whether people found the label of a line to be true (True) or false (False) of the image.

    Raises:
        ValueError: the line says neither.
        UserError: these are labels that a machine has given.
    """
    if "Source" in table.columns and cells[table.columns["Source"]] == "machine":
        raise UserError(f"{table.path}: labels given by a machine; give those that people verified")
    confidence = cells[table.columns["Confidence"]]
    try:
        return {0.0: False, 1.0: True}[float(confidence)]
    except (ValueError, KeyError):
        raise ValueError(f"Confidence must be 0 or 1 in verified labels, not {confidence!r}") from None


def check_id(image_id: str) -> None:
    """Raises ValueError for an ImageID that cannot be the name of a file."""
    if not image_id or set(image_id) & set("/\\\0"):
        raise ValueError(f"{image_id!r} is no ImageID")
