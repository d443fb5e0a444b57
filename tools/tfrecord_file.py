"""TFRecord files without TensorFlow: the frame around each record, and the names of a set of shards.

A record is: length (uint64, little-endian), masked CRC-32C of the length (uint32), data, masked CRC-32C of the data;
the mask is ((crc >> 15) | (crc << 17)) + 0xa282ead8 (tensorflow/core/lib/io/record_writer.h).
"""

import glob
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from detect_faces.errors import UserError

SHARD_NAME = "{prefix}-{index:05d}-of-{count:05d}.tfrecord"
UNFINISHED = ".converting"  # folder for shards that do not have their final names yet
MANIFEST = "manifest.json"

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_SHARD = re.compile(r"(?P<prefix>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)?")
_RECORD_FILE = re.compile(r"[^.].*\.(tf)?records?(-\d{5}-of-\d{5})?|[^.].*-\d{5}-of-\d{5}\.(tf)?records?")


class RecordError(UserError):
    """A damaged record. `place` is the file and the record's number (from 1), `reason` what is wrong with it."""

    def __init__(self, path: str | Path, number: int, reason: str):
        self.place = f"{path}, record {number}"
        self.reason = reason
        super().__init__(f"{self.place}: {reason}")


def frame(data: bytes) -> bytes:
    """The record of `data`, as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _FOOTER.pack(_masked_crc(length)), data, _FOOTER.pack(_masked_crc(data))))


@dataclass(frozen=True)
class Record:
    """A record's number in its file (from 1), its data, and where in the file they begin."""

    number: int
    data: bytes
    offset: int


def read_records(path: str | Path, bad: Callable[[RecordError], None] | None = None) -> Iterator[Record]:
    """The records of a file.

    A damaged record raises RecordError; with `bad` it is handed to that instead, and reading goes on behind it where
    its length can be trusted.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            number = 0
            while file.tell() < size:
                number += 1
                try:
                    length = _read_length(file, path, number, size)
                except RecordError as error:
                    if not bad:
                        raise
                    bad(error)
                    return
                data, crc = file.read(length), file.read(_FOOTER.size)
                if _masked_crc(data) == _FOOTER.unpack(crc)[0]:
                    yield Record(number, data, file.tell() - _FOOTER.size - length)
                    continue
                error = RecordError(path, number, "the checksum of its data is wrong; make the file again")
                if not bad:
                    raise error
                bad(error)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def count_records(path: str | Path) -> int:
    """The number of records up to the end of the file or the first broken length; their data are not read."""
    number = 0
    try:
        for _ in positions(path):
            number += 1
    except RecordError:
        pass
    return number


def positions(path: str | Path) -> Iterator[tuple[int, int]]:
    """Where the data of each record begin in a file, and their length in bytes; the data are not read.

    Raises RecordError where a length is damaged or the file is torn.
    """
    path, number = Path(path), 0
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                number += 1
                length = _read_length(file, path, number, size)
                yield file.tell(), length
                file.seek(length + _FOOTER.size, 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def read_at(path: str | Path, offset: int, length: int) -> bytes:
    """The data of one record of `positions`. Raises UserError where the checksum does not fit."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data, crc = file.read(length), file.read(_FOOTER.size)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if len(crc) < _FOOTER.size or _masked_crc(data) != _FOOTER.unpack(crc)[0]:
        raise UserError(f"{path}: the record at byte {offset} is damaged; run `make verify`, and make the file again")
    return data


def data_checksums(path: str | Path, offsets: Iterable[int], lengths: Iterable[int]) -> bytes:
    """The checksums that stand behind the data of records of `positions`, four bytes each; the data are not read."""
    try:
        with open(path, "rb") as file:
            ends = (int(offset) + int(length) for offset, length in zip(offsets, lengths, strict=True))
            return b"".join(os.pread(file.fileno(), _FOOTER.size, end) for end in ends)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def find_files(pattern: str | Path) -> list[Path]:
    """The record files that a file name, a folder, a glob (`train-?????-of-00010`) or `prefix@10` stands for, sorted.

    Raises UserError when there is none, and when what a folder holds is not one whole set of shards for each prefix.
    """
    pattern = str(pattern)
    path = Path(pattern)
    if path.is_dir():
        if (path / UNFINISHED / MANIFEST).exists():
            raise UserError(f"{path}: a conversion was cut short while it put its shards in place; run it again")
        files = files_in(path)
        _check_whole_sets(path, files)
    elif path.is_file():
        return [path]
    elif sharded := re.fullmatch(r"(.+)@(\d{1,5})", pattern):
        prefix, count = sharded[1], int(sharded[2])
        files = []
        for index in range(count):
            name = f"{prefix}-{index:05d}-of-{count:05d}"
            files += [file for file in (Path(name), Path(name + ".tfrecord")) if file.is_file()][:1]
        if len(files) != count:
            raise UserError(f"{pattern}: {len(files)} of the {count} shards are there")
        return files
    else:
        files = [Path(file) for file in sorted(glob.glob(pattern))]
    if not files:
        raise UserError(f"{pattern}: no TFRecord file there; give a file, a folder, a glob or prefix@N")
    return files


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that have the name of a record file, sorted."""
    return [file for file in sorted(folder.iterdir()) if _RECORD_FILE.fullmatch(file.name)]


def _check_whole_sets(folder: Path, files: list[Path]) -> None:
    sets: dict[str, dict[int, set[int]]] = {}
    for shard in filter(None, (_SHARD.fullmatch(file.name) for file in files)):
        sets.setdefault(shard["prefix"], {}).setdefault(int(shard["count"]), set()).add(int(shard["index"]))
    for prefix, by_count in sets.items():
        if len(by_count) > 1:
            counts = " and ".join(str(count) for count in sorted(by_count))
            raise UserError(
                f"{folder}: {prefix} is there in sets of {counts} shards; name one: {prefix}@{min(by_count)}"
            )
        for count, found in by_count.items():
            if missing := sorted(set(range(count)) - found):
                raise UserError(f"{folder}: shard {missing[0]:05d} of {prefix}@{count} is missing; make the set again")


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _read_length(file, path: Path, number: int, size: int) -> int:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise RecordError(path, number, "torn off: the file ends in the middle of it")
    length, crc = _HEADER.unpack(header)
    if _masked_crc(header[:8]) != crc:
        hint = "not a TFRecord file" if number == 1 else "the file is damaged from here on"
        raise RecordError(path, number, f"the checksum of its length is wrong: {hint}")
    if file.tell() + length + _FOOTER.size > size:
        raise RecordError(path, number, "torn off: the file ends in the middle of it")
    return length
