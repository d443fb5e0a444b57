"""The command detect-faces from outside."""

import contextlib
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from detect_faces import UserError, __version__, cli, detections_file, reading

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path):
    """A folder with a picture of two "faces" of tiny_model, one in a folder below with none, and two bad files."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    image = np.zeros((16, 16, 3), np.uint8)
    image[3, 4, 2], image[10, 11, 2] = 255, 204
    cv2.imwrite(str(folder / "two.png"), image)
    cv2.imwrite(str(folder / "more" / "none.PNG"), np.zeros((8, 16, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no image, and not named as one")
    return folder


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(*arguments, input: bytes = b"") -> subprocess.CompletedProcess:
    arguments = [sys.executable, "-m", "detect_faces", *map(str, arguments)]
    done = subprocess.run(arguments, capture_output=True, input=input, env=ENVIRONMENT, check=False)
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


def running(*arguments) -> subprocess.Popen:
    """The command while it runs, with pipes to it and from it."""
    arguments = [sys.executable, "-m", "detect_faces", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT)


def test_text(tiny_model, photos):
    done = command(photos / "two.png", "--model", tiny_model)
    assert done.stdout.splitlines() == [
        f"{photos / 'two.png'}: 2 faces",
        "  1.00  from (4, 3) to (5, 4)",
        "  0.80  from (11, 10) to (12, 11)",
    ]
    assert (done.returncode, done.stderr) == (0, "")  # LiteRT's own chatter included


def test_bad_files_get_a_line_each_and_the_rest_is_done(tiny_model, photos):
    done = command(photos, photos / "gone.jpg", "--model", tiny_model, "--jsonl")
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in errors] == [
        str(photos / name) for name in ("broken.jpg", "empty.jpg", "gone.jpg")
    ]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(Path(line["image"]).name, len(line.get("faces", [])), line.get("error")) for line in lines] == [
        ("broken.jpg", 0, "cannot be decoded: its JPEG header is cut off"),
        ("empty.jpg", 0, "the file is empty"),
        ("none.PNG", 0, None),
        ("two.png", 2, None),
        ("gone.jpg", 0, "No such file or directory"),
    ]


def test_jsonl_is_a_detections_file(tiny_model, photos, tmp_path, capsys):
    assert cli.run([str(photos / "two.png"), "--model", str(tiny_model), "--jsonl", "--min-score", "0"]) == 0
    path = tmp_path / "found.jsonl"
    path.write_text(capsys.readouterr().out)
    (line,) = detections_file.read(path)
    assert (line.image, line.width, line.height) == (str(photos / "two.png"), 16, 16)
    np.testing.assert_allclose(line.faces.scores, [1, 0.8], atol=1e-5)
    np.testing.assert_allclose(line.faces.xyxy, [[4, 3, 5, 4], [11, 10, 12, 11]], atol=0.01)
    assert line.ms > 0


def test_json_is_one_document_of_the_same_objects(tiny_model, photos, capsys):
    assert cli.run([str(photos), "--model", str(tiny_model), "--json", "--min-score", "0.9"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [len(image["faces"]) for image in document if "faces" in image] == [0, 1]
    assert sum("error" in image for image in document) == 2


def test_draws_one_image_to_a_file(tiny_model, photos, tmp_path):
    assert cli.run([str(photos / "two.png"), "--model", str(tiny_model), "--draw", str(tmp_path / "out.png")]) == 0
    assert (cv2.imread(str(tmp_path / "out.png")) != cv2.imread(str(photos / "two.png"))).any()


def test_draws_a_folder_to_a_folder(tiny_model, photos, tmp_path):
    assert cli.run([str(photos), "--model", str(tiny_model), "--draw", str(tmp_path / "out")]) == 1
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"two.png", "more/none.PNG"}


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["two.png"], "two.png", "would overwrite the input"),
        (["two.png"], ".", "would overwrite the input"),
        (["two.png"], "more/../two.png", "would overwrite the input"),
        (["two.png"], "link.png", "would overwrite the input"),
        (["."], ".", "would overwrite the input"),
        (["two.png", "more/none.PNG"], "more/none.PNG", "has to be a folder"),
        (["two.png", "more/two.png"], "out", "would both become"),
        (["two.png"], "out.tiff", "end the name in one of"),
    ],
)
def test_never_overwrites(tiny_model, photos, inputs, out, message, monkeypatch):
    monkeypatch.chdir(photos)
    Path("more/two.png").write_bytes(Path("two.png").read_bytes())
    Path("link.png").symlink_to("two.png")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message):
        cli.run([*inputs, "--model", str(tiny_model), "--draw", out])
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give images, folders or videos"),
        (["two.png", "--square"], "--margin and --square belong to --crop"),
        (["two.png", "--min-score", "1.5"], "argument --min-score: 1.5 is not in 0..1"),
        (["two.png", "--threads", "0"], "argument --threads: 0 is not in 1..64"),
        (["two.png", "--json", "--jsonl"], "not allowed with"),
        (["two.png", "--tile", "20"], "argument --tile: 20 is not in 64.."),
        (["two.png", "--max-faces", "0"], "argument --max-faces: 0 is not in 1.."),
        (["two.png", "--blur", "a.png", "--fill", "b.png"], "not allowed with"),
        (["-", "--files-from", "-"], "standard input can only be read once"),
        (["two.png", "--null"], "--null belongs to --files-from"),
        (["--files-from", "nowhere.txt", "--draw", "out"], "--files-from nowhere.txt: No such file"),
        (["two.png", "--model", "nowhere"], "nowhere: no such model; give fast, accurate, haar, "),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert "error: " in last and message in last


def test_a_folder_without_images_is_an_error(tiny_model, tmp_path, capsys):
    assert cli.run([str(tmp_path), "--model", str(tiny_model)]) == 1
    assert "no file in this folder ends in" in capsys.readouterr().err


def test_version_and_help():
    assert command("--version").stdout.strip() == f"detect-faces {__version__}"
    assert "exit codes" in command("--help").stdout


def test_formats_say_the_same(tiny_model, photos, capsys):
    def printed(*options) -> str:
        assert cli.run([str(photos), "--model", str(tiny_model), *options]) == 1
        return capsys.readouterr().out

    lines = [json.loads(line) for line in printed("--jsonl").splitlines()]
    faces = [(line["image"], *face["box"], face["score"]) for line in lines for face in line.get("faces", [])]
    assert len(faces) == 2
    strip = {"ms": None}
    assert [line | strip for line in json.loads(printed("--json"))] == [line | strip for line in lines]

    rows = list(csv.DictReader(io.StringIO(printed("--csv"))))
    boxed = [row for row in rows if row["xmin"]]
    sides = ("xmin", "ymin", "xmax", "ymax", "score")
    assert [(row["image"], *(float(row[side]) for side in sides)) for row in boxed] == faces
    assert [row["image"] for row in rows if row["error"]] == [line["image"] for line in lines if "error" in line]
    assert [row["width"] for row in rows if not row["error"]] == ["16", "16", "16"]  # one without a face

    path = photos / "coco.json"
    path.write_text(printed("--coco"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))  # the metric's own reader
    assert sorted(image["file_name"] for image in coco.imgs.values()) == [
        line["image"] for line in lines if "faces" in line
    ]
    boxes = []
    for annotation in coco.anns.values():
        x, y, width, height = annotation["bbox"]
        boxes.append((coco.imgs[annotation["image_id"]]["file_name"], x, y, x + width, y + height, annotation["score"]))
    assert boxes == [pytest.approx(face) for face in faces]

    wider = printed("--wider").splitlines()
    assert wider[:2] == [str(photos / "more" / "none.PNG"), "0"]
    name, count, *rest = wider[2:]
    assert (name, int(count), len(rest)) == (str(photos / "two.png"), 2, 2)
    found = [[float(number) for number in line.split()] for line in rest]
    assert [(name, x, y, x + width, y + height, score) for x, y, width, height, score in found] == [
        pytest.approx(face, abs=0.02) for face in faces
    ]


def test_formats_of_nothing(tiny_model, photos, capsys):
    bad = str(photos / "empty.jpg")
    for option, expected in (("--json", [{"image": bad, "error": "the file is empty"}]),):
        assert cli.run([bad, "--model", str(tiny_model), option]) == 1
        assert json.loads(capsys.readouterr().out) == expected
    (photos / "list").touch()
    for option in ("--json", "--coco"):
        assert cli.run(["--files-from", str(photos / "list"), "--model", str(tiny_model), option]) == 0
        assert not any(json.loads(capsys.readouterr().out) or []) or option == "--coco"


def test_results_to_a_file_are_whole_or_not_there(tiny_model, photos, tmp_path, capsys):
    out = tmp_path / "new" / "faces.jsonl"
    assert cli.run([str(photos / "two.png"), "--model", str(tiny_model), "--jsonl", "--output", str(out)]) == 0
    assert len(list(detections_file.read(out))) == 1 and capsys.readouterr().out == ""
    with pytest.raises(UserError):
        cli.run([str(photos), "--model", "nowhere", "--jsonl", "--output", str(tmp_path / "none.jsonl")])
    assert sorted(os.listdir(tmp_path / "new")) == ["faces.jsonl"] and not (tmp_path / "none.jsonl").exists()


def test_results_do_not_replace_an_input(tiny_model, photos):
    before = (photos / "two.png").read_bytes()
    with pytest.raises(UserError, match="would overwrite the input"):
        cli.run([str(photos), "--model", str(tiny_model), "--output", str(photos / "two.png")])
    assert (photos / "two.png").read_bytes() == before


def test_an_image_on_standard_input(tiny_model, photos):
    done = command("-", "--model", tiny_model, "--jsonl", input=(photos / "two.png").read_bytes())
    line = json.loads(done.stdout)
    assert (done.returncode, line["image"], len(line["faces"])) == (0, "-", 2)


def test_a_list_on_standard_input(tiny_model, photos):
    names = [str(photos / name) for name in ("two.png", "gone.jpg", "more")]
    done = command("--files-from", "-", "--null", "--model", tiny_model, "--jsonl", input="\0".join(names).encode())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["two.png", "gone.jpg", "none.PNG"]
    assert done.returncode == 1


def test_results_come_before_the_end_of_a_list(tiny_model, photos):
    with running("--files-from", "-", "--model", tiny_model, "--jsonl") as process:
        for _ in range(3):
            process.stdin.write(os.fsencode(photos / "two.png") + b"\n")
            process.stdin.flush()
            assert len(json.loads(process.stdout.readline())["faces"]) == 2
        process.stdin.close()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


def test_a_reader_that_has_seen_enough_is_no_error(tiny_model, photos):
    with running(*[photos / "two.png"] * 300, "--model", tiny_model, "--jsonl") as process:
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


def test_an_interruption_is_one_line(tiny_model, photos):
    with running("--files-from", "-", "--model", tiny_model, "--jsonl") as process:
        process.stdin.write(os.fsencode(photos / "two.png") + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (130, b"interrupted\n")


def test_an_interruption_leaves_no_file(tiny_model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(detections_file.ImageDetections, "to_json", lambda _: signal.raise_signal(signal.SIGINT))
    output = tmp_path / "new" / "faces.jsonl"
    with pytest.raises(KeyboardInterrupt):
        cli.run([str(photos / "two.png"), "--model", str(tiny_model), "--jsonl", "--output", str(output)])
    assert os.listdir(tmp_path / "new") == []


def test_a_urls_is_fetched_when_that_is_allowed(tiny_model, photos, server, capsys):
    server.files["/a/two.png"] = (photos / "two.png").read_bytes()
    arguments = [server.url + "/a/two.png", "--model", str(tiny_model)]
    assert cli.run(arguments) == 1
    assert "only fetched with --allow-urls" in capsys.readouterr().err and server.asked == []
    assert cli.run([*arguments, "--allow-urls"]) == 0
    assert capsys.readouterr().out.startswith(f"{server.url}/a/two.png: 2 faces")


def test_limits(tiny_model, photos, capsys):
    for option, message in (("--max-pixels=100", "16 x 16 pixels"), ("--max-bytes=20", "limit of 20 bytes")):
        assert cli.run([str(photos / "two.png"), "--model", str(tiny_model), option]) == 1
        assert message in capsys.readouterr().err


def test_a_large_jpeg_gives_the_same_boxes_in_its_own_pixels(tiny_model, tmp_path, capsys):
    image = np.zeros((1200, 1600, 3), np.uint8)
    image[300:400, 400:500, 2] = 255  # a pixel of the network's input
    paths = [tmp_path / "large.jpg", tmp_path / "large.png"]  # which is decoded whole
    for path in paths:
        cv2.imwrite(str(path), image)
    assert cli.run([*map(str, paths), "--model", str(tiny_model), "--jsonl", "--largest"]) == 0
    reduced, whole = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (reduced["width"], reduced["height"]) == (1600, 1200)
    np.testing.assert_allclose(reduced["faces"][0]["box"], whole["faces"][0]["box"], atol=1)


@pytest.mark.parametrize(("options", "reduced"), [([], 8), (["--whole"], 1), (["--draw", "out.jpg"], 1)])
def test_a_large_jpeg_is_decoded_smaller_for_boxes_only(tiny_model, tmp_path, monkeypatch, options, reduced):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("large.jpg", np.zeros((1200, 1600, 3), np.uint8))
    decode, asked = reading.decode, []
    monkeypatch.setattr(reading, "decode", lambda *args: asked.append(args[3]) or decode(*args))
    assert cli.run(["large.jpg", "--model", str(tiny_model), *options]) == 0
    assert asked == [reduced]


@pytest.mark.parametrize("outputs", [[], ["--draw", "out.png"]])
def test_a_large_picture_is_looked_at_by_means_of_its_pixels(tiny_model, tmp_path, monkeypatch, capsys, outputs):
    monkeypatch.chdir(tmp_path)
    image = np.zeros((1600, 1600, 3), np.uint8)
    image[:, ::100, 2] = 255  # what the network would look at: every hundredth column
    cv2.imwrite("lines.png", image)
    assert cli.run(["lines.png", "--model", str(tiny_model), "--jsonl", *outputs]) == 0
    assert cli.run(["lines.png", "--model", str(tiny_model), "--jsonl", "--whole", *outputs]) == 0
    by_means, in_full = (json.loads(line)["faces"] for line in capsys.readouterr().out.splitlines())
    assert len(by_means) == 0 and len(in_full) > 0


@pytest.mark.parametrize(
    ("side", "options", "reduced"), [(1279, [], 1), (1280, [], 2), (2560, [], 4), (2560, ["--input-size", "640"], 2)]
)
def test_twice_the_networks_input_is_left(tmp_path, monkeypatch, side, options, reduced):
    cv2.imwrite(str(tmp_path / "large.jpg"), np.zeros((100, side, 3), np.uint8))
    decode, asked = reading.decode, []
    monkeypatch.setattr(reading, "decode", lambda *args: asked.append(args[3]) or decode(*args))
    assert cli.run([str(tmp_path / "large.jpg"), "--model", "fast", *options]) == 0
    assert asked == [reduced]


def test_names_stay_on_their_line(photos, tmp_path):
    names = [tmp_path / "two\nlines\x1b[31m é.png", tmp_path / "bad\n.png"]
    names[0].write_bytes((photos / "two.png").read_bytes())
    names[1].write_bytes(b"x")
    done = command(*names, "--model", "haar")
    assert (done.returncode, done.stdout) == (1, f"{tmp_path}/two\\nlines\\x1b[31m é.png: no faces\n")
    assert done.stderr.startswith(f"error: {tmp_path}/bad\\n.png: not a JPEG") and done.stderr.count("\n") == 1


def test_the_cascade_in_one_word(photos):
    done = command(photos / "two.png", "--model", "haar")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{photos / 'two.png'}: no faces\n", "")


def test_progress_is_shown_on_a_terminal_only(tiny_model, photos, tmp_path):
    screen, terminal = pty.openpty()
    arguments = [sys.executable, "-m", "detect_faces", *[str(photos / "two.png")] * 3, str(photos / "empty.jpg")]
    arguments += ["--model", str(tiny_model), "--jsonl"]
    code = "from detect_faces import cli, progress; progress.SECONDS = 0; cli.main()"
    arguments[1:3] = ["-c", code]
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(arguments, stdout=out, stderr=terminal, cwd=ROOT, check=False)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # at the end of what a terminal has shown
        while chunk := os.read(screen, 4096):
            shown += chunk
    os.close(screen)
    assert done.returncode == 1
    assert b"\r3 of 4 done, 6 faces, " in shown
    assert shown.split(b"\r\x1b[K")[-1].startswith(b"error: ")  # the line is taken away before
    assert len((tmp_path / "out").read_bytes().splitlines()) == 4
    assert b"\x1b" not in (tmp_path / "out").read_bytes()
