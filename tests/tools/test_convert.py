"""The convert command from outside: records, their replacement, kills, bad input, exit codes, any to any."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from detect_faces.errors import UserError
from tools import convert, formats, shard_maker
from tools.annotations import AnnotatedImage
from tools.files import only_writer
from tools.formats import open_images, tfrecord, wider_face
from tools.report import Report

COMMAND = [sys.executable, "-m", "tools.convert"]


def arguments(wider, output, *more, source="wider_face", target="tfrecord"):
    images, annotations = wider
    return [
        *("--from", source, "--images", str(images), "--annotations", str(annotations)),
        *("--to", target, "--output", str(output), *more),
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def load_records(pattern):
    return list(tfrecord.load(pattern, None, None, Report()))


def test_records_of_wider_face(wider, tmp_path, capsys):
    output = tmp_path / "train"
    assert convert.main(arguments(wider, output, "--shards", "3", "--json")) == 0
    names = [f"train-{i:05d}-of-00003.tfrecord" for i in range(3)]
    assert sorted(contents(output)) == ["manifest.json", *names]
    manifest = json.loads((output / "manifest.json").read_text())
    assert [shard["images"] for shard in manifest["shards"]] == [2, 1, 1]
    for shard in manifest["shards"]:
        data = (output / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    out, err = capsys.readouterr()
    counts = json.loads(out)
    assert counts.pop("output") == str(output)
    assert counts == manifest["counts"]
    assert counts == {
        "images": 4,
        "boxes": 3,
        "clipped": 1,
        "dropped": {"outside the image": 1, "zero or negative size": 1},
        "skipped": {},
        "reencoded": {},
        "not_kept": {},
        "problems": 0,
    }
    assert "boxes dropped              1  outside the image" in err
    loaded = {image.name: image for image in load_records(f"{tmp_path}/train/train@3")}
    assert loaded["1--Group/c.jpg"].xyxy[0] == pytest.approx([40, 20, 48, 32])
    assert loaded["0--Parade/a.jpg"].ignore.tolist() == [False, True]
    assert len(loaded["0--Parade/b.jpg"]) == 0
    assert loaded["0--Parade/a.jpg"].encoded() == (wider[0] / "0--Parade/a.jpg").read_bytes()


def test_tensorflow_reads_the_shards(wider, tmp_path):
    tf = pytest.importorskip("tensorflow")
    convert.main(arguments(wider, tmp_path / "t", "--shards", "2"))
    files = sorted(str(path) for path in (tmp_path / "t").glob("*.tfrecord"))
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
    }
    parsed = [tf.io.parse_single_example(record, features) for record in tf.data.TFRecordDataset(files)]
    assert sorted(len(example["image/object/bbox/xmin"].values) for example in parsed) == [0, 0, 1, 2]
    assert all(tf.io.decode_image(example["image/encoded"]).shape == (32, 48, 3) for example in parsed)


def test_the_same_bytes_again_and_sets_replace_each_other(wider, tmp_path):
    output = tmp_path / "out"
    convert.main(arguments(wider, output, "--shards", "4"))
    first = contents(output)
    (output / "notes.txt").write_text("kept")
    convert.main(arguments(wider, output, "--shards", "2"))
    assert sorted(contents(output)) == [
        "manifest.json", "notes.txt", "out-00000-of-00002.tfrecord", "out-00001-of-00002.tfrecord"
    ]  # fmt: skip
    convert.main(arguments(wider, output, "--shards", "4"))
    assert contents(output) == first | {"notes.txt": b"kept"}


def test_default_number_of_shards(wider, tmp_path, monkeypatch):
    convert.main(arguments(wider, tmp_path / "one"))
    assert len(list((tmp_path / "one").glob("*.tfrecord"))) == 1
    monkeypatch.setattr(tfrecord, "IMAGES_PER_SHARD", 3)
    convert.main(arguments(wider, tmp_path / "two"))
    assert len(list((tmp_path / "two").glob("*.tfrecord"))) == 2


def test_what_is_held_out_of_one_part_is_the_other(wider, tmp_path, capsys):
    def names(folder):
        return {image.name for image in load_records(folder)}

    convert.main(arguments(wider, tmp_path / "all"))
    convert.main([*arguments(wider, tmp_path / "train"), "--hold-out", "0.5"])
    train = names(tmp_path / "train")
    assert f"{4 - len(train)}  held out" in capsys.readouterr().err
    convert.main([*arguments(wider, tmp_path / "validation"), "--hold-out", "0.5", "--held-out"])
    validation = names(tmp_path / "validation")
    assert train and validation and not train & validation and train | validation == names(tmp_path / "all")
    with pytest.raises(SystemExit):
        convert.main([*arguments(wider, tmp_path / "none"), "--held-out"])


def test_the_share_that_is_held_out_is_nearly_that():
    images = [AnnotatedImage(f"{i}.jpg", 4, 4, [], [], b"", {}) for i in range(3000)]
    report = Report()
    kept = [image.name for image in convert._part(images, 0.1, False, report)]
    assert 2600 < len(kept) < 2800 and report.skipped == {"held out": 3000 - len(kept)}
    fewer = [image.name for image in convert._part(images[::7], 0.1, False, Report())]
    assert set(fewer) <= set(kept)  # nothing changes places when a set grows


def test_bad_images_are_named_and_the_rest_is_converted(wider, tmp_path, picture):
    images, _ = wider
    (images / "0--Parade/a.jpg").write_bytes(picture()[:-20])
    (images / "0--Parade/b.jpg").unlink()
    done = subprocess.run([*COMMAND, *arguments(wider, tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert any("0--Parade/a.jpg: truncated" in line for line in errors)
    assert any("wider_face_train_bbx_gt.txt, line 5: 0--Parade/b.jpg: no such file" in line for line in errors)
    assert len(load_records(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        (["--from", "pascal"], "unknown format 'pascal'; known are .*open_images.*tfrecord.*wider_face"),
        (["--to", "pascal"], "unknown format 'pascal'; known are"),
        (["--annotations", "none.txt"], "none.txt: No such file"),
        (["--images", "none"], "none: no such folder"),
        (["--label-map", "none.pbtxt"], "none.pbtxt: No such file"),
        (["--class", "face"], "--class face: give NAME=CLASS"),
        (["--class", "face=head"], "has no class 'head' .it has face.; give --class head=face"),
        (["--shards", "0"], "--shards 0: give a number"),
        (["--shards", "5"], "5 shards for 4 images"),
        (["--workers", "0"], "--workers 0: give a number"),
        (["--max-side", "0"], "--max-side 0: give a number"),
        (["--copy-images"], "--copy-images has no meaning for tfrecord"),
        (["--image-labels", "labels.csv"], "--image-labels has no meaning for wider_face"),
        (["--to", "wider_face", "--shards", "2"], "--shards has no meaning for wider_face"),
    ],
)
def test_one_clear_line_and_nothing_written(wider, tmp_path, capsys, change, message):
    output = tmp_path / "out"
    with pytest.raises(UserError, match=message) as raised:
        convert.main([*arguments(wider, output), *change])
    assert "\n" not in str(raised.value)
    assert not output.exists() or not contents(output)


def test_no_good_image_keeps_the_old_set(wider, tmp_path):
    output = tmp_path / "out"
    convert.main(arguments(wider, output))
    before = contents(output)
    for path in wider[0].rglob("*.jpg"):
        path.write_bytes(b"broken")
    done = subprocess.run([*COMMAND, *arguments(wider, output)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "not one good image" in done.stderr.splitlines()[-1]
    assert contents(output) == before
    for target in ("wider_face", "open_images"):
        with pytest.raises(UserError, match="not one good image"):
            convert.main(arguments(wider, tmp_path / target, target=target))
        assert not contents(tmp_path / target)


def test_two_writers(wider, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    with only_writer(output), pytest.raises(UserError, match="another process is writing here"):
        convert.main(arguments(wider, output))
    assert convert.main(arguments(wider, output)) == 0


@pytest.fixture
def many(tmp_path, picture):
    """A WIDER FACE set of 3,000 entries, so that a kill finds the command at work."""
    images = tmp_path / "many"
    images.mkdir()
    lines = []
    for i in range(3000):
        (images / f"{i}.jpg").write_bytes(picture())
        lines.append(f"{i}.jpg\n1\n1 1 9 9 0 0 0 0 0 0\n")
    (tmp_path / "many.txt").write_text("".join(lines))
    return images, tmp_path / "many.txt"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(wider, many, tmp_path, number):
    output = tmp_path / "out"
    convert.main(arguments(wider, output, "--shards", "4"))
    before = contents(output)
    process = subprocess.Popen([*COMMAND, *arguments(many, output, "--shards", "2")], stderr=subprocess.PIPE)
    shard = output / ".converting" / "out-00000-of-00002.tfrecord"
    while not (shard.exists() and shard.stat().st_size > 10000):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert files(output) == before
    assert len(load_records(output)) == 4
    convert.main(arguments(wider, output, "--shards", "4"))
    assert contents(output) == before


def test_killed_while_the_set_is_put_in_place(wider, tmp_path, monkeypatch):
    output = tmp_path / "out"
    convert.main(arguments(wider, output, "--shards", "4"))
    before = contents(output)

    # Every step of putting in place is one of these two calls; the n-th of them is where the process dies.
    steps = [f"{call}:{n}" for call in ("unlink", "replace") for n in range(3)]
    for step in steps:
        call, n = step.split(":")
        real, seen = getattr(tfrecord.Path, call), []

        def counting(self, *args, real=real, seen=seen, n=int(n), **options):
            if self.suffix == ".tfrecord" and (real.__name__ == "replace" or self.parent == output):
                seen.append(self)
                if len(seen) > n:
                    raise KeyboardInterrupt
            return real(self, *args, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(tfrecord.Path, call, counting)
            convert.main(arguments(wider, output, "--shards", "3"))
        with pytest.raises(UserError, match="run it again"):
            load_records(output)
        convert.main(arguments(wider, output, "--shards", "4"))
        assert contents(output) == before


def test_full_disk(wider, tmp_path, monkeypatch):
    output = tmp_path / "out"
    convert.main(arguments(wider, output))
    before = contents(output)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"No space left on device; what .*out held"):
        patch.setattr(shard_maker.os, "fsync", full)
        convert.main(arguments(wider, output, "--shards", "2"))
    assert files(output) == before
    assert not list((output / ".converting").glob("*.part"))
    assert convert.main(arguments(wider, output)) == 0
    assert contents(output) == before


def test_any_to_any(wider, tmp_path):
    """WIDER FACE to records, to Open Images, to records, to WIDER FACE: names and boxes stay."""
    steps = [
        ("wider_face", wider, "tfrecord"),
        ("tfrecord", (None, tmp_path / "0"), "open_images"),
        ("open_images", (tmp_path / "1" / "images", tmp_path / "1" / open_images.ANNOTATIONS), "tfrecord"),
        ("tfrecord", (None, tmp_path / "2"), "wider_face"),
    ]
    for number, (source, (images, annotations), target) in enumerate(steps):
        command = [
            "--from",
            source,
            "--annotations",
            str(annotations),
            "--to",
            target,
            "--output",
            str(tmp_path / str(number)),
        ]
        assert convert.main([*command, *(["--images", str(images)] if images else [])]) == 0
    final = list(wider_face.load(tmp_path / "3" / wider_face.ANNOTATIONS, tmp_path / "3" / "images", None, Report()))
    # The images without faces went with Open Images, which cannot name them.
    assert {image.name: image.xyxy.tolist() for image in final} == {
        "0--Parade/a.jpg": [[1, 2, 11, 14], [20.25, 3.5, 28.25, 13.25]],
        "1--Group/c.jpg": [[40, 20, 48, 32]],
    }
    assert final[0].flags["invalid"].tolist() == [0, 1]
    assert final[0].source.read_bytes() == (wider[0] / "0--Parade/a.jpg").read_bytes()


def test_damaged_records_are_named_and_the_rest_is_read(wider, tmp_path):
    convert.main(arguments(wider, tmp_path / "r"))
    (shard,) = (tmp_path / "r").glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    lines = []
    images = list(tfrecord.load(shard, None, None, Report(show=lines.append)))
    assert len(images) == 3
    assert lines == [f"error: {shard}, record 1: the checksum of its data is wrong; make the file again"]


def test_every_format_has_the_pair():
    for name in formats.NAMES:
        module = formats.find(name)
        assert callable(module.load) and callable(module.save)


def test_real_photographs(shared_wider, tmp_path):
    """The 400 images of wider_dev: all bytes kept, and TensorFlow reads each."""
    tf = pytest.importorskip("tensorflow")
    output = tmp_path / "dev"
    assert convert.main(arguments(shared_wider("wider_dev"), output, "--shards", "4")) == 0
    counts = json.loads((output / "manifest.json").read_text())["counts"]
    assert (counts["images"], counts["boxes"], counts["reencoded"]) == (400, 4897, {})
    records = tf.data.TFRecordDataset(sorted(str(path) for path in output.glob("*.tfrecord")))
    feature = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
    }
    for record in records:
        example = tf.io.parse_single_example(record, feature)
        assert tf.io.decode_image(example["image/encoded"]).shape[1] == example["image/width"]
