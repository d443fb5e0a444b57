"""The check command from outside: what it lists, its exit codes, and wrong usage."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from detect_faces.errors import UserError
from tests.tools.conftest import SHARED
from tools import check, convert


def scene(seed, form="JPEG", **options):
    """The bytes of a picture of 120 x 80 pixels, like no other."""
    chance = np.random.default_rng(seed)
    pixels = Image.fromarray(chance.integers(0, 256, (20, 30, 3), np.uint8))
    out = io.BytesIO()
    pixels.resize((120, 80), Image.Resampling.BICUBIC).save(out, form, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.fixture
def make_set(tmp_path):
    """A function that writes a WIDER FACE set of {name: (bytes, boxes)} and gives the options that name it."""

    def make(images, name="set", before="--"):
        folder, lines = tmp_path / name, []
        for file, (data, boxes) in images.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                (folder / file).write_bytes(data)
            lines += [file, str(len(boxes))]
            lines += [f"{x} {y} {w} {h} 0 0 0 0 0 0" for x, y, w, h in boxes] or ["0 0 0 0 0 0 0 0 0 0"]
        annotations = tmp_path / f"{name}_bbx_gt.txt"
        annotations.write_text("\n".join([*lines, ""]))
        options = [f"{before}annotations", str(annotations), f"{before}images", str(folder)]
        return options if before != "--" else ["--format", "wider_face", *options]

    return make


GOOD = {f"{seed}.jpg": (scene(seed), [(10, 10, 20, 25)]) for seed in range(4)}


def run(capsys, *arguments):
    """The exit code and the JSON object."""
    code = check.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def places(result, kind):
    return [(each["image"], each["box"]) for each in result["findings"] if each["kind"] == kind]


def test_a_good_set(make_set, capsys):
    code, result = run(capsys, *make_set(GOOD))
    assert code == 0
    assert result.pop("findings") == []
    assert not any(result.pop("kinds").values())
    assert result == {
        "images": 4,
        "without_boxes": 0,
        "boxes": 4,
        "classes": {"face": 4},
        "against_images": None,
        "severities": {"error": 0, "warning": 0, "note": 0},
    }


def test_everything_at_once(make_set, capsys):
    images = GOOD | {
        "none.jpg": (scene(10), []),
        "lost.jpg": (None, [(1, 1, 10, 10)]),
        "cut.jpg": (scene(11)[:-400], [(1, 1, 10, 10)]),
        "copy.jpg": (scene(1), [(10, 10, 20, 25)]),
        "again.jpg": (scene(2, quality=60), [(10, 10, 20, 25)]),
        "twice.jpg": (scene(12), [(10, 10, 20, 25), (10, 10, 20, 25)]),
        "small.jpg": (scene(13), [(10, 10, 3, 3), (100, 10, 40, 30), (200, 10, 9, 9), (1, 1, 90, 8)]),
        "empty.jpg": (scene(14), [(10, 10, 0, 3), (0, 0, 120, 80)]),
        "named.jpg": (scene(15, "PNG"), [(10, 10, 20, 25)]),
        "turned.jpg": (scene(16, exif=exif(3)), [(10, 10, 20, 25)]),
        "crowd.jpg": (scene(17), [(5 * (i % 20), 9 * (i // 20), 4, 8) for i in range(101)]),
    }
    code, result = run(capsys, *make_set(images))
    assert code == 1
    assert {kind for kind, number in result["kinds"].items() if number} == {each["kind"] for each in result["findings"]}
    assert places(result, "problem") == [(None, None)]
    assert places(result, "undecodable") == [("cut.jpg", None)]
    assert places(result, "duplicate-image") == [("copy.jpg", None), ("again.jpg", None)]
    assert places(result, "duplicate-box") == [("twice.jpg", 2)]
    assert places(result, "tiny") == [("small.jpg", 1)]
    assert places(result, "beyond-edge") == [("small.jpg", 2)]
    assert places(result, "outside") == [("small.jpg", 3)]
    assert places(result, "elongated") == [("small.jpg", 4)]
    assert places(result, "covers-image") == [("empty.jpg", 1)]
    assert places(result, "misnamed") == [("named.jpg", None)]
    assert places(result, "rotated") == [("turned.jpg", None)]
    assert places(result, "crowd") == [("crowd.jpg", None)]
    assert (result["images"], result["without_boxes"]) == (14, 1)
    texts = {each["kind"]: each["text"] for each in result["findings"]}
    assert re.fullmatch(r".*set_bbx_gt.txt, line \d+: lost.jpg: no such file", texts["problem"])
    assert texts["left-out"] == "boxes zero or negative size: 1"
    assert result["severities"] == {"error": 2, "warning": 8, "note": 4}


def test_leaks_come_first_and_are_errors(make_set, capsys):
    other = {
        "x/0.jpg": (scene(0), []),
        "x/2.png": (scene(2, "PNG"), []),
        "x/new.jpg": (scene(30), [(1, 1, 1, 1)]),
        "x/cut.jpg": (scene(31)[:-300], []),
    }
    arguments = [*make_set(GOOD), *make_set(other, "other", before="--against-")]
    code, result = run(capsys, *arguments)
    assert code == 1
    assert result["against_images"] == 4
    assert [(each["kind"], each["image"], each["text"]) for each in result["findings"]] == [
        ("leak", "0.jpg", "is x/0.jpg, byte for byte, in the other set"),
        ("leak", "2.jpg", result["findings"][1]["text"]),
        ("undecodable", "x/cut.jpg", result["findings"][2]["text"]),
    ]
    assert re.fullmatch(
        r"shows the same as x/2.png \(\d of 64 bits differ\), in the other set", result["findings"][1]["text"]
    )
    assert result["findings"][0]["severity"] == "error"
    assert check.main(arguments) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "images of the other set 4"
    assert out[3].split()[:2] == ["error", "2"] and out[3].endswith("(leak)")
    assert out[-1] == "errors 3, warnings 0, notes 0"


def test_leaks_between_records(make_set, tmp_path, capsys):
    """Also where an image was encoded anew when the records were made."""
    sets = {"train": GOOD, "validation": {"0.webp": (scene(0, "WEBP", lossless=True), []), "9.jpg": (scene(9), [])}}
    for name, images in sets.items():
        source = make_set(images, name)
        source[0] = "--from"
        assert convert.main([*source, "--to", "tfrecord", "--output", str(tmp_path / "records" / name)]) == 0
    records = [str(tmp_path / "records" / name) for name in sets]
    capsys.readouterr()
    code, result = run(capsys, "--records", records[0], "--against", records[1])
    assert (code, places(result, "leak")) == (1, [("0.jpg", None)])
    assert result["kinds"]["misnamed"] == 0
    assert run(capsys, "--records", records[0])[0] == 0


def test_classes_and_label_map(make_set, tmp_path, capsys):
    label_map = tmp_path / "map.pbtxt"
    label_map.write_text('item { id: 1 name: "head" }')
    code, result = run(capsys, *make_set(GOOD), "--label-map", str(label_map))
    assert code == 1
    assert [(each["kind"], each["number"]) for each in result["findings"]] == [
        ("unknown-class", 4),
        ("unused-class", 0),
    ]
    assert run(capsys, *make_set(GOOD), "--label-map", str(label_map), "--class", "face=head")[0] == 0


def test_text_shows_a_few_and_all_shows_all(make_set, capsys):
    images = {f"{seed}.jpg": (scene(seed), [(1, 1, 2, 2), (10, 10, 20, 25)]) for seed in range(5)}
    assert check.main(make_set(images)) == 0
    out = capsys.readouterr().out
    assert out == (
        "images 5, without boxes 0, boxes 10: face 10\n\n"
        "warning         5  box too small to learn from (tiny)\n"
        "    0.jpg, box 1: 2 x 2 px at (1, 1)\n"
        "    1.jpg, box 1: 2 x 2 px at (1, 1)\n"
        "    2.jpg, box 1: 2 x 2 px at (1, 1)\n"
        "    and 2 more; --all lists them\n\n"
        "errors 0, warnings 5, notes 0\n"
    )
    check.main([*make_set(images), "--all"])
    assert "    4.jpg, box 1: 2 x 2 px at (1, 1)\n\n" in capsys.readouterr().out
    check.main([*make_set(images), "--min-size", "2"])
    assert capsys.readouterr().out.endswith("face 10\n\nerrors 0, warnings 0, notes 0\n")
    check.main([*make_set(images), "--input-size", "1200", "--min-size", "20.5"])
    assert "20 x 20 px of the input at (1, 1)" in capsys.readouterr().out


def test_the_number_of_threads_changes_nothing(make_set, capsys):
    images = {f"{seed}.jpg": (scene(seed % 7)[: None if seed % 5 else -300], [(1, 1, 9, 9)]) for seed in range(30)}
    outputs = []
    for workers in ("1", "2", "8"):
        check.main([*make_set(images), "--json", "--workers", workers])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] == outputs[2]
    assert json.loads(outputs[0])["kinds"]["undecodable"] == 6


@pytest.mark.parametrize(
    "change, message",
    [
        (["--records", "x"], "--records goes without --format"),
        (["--annotations", "none.txt"], "none.txt: No such file"),
        (["--images", "none"], "none: no such folder"),
        (["--label-map", "none.pbtxt"], "none.pbtxt: No such file"),
        (["--against", "none"], "none: no TFRecord file there"),
        (["--against", "a", "--against-annotations", "b"], "--against goes without"),
        (["--against-images", "a"], "--against-images goes with --against-annotations"),
        (["--against-annotations", "none.txt"], "none.txt: No such file"),
        (["--against-annotations", "SAME"], "that is the set itself"),
    ],
)
def test_wrong_usage_is_one_line(make_set, capsys, change, message):
    arguments = make_set(GOOD)
    with pytest.raises(UserError, match=message) as raised:
        check.main([*arguments, *(arguments[3] if value == "SAME" else value for value in change)])
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_the_same_records_twice_and_records_with_annotations(make_set):
    with pytest.raises(UserError, match="that is the set itself"):
        check.main(["--records", "a/b", "--against", "a/../a/b"])
    with pytest.raises(UserError, match="--against-annotations needs --format"):
        check.main(["--records", "a", "--against-annotations", "b"])


@pytest.mark.parametrize(
    "options",
    [["--distance", "17"], ["--workers", "0"], ["--min-size", "-1"], ["--min-size", "nan"], ["--input-size", "x"]],
)
def test_numbers_out_of_range(make_set, options, capsys):
    with pytest.raises(SystemExit) as raised:
        check.main([*make_set(GOOD), *options])
    assert raised.value.code == 2
    assert "is not a number from" in capsys.readouterr().err


def test_a_set_of_bad_images_only(make_set):
    """As a command: no traceback, nothing on stderr but what a user should read."""
    arguments = make_set({"a.jpg": (b"no picture", []), "b.jpg": (None, [])})
    done = subprocess.run([sys.executable, "-m", "tools.check", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("images 0, without boxes 0, boxes 0\n")
    assert done.stdout.endswith("errors 2, warnings 0, notes 1\n")


def test_real_boxes_beyond_the_edge(capsys):
    """12 boxes of this set are known to run one pixel over the right edge."""
    if not (SHARED / "mask853").is_dir():
        pytest.skip("mask853 is not beside this checkout")
    options = ["--format", "pascal_voc", "--annotations", str(SHARED / "mask853" / "annotations")]
    code, result = run(capsys, *options, "--images", str(SHARED / "mask853" / "images"))
    assert code == 1  # its three classes are not in the label map
    assert result["kinds"]["unknown-class"] == 3
    over = [each["number"] for each in result["findings"] if each["kind"] == "beyond-edge"]
    assert over == [1] * 12
    assert result["kinds"]["duplicate-image"] == 14
