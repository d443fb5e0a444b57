"""The command detect-faces from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import UserError, __version__, cli, detections_file

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


def command(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "detect_faces", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


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
        (["two.png", "--min-score", "1.5"], "invalid score value"),
        (["two.png", "--threads", "0"], "invalid thread_count value"),
        (["two.png", "--json", "--jsonl"], "not allowed with"),
        (["two.png"], "no model"),
        (["two.png", "--model", "nowhere"], "nowhere: No such file or directory; give the folder of an exported model"),
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
