"""Sets of records from outside: the same bytes with any number of workers, what a kill leaves, and smaller images."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detect_faces.errors import UserError
from tools import convert, shard_maker
from tools.annotations import AnnotatedImage
from tools.formats import tfrecord
from tools.report import Report

COMMAND = [sys.executable, "-m", "tools.convert"]
IMAGES = 450  # enough for several workers


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A WIDER FACE set of pictures of noise, two of them bad: the arguments to convert it to `output`."""
    folder = tmp_path_factory.mktemp("many")
    rng, lines = np.random.default_rng(0), []
    for i in range(IMAGES):
        pixels = rng.integers(0, 256, (40 + i % 7, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.jpg", quality=90)
        lines.append(f"{i:03}.jpg\n1\n{i % 20} 1 9 {9 + i % 30} 0 0 0 0 0 0\n")
    (folder / "007.jpg").write_bytes((folder / "007.jpg").read_bytes()[:-100])
    (folder / "011.jpg").write_bytes(b"\xff\xd8\xff\xe0no picture")
    (folder / "gt.txt").write_text("".join(lines))

    def arguments(output, *more):
        return [
            *("--from", "wider_face", "--images", str(folder), "--annotations", str(folder / "gt.txt")),
            *("--to", "tfrecord", "--output", str(output), "--shards", "9", *more),
        ]

    return arguments


@pytest.fixture(scope="module")
def made(many, tmp_path_factory):
    """The files that the whole conversion makes, by one worker."""
    output = tmp_path_factory.mktemp("made") / "out"
    assert convert.main(many(output, "--workers", "1")) == 1
    return files(output)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_same_bytes_with_any_number_of_workers(many, made, tmp_path):
    for workers in (2, 5):
        output = tmp_path / str(workers) / "out"
        done = subprocess.run([*COMMAND, *many(output, "--workers", str(workers))], capture_output=True, text=True)
        assert done.returncode == 1
        assert files(output) == made
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
            line for line in done.stderr.splitlines() if "007.jpg: truncated" in line or "011.jpg" in line
        ]
        assert done.stderr.count("error: ") == 2
    sizes = [shard["images"] for shard in json.loads(made["manifest.json"])["shards"]]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == IMAGES - 2


def test_the_manifest_says_what_became_of_everything(made):
    manifest = json.loads(made["manifest.json"])
    assert (manifest["counts"]["images"], manifest["counts"]["boxes"], manifest["counts"]["problems"]) == (448, 448, 2)
    assert manifest["made_from"]["format"] == "wider_face"
    bad = [line for shard in manifest["shards"] for line in shard["bad"]]
    assert len(bad) == 1 and "007.jpg: truncated" in bad[0]
    for shard in manifest["shards"]:
        assert shard["sha256"] == hashlib.sha256(made[shard["file"]]).hexdigest()


def test_killed_again_and_again(many, made, tmp_path):
    """Kill -9 at random moments: never a torn shard, no finished one made twice, the same bytes in the end."""
    output, rng, finished, kills = tmp_path / "out", random.Random(2), {}, 0
    while True:
        process = subprocess.Popen([*COMMAND, *many(output, "--workers", "2")], stderr=subprocess.PIPE)
        try:
            process.wait(rng.uniform(0.2, 0.2 + kills / 4))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -9:
            assert process.returncode == 1
            break
        kills += 1
        assert all(data == made[name] for name, data in files(output).items()) if output.exists() else True
        for path, was in finished.items():
            if path.exists():
                assert path.stat().st_ino == was
        entries = (output / tfrecord.UNFINISHED).glob("*.json")
        finished = {path.with_suffix(".tfrecord"): path.with_suffix(".tfrecord").stat().st_ino for path in entries}
    assert kills
    assert files(output) == made
    assert not (output / tfrecord.UNFINISHED).exists()


def test_workers_end_with_a_parent_that_is_killed(many, tmp_path):
    output = tmp_path / "out"
    process = subprocess.Popen([*COMMAND, *many(output, "--workers", "2")], stderr=subprocess.DEVNULL)
    parts = output / tfrecord.UNFINISHED
    while not list(parts.glob(".*.part")) and process.poll() is None:
        time.sleep(0.002)
    workers = {int(path.name.split(".")[-2]) for path in parts.glob(".*.tfrecord.*.part")}
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_finished_shards_are_used_again(many, made, tmp_path, monkeypatch):
    output = tmp_path / "out"
    made_now = []
    real = shard_maker._make_shard
    monkeypatch.setattr(shard_maker, "_make_shard", lambda task, *rest: made_now.append(task) or real(task, *rest))
    convert.main(many(output, "--workers", "1"))
    assert len(made_now) == 9
    made_now.clear()
    shard = output / "out-00003-of-00009.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert convert.main(many(output, "--workers", "1")) == 1  # the bad images are named again
    assert [task.target.name for task in made_now] == [shard.name]
    assert files(output) == made
    made_now.clear()
    convert.main(many(output, "--workers", "1", "--max-side", "50"))
    assert len(made_now) == 9


def test_larger_images_are_made_smaller_with_their_boxes(tmp_path):
    """A white square on grey stays under its box; smaller images keep their bytes."""
    paths = []
    for name, size in [("large.jpg", (900, 600)), ("tall.png", (300, 800)), ("small.jpg", (200, 100))]:
        image = Image.new("RGB", size, (90, 90, 90))
        ImageDraw.Draw(image).rectangle([60, 30, 119, 89], fill="white")
        image.save(tmp_path / name)
        paths.append((tmp_path / name, size))
    images = [AnnotatedImage(path.name, *size, [[60, 30, 120, 90]], ("face",), path) for path, size in paths]
    report = Report()
    tfrecord.save(images, tmp_path / "out", report, label_map={"face": 1}, max_side=300)
    assert report.reencoded == {"larger than 300 pixels": 2}
    loaded = {image.name: image for image in tfrecord.load(tmp_path / "out", None, None, Report())}
    assert [(image.width, image.height) for image in loaded.values()] == [(300, 200), (112, 300), (200, 100)]
    assert loaded["small.jpg"].encoded() == (tmp_path / "small.jpg").read_bytes()
    for image in loaded.values():
        (tmp_path / "pixels").write_bytes(image.encoded())
        with Image.open(tmp_path / "pixels") as picture:
            assert picture.size == (image.width, image.height)
            white = np.asarray(picture.convert("L")) > 172
        rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
        square = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(image.xyxy[0], square, atol=1)


def test_images_that_are_no_files_go_through_the_disk(tmp_path, picture):
    """From records of other shards, and from bytes: the images and their order are the same."""
    images = [AnnotatedImage(f"{i}.jpg", 64, 32, [[1, 2, 3 + i, 9]], ("face",), picture(width=64)) for i in range(7)]
    tfrecord.save(images, tmp_path / "a", Report(), label_map={"face": 1}, shards=1)
    tfrecord.save(tfrecord.load(tmp_path / "a", None, None, Report()), tmp_path / "b", Report(), label_map={"face": 1})
    assert (tmp_path / "a/a-00000-of-00001.tfrecord").read_bytes() == (
        tmp_path / "b/b-00000-of-00001.tfrecord"
    ).read_bytes()
    assert [image.encoded() for image in tfrecord.load(tmp_path / "b", None, None, Report())] == [picture(width=64)] * 7


def test_a_class_that_no_box_has(wider, tmp_path, capsys):
    images, annotations = wider
    command = ["--from", "wider_face", "--images", str(images), "--annotations", str(annotations)]
    convert.main([*command, "--to", "tfrecord", "--output", str(tmp_path / "r")])
    command = ["--from", "tfrecord", "--annotations", str(tmp_path / "r"), "--class", "Face=face"]
    with pytest.raises(UserError, match="no box of 'Face': the annotations have 'face'; mend --class"):
        convert.main([*command, "--to", "tfrecord", "--output", str(tmp_path / "s")])
    assert not list((tmp_path / "s").rglob("*"))


def test_what_the_target_cannot_hold_is_said(wider, tmp_path, capsys):
    images, annotations = wider
    command = ["--from", "wider_face", "--images", str(images), "--annotations", str(annotations), "--json"]
    convert.main([*command, "--to", "yolo", "--output", str(tmp_path / "y")])
    lost = json.loads(capsys.readouterr().out)["not_kept"]
    assert lost == {"blur": 2, "expression": 1, "ignore": 1, "illumination": 1, "invalid": 1, "occlusion": 1, "pose": 1}


def test_images_are_copied_when_asked(wider, tmp_path):
    images, annotations = wider
    command = ["--from", "wider_face", "--images", str(images), "--annotations", str(annotations), "--copy-images"]
    convert.main([*command, "--to", "wider_face", "--output", str(tmp_path / "c")])
    copied = tmp_path / "c" / "images" / "1--Group" / "c.jpg"
    assert copied.read_bytes() == (images / "1--Group" / "c.jpg").read_bytes()
