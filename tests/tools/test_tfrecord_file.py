"""TFRecord framing against TensorFlow's own reader and writer, damage of every kind, and names of shards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools import tfrecord_file
from tools.tfrecord_file import RecordError, find_files, frame, read_records

some_records = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


def read(path):
    return [record.data for record in read_records(path)]


@given(records=st.lists(st.binary(max_size=300), max_size=5))
def test_tensorflow_reads_what_we_write_and_we_read_what_it_writes(folder, records):
    tf = pytest.importorskip("tensorflow")
    ours, theirs = folder / "ours", folder / "theirs"
    ours.write_bytes(b"".join(map(frame, records)))
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for record in records:
            writer.write(record)
    assert ours.read_bytes() == theirs.read_bytes()
    assert read(theirs) == records
    assert tfrecord_file.count_records(theirs) == len(records)
    assert list(tf.data.TFRecordDataset(str(ours)).as_numpy_iterator()) == records


@given(records=some_records, data=st.data())
def test_every_flipped_bit_is_noticed_in_its_record(folder, records, data):
    path = folder / "flipped"
    content = bytearray(b"".join(map(frame, records)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    hit, start = 0, 0
    while start + len(frame(records[hit])) <= at:
        start += len(frame(records[hit]))
        hit += 1
    with pytest.raises(RecordError, match=f"flipped, record {hit + 1}: "):
        read(path)
    problems = []
    kept = [record.data for record in read_records(path, problems.append)]
    assert len(problems) == 1
    assert kept[:hit] == records[:hit]
    if at >= start + 12:  # behind the length, which still says where the next record begins
        assert kept == records[:hit] + records[hit + 1 :]


@given(records=some_records, data=st.data())
def test_a_torn_tail_is_noticed(folder, records, data):
    path = folder / "torn"
    whole, last = b"".join(map(frame, records)), frame(records[-1])
    path.write_bytes(whole[: -data.draw(st.integers(1, len(last) - 1))])
    with pytest.raises(RecordError, match=f"torn, record {len(records)}: torn off"):
        read(path)
    assert tfrecord_file.count_records(path) == len(records) - 1


def test_a_length_beyond_the_file_is_not_read_into_memory(tmp_path):
    path = tmp_path / "huge"
    header = frame(b"")[:0] + (1 << 62).to_bytes(8, "little")
    path.write_bytes(header + tfrecord_file._masked_crc(header).to_bytes(4, "little"))
    with pytest.raises(RecordError, match="torn off"):
        read(path)


def test_another_file_is_called_no_tfrecord_file(tmp_path):
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(RecordError, match="not a TFRecord file"):
        read(tmp_path / "photo")
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "none")


@pytest.mark.parametrize(
    "there, pattern, found",
    [
        (["one.tfrecord"], "one.tfrecord", ["one.tfrecord"]),
        (["b.record", "a.tfrecord", "notes.txt", ".a.tfrecord.part"], "", ["a.tfrecord", "b.record"]),
        (["t-00000-of-00002.tfrecord", "t-00001-of-00002.tfrecord"], "t@2", None),
        (["t.tfrecord-00000-of-00002", "t.tfrecord-00001-of-00002"], "t.tfrecord@2", None),
        (["t.tfrecord-00000-of-00002", "t.tfrecord-00001-of-00002"], "", None),
        (["t-00000-of-00003.tfrecord", "t-00001-of-00003.tfrecord"], "t-0000[01]-*", None),
    ],
)
def test_find_files(tmp_path, there, pattern, found):
    for name in there:
        (tmp_path / name).touch()
    assert [path.name for path in find_files(f"{tmp_path}/{pattern}")] == (found or there)


@pytest.mark.parametrize(
    "there, pattern, message",
    [
        ([], "", "no TFRecord file"),
        ([], "x-*", "no TFRecord file"),
        ([], "gone.tfrecord", "no TFRecord file"),
        (["t-00000-of-00002.tfrecord"], "t@2", "1 of the 2 shards"),
        (["t-00001-of-00002.tfrecord"], "", "shard 00000 of t@2 is missing"),
        (["t-00000-of-00001.tfrecord", "t-00000-of-00002.tfrecord"], "", "sets of 1 and 2 shards"),
    ],
)
def test_find_files_refuses(tmp_path, there, pattern, message):
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=message):
        find_files(f"{tmp_path}/{pattern}")
