"""Examples by number, and the order in which a run takes them."""

from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools import tfrecord_file
from training.examples import Examples, example_at, positions


@given(st.integers(1, 50), st.integers(0, 5))
def test_each_pass_takes_every_example_once(examples, seed):
    taken = [example_at(position, examples, seed) for position in range(3 * examples)]
    assert set(Counter(taken).values()) == {3}
    for number in range(3):
        assert sorted(taken[number * examples : (number + 1) * examples]) == list(range(examples))


def test_passes_and_seeds_differ():
    first, second = ([example_at(position, 50, 0) for position in range(start, start + 50)] for start in (0, 50))
    assert first != second
    assert first != [example_at(position, 50, 1) for position in range(50)]


@given(st.integers(0, 100), st.integers(1, 4), st.integers(1, 6))
def test_replicas_share_a_batch(step, replicas, share):
    size = replicas * share
    parts = [list(positions(step, size, replica, replicas)) for replica in range(replicas)]
    assert list(chain(*parts)) == list(range(step * size, (step + 1) * size))


def test_records_are_read_by_number(tmp_path):
    contents = [[b"one", b""], [], [b"three" * 1000, b"four"]]
    for number, records in enumerate(contents):
        (tmp_path / f"{number}.tfrecord").write_bytes(b"".join(map(tfrecord_file.frame, records)))
    examples = Examples(sorted(tmp_path.iterdir()))
    assert [examples.read(number) for number in range(len(examples))] == list(chain(*contents))
    assert examples.place(0) == f"{tmp_path}/0.tfrecord, record 1"
    assert examples.place(3) == f"{tmp_path}/2.tfrecord, record 2"
    damaged = tmp_path / "2.tfrecord"
    data = bytearray(damaged.read_bytes())
    data[-6] ^= 1
    damaged.write_bytes(data)
    assert examples.read(2) == b"three" * 1000
    with pytest.raises(UserError, match=r"2\.tfrecord: the record at byte .* is damaged"):
        examples.read(3)


def test_a_fingerprint_tells_examples_from_others(tmp_path):
    def of(*shards):
        for number, records in enumerate(shards):
            (tmp_path / f"{number}.tfrecord").write_bytes(b"".join(map(tfrecord_file.frame, records)))
        return Examples([tmp_path / f"{number}.tfrecord" for number in range(len(shards))]).fingerprint()

    one = of([b"one", b"two"], [b"three"])
    assert (one["images"], one["bytes"]) == (3, 11)
    assert of([b"one"], [], [b"two", b"three"]) == one  # the same examples in other files
    others = [of([b"one", b"twu"], [b"three"]), of([b"two", b"one"], [b"three"]), of([b"onetw", b"o"], [b"three"])]
    assert len({other["digest"] for other in (one, *others)}) == 4


@pytest.mark.parametrize("data, message", [(b"", "hold no image"), (tfrecord_file.frame(b"x")[:-1], "torn off")])
def test_no_examples(tmp_path, data, message):
    path = tmp_path / "train.tfrecord"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        Examples([Path(path)])
