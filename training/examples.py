"""The training examples by number, and the order in which a run takes them: a function of its seed alone.

Records are found by where they begin in their file, so that a run can start at any step without reading what came
before. Each pass over the set is a permutation of it.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from tools import tfrecord_file


class Examples:
    """Records of a set of files, by number.

    Attributes:
        files: the record files.
        file_of, offsets, lengths: (N,) int64 of each record: which file, where its data begin, how many bytes.
    """

    def __init__(self, files: Sequence[str | Path]):
        """Finds the records. Raises UserError where a file is torn or damaged, or there is no record at all."""
        self.files = [Path(file) for file in files]
        rows = [
            (number, offset, length)
            for number, file in enumerate(self.files)
            for offset, length in tfrecord_file.positions(file)
        ]
        if not rows:
            raise UserError(f"{self.files[0]}: the records hold no image; run `make data` again")
        self.file_of, self.offsets, self.lengths = np.array(rows, np.int64).T

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, number: int) -> bytes:
        """The data of a record. Raises UserError where they are not what their checksum says."""
        file = self.files[self.file_of[number]]
        return tfrecord_file.read_at(file, int(self.offsets[number]), int(self.lengths[number]))

    def fingerprint(self) -> dict[str, int | str]:
        """What tells these examples from others, whatever their files are named, without reading their data.

        Returns:
            the number of `images`, their `bytes`, and a `digest` of their lengths and checksums in their order.
        """
        digest = hashlib.blake2b(self.lengths.astype("<i8").tobytes(), digest_size=16)
        for number, file in enumerate(self.files):
            own = self.file_of == number
            digest.update(tfrecord_file.data_checksums(file, self.offsets[own], self.lengths[own]))
        return {"images": len(self), "bytes": int(self.lengths.sum()), "digest": digest.hexdigest()}

    def place(self, number: int) -> str:
        """Where a record is, for messages: the file and its number in it, from 1."""
        first = int(np.searchsorted(self.file_of, self.file_of[number]))
        return f"{self.files[self.file_of[number]]}, record {number - first + 1}"


def example_at(position: int, examples: int, seed: int) -> int:
    """The number of the example that a run takes at a position of its order.

    >>> [example_at(position, 3, seed=0) for position in range(6)]
    [2, 0, 1, 2, 0, 1]
    """
    epoch, within = divmod(position, examples)
    return int(_permutation(examples, seed, epoch)[within])


@lru_cache(maxsize=2)  # a batch may end one pass and begin another
def _permutation(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(examples)


def positions(step: int, batch_size: int, replica: int = 0, replicas: int = 1) -> range:
    """Of a global batch of `batch_size`, the positions in the order of examples that one replica takes at `step`.

    >>> positions(2, 8), positions(2, 8, replica=1, replicas=2)
    (range(16, 24), range(20, 24))
    """
    share = batch_size // replicas
    first = step * batch_size + replica * share
    return range(first, first + share)
