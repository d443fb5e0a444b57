"""verify from outside: everything that can be wrong with records is found and named."""

import json
import re
import subprocess
import sys

import pytest

from detect_faces.errors import UserError
from tools import convert, tf_example, tfrecord_file, verify


@pytest.fixture
def records(wider, tmp_path):
    """Four pictures in two shards: the folder and its shards."""
    images, annotations = wider
    output = tmp_path / "train"
    convert.main(
        f"--from wider_face --images {images} --annotations {annotations} "
        f"--to tfrecord --output {output} --shards 2".split()
    )
    return output, sorted(output.glob("*.tfrecord"))


def run(*arguments):
    """(exit code, lines of errors, the counts)."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.verify", "--json", *map(str, arguments)], capture_output=True, text=True
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line], json.loads(done.stdout or "null")


def rewritten(shard, change):
    """Frames the examples of a shard anew after `change` has been at the first one's features."""
    records = [record.data for record in tfrecord_file.read_records(shard)]
    example = tf_example.Example.FromString(records[0])
    change(example.features.feature)
    records[0] = example.SerializeToString()
    shard.write_bytes(b"".join(map(tfrecord_file.frame, records)))


def test_good_records(records, capsys):
    output, shards = records
    assert run(output) == (0, [], {"files": 2, "images": 4, "boxes": 3, "problems": 0})
    assert run(f"{output}/train@2", "--workers", "1")[0] == 0
    assert verify.main([str(shards[0])]) == 0
    assert capsys.readouterr().out == "1 files, 2 images, 3 boxes: all well\n"


def test_a_flipped_byte_a_torn_tail_and_a_missing_shard(records):
    output, (first, second) = records
    data = bytearray(first.read_bytes())
    data[300] ^= 4
    first.write_bytes(data)
    code, errors, counts = run(output)
    assert (code, counts["images"]) == (1, 3)
    assert errors == [f"error: {first}, record 1: the checksum of its data is wrong; make the file again"]
    second.write_bytes(second.read_bytes()[:-5])
    code, errors, counts = run(output)
    assert counts["problems"] == 2
    assert f"{second}, record 2: torn off" in errors[1]
    second.unlink()
    code, errors, counts = run(output)
    assert (code, counts["files"], counts["problems"]) == (1, 1, 3)
    assert "shard 00001 of train@2 is missing" in errors[0]
    assert f"{second}: is in the manifest, but not there" in errors[1]


def test_another_file_in_a_shards_place(records):
    output, (first, second) = records
    first.write_bytes(second.read_bytes())
    code, errors, _ = run(output)
    assert code == 1
    assert f"{first}: is not the file that the manifest describes" in errors[0]
    assert sum("as well" in line for line in errors) == 2


def set_floats(key, values):
    def change(feature):
        feature[f"image/object/{key}"].float_list.value[:] = values

    return change


def set_ints(key, values):
    def change(feature):
        feature[key].int64_list.value[:] = values

    return change


def set_image(make):
    def change(feature):
        feature["image/encoded"].bytes_list.value[0] = make()

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (set_floats("bbox/xmin", [0.9, 0.5]), r"a.jpg: box 1 \(0.9, 0.0625, 0.229167, 0.4375\) is inverted, empty or"),
        (set_floats("bbox/xmax", [0.2, 1.5]), "box 2 .* is inverted, empty or beyond"),
        (set_floats("bbox/ymin", [float("nan"), 0.1]), "box 1 has a side that is not a finite number"),
        (set_floats("bbox/ymin", [0.1]), "its boxes, classes and flags differ in number"),
        (
            set_ints("image/object/class/label", [1, 7]),
            "1 boxes are of class 'face', id 7: the label map has 'face' as 1",
        ),
        (set_ints("image/width", [64]), "its image is 48x32, not 64x32"),
        (lambda feature: feature["image/encoded"].bytes_list.value.__setitem__(0, b"no"), "its image: not a JPEG"),
        (lambda feature: feature.__delitem__("image/encoded"), "has no image/encoded"),
    ],
)
def test_a_bad_record_is_named(records, change, message, capsys):
    _, (first, _) = records
    rewritten(first, change)
    assert verify.main([str(first)]) == 1
    error = capsys.readouterr().err
    assert f"{first}, record 1: " in error
    assert re.search(message, error)


def test_images_that_do_not_decode_as_they_look(records, picture, capsys):
    _, (first, second) = records
    rewritten(first, set_image(lambda: picture()[:-30]))
    assert verify.main([str(first)]) == 1
    assert "its image: truncated" in capsys.readouterr().err
    rewritten(second, set_image(lambda: picture(mode="CMYK")))
    assert verify.main([str(second)]) == 1
    assert "not as TensorFlow would read it (CMYK JPEG)" in capsys.readouterr().err


def test_wrong_use(tmp_path, records):
    for arguments, message in [
        ([tmp_path / "none"], "no TFRecord file there"),
        ([records[0], "--workers", "0"], "--workers 0"),
        ([records[0], "--label-map", "none"], "none: No such file"),
    ]:
        with pytest.raises(UserError, match=message):
            verify.main(list(map(str, arguments)))
    (records[0] / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        verify.main([str(records[0])])
