"""metrics.jsonl: what a run measured, a line for each step that has something to say, ascending.

    {"step": 200, "time": "2025-03-01T09:30:12.250Z", "loss/total": 0.81, "learning_rate": 0.00097, "AP50": 0.41}

A line is on the disk when `write` returns. A kill may leave a torn last line: it doesn't count. A run that goes on from
step S has lost what came after it, so its lines after S are cut off.
"""

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole

FILE = "metrics.jsonl"
LOG_EVERY = 10  # steps between lines

_NO_LOSSES = ("gradient_norm", "matched", "learning_rate")  # of what a step gives


def named(losses: Mapping[str, float]) -> dict[str, float]:
    """What a step gives, by the names that it has in the log and in TensorBoard."""
    return {name if name in _NO_LOSSES else f"loss/{name}": value for name, value in losses.items()}


class MetricsLog:
    """The file of a run, open for more lines; a context manager.

    >>> with MetricsLog(Path("runs/demo/metrics.jsonl"), step=200) as log:
    ...     log.write(210, {"loss/total": 0.8})
    """

    def __init__(self, path: Path, step: int):
        """Opens the file of a run that goes on from `step`, and cuts off what it says of later steps.

        Raises:
            UserError: a line of the file is none; a torn last one is no error.
        """
        self._path = path
        kept = [record for record in read(path) if record["step"] <= step]
        text = b"".join(map(_line, kept))
        if not path.is_file() or path.read_bytes() != text:
            write_whole(path, text)
        self._last = kept[-1]["step"] if kept else -1
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends what was measured at `step`, all of it; a value that isn't finite, or None, is written as null.

        Args:
            step: after that of the line before.
            values: numbers (or scalars of NumPy and TensorFlow) by name.
        """
        if step <= self._last:
            raise ValueError(f"step {step} comes after {self._last}: a step has one line")
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        left = _line({"step": int(step), "time": time} | {name: _number(value) for name, value in values.items()})
        while left:  # once, but for a disk that is nearly full
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)
        self._last = step

    def amend(self, step: int, values: Mapping[str, float]) -> None:
        """Adds to the line of `step` where that is the last one, and is as `write` otherwise."""
        if step != self._last:
            self.write(step, values)
            return
        records = read(self._path)
        records[-1] |= {name: _number(value) for name, value in values.items()}
        os.close(self._file)
        write_whole(self._path, b"".join(map(_line, records)))
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read(path: Path) -> list[dict]:
    """The lines of a file, ascending in `step`; [] where there is no file.

    Raises:
        UserError: a line is none, or is out of order; a torn last one is passed over.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    records: list[dict] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            whole = isinstance(record["step"], int)
        except (ValueError, TypeError, KeyError):
            whole = False
        if not whole and number == len(lines):  # torn, or the nothing after the last line's end
            break
        if not whole or (records and record["step"] <= records[-1]["step"]):
            reason = f"comes after step {records[-1]['step']}" if whole else "is not a line of metrics"
            raise UserError(f"{path}, line {number}: {reason}; move the file away, and a new one is begun")
        records.append(record)
    return records


def _line(record: Mapping) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _number(value: object) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
