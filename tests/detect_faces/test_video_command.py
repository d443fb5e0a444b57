"""Videos and cameras given to the command detect-faces."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import UserError, cli, guards, video_session

SIDE = 64  # of a frame; a pixel of tiny_model's input is 4 of it


def frame(number: int, red: int = 255) -> np.ndarray:
    """A face that moves to the right, a pixel of the input each 8 frames."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    x = 16 + 4 * (number // 8)
    image[24:28, x : x + 4, 2] = red
    return image


@pytest.fixture
def clip(tmp_path):
    """A writer of videos from frames, without loss."""

    def write(name: str, frames: list[np.ndarray]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 25, (SIDE, SIDE))
        assert writer.isOpened()
        for image in frames:
            writer.write(image)
        writer.release()
        return path

    return write


@pytest.fixture
def run(tiny_model, capsys):
    """The command with tiny_model: its exit code, and the lines of --jsonl."""

    def run(*arguments) -> tuple[int, list[dict]]:
        code = cli.run([*map(str, arguments), "--model", str(tiny_model), "--jsonl"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_a_line_for_each_frame(run, clip):
    path = clip("clip.avi", [frame(number) for number in range(20)])
    code, lines = run(path)
    assert code == 0
    assert [(line["image"], line["frame"], line["width"]) for line in lines] == [
        (str(path), n, SIDE) for n in range(20)
    ]
    assert [round(line["seconds"], 2) for line in lines] == [n / 25 for n in range(20)]
    assert {face["track"] for line in lines for face in line["faces"]} == {1}
    for line in lines:
        (face,) = line["faces"]
        assert abs(face["box"][0] - (16 + 4 * (line["frame"] // 8))) < 4


def test_a_face_that_is_missed_for_a_frame_stays(run, clip):
    frames = [frame(0, red=0 if number == 9 else 255) for number in range(20)]
    path = clip("clip.avi", frames)
    _, lines = run(path)
    assert [len(line["faces"]) for line in lines] == [1] * 20
    assert [face.get("unseen") for line in lines for face in line["faces"]] == [None] * 9 + [1] + [None] * 10
    _, lines = run(path, "--no-tracking")
    assert [len(line["faces"]) for line in lines] == [1] * 9 + [0] + [1] * 10
    assert "track" not in lines[0]["faces"][0]


def test_some_frames_only(run, clip):
    path = clip("clip.avi", [frame(0)] * 20)
    assert [line["frame"] for line in run(path, "--every", 6)[1]] == [0, 6, 12, 18]
    assert [line["frame"] for line in run(path, "--every", 6, "--max-frames", 2)[1]] == [0, 6]


def test_every_face_of_a_written_video_is_hidden(run, clip, tmp_path):
    path = clip("clips/clip.avi", [frame(number, red=0 if number == 9 else 255) for number in range(20)])
    code, _ = run(path, "--fill", tmp_path / "out.mp4")
    written = frames_of(tmp_path / "out.mp4")
    assert code == 0 and len(written) == 20
    assert max(image[..., 2].max() for image in written) < 128
    assert sorted(os.listdir(tmp_path)) == ["clips", "out.mp4"]


def test_videos_and_images_in_one_command(run, clip, tmp_path):
    path = clip("clips/clip.avi", [frame(0)] * 3)
    cv2.imwrite(str(tmp_path / "clips" / "photo.png"), frame(0))
    code, lines = run(tmp_path / "clips" / "photo.png", path, "--draw", tmp_path / "out", "--crop", tmp_path / "faces")
    assert code == 0 and [line.get("frame") for line in lines] == [None, 0, 1, 2]
    assert sorted(os.listdir(tmp_path / "out")) == ["clip.avi", "photo.png"]
    assert sorted(os.listdir(tmp_path / "faces")) == ["clip.avi-00000" + f"{n}-1.jpg" for n in range(3)] + [
        "photo-1.png"
    ]


@pytest.mark.parametrize("damage", ["cut", "head only"])
def test_a_damaged_video_is_an_error_of_its_own(run, clip, tmp_path, damage):
    path = clip("clip.avi", [np.random.default_rng(n).integers(0, 255, (SIDE, SIDE, 3), np.uint8) for n in range(30)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if damage == "cut" else 200])
    cv2.imwrite(str(tmp_path / "photo.png"), frame(0))
    code, lines = run(path, tmp_path / "photo.png")
    assert code == 1
    assert "error" in lines[-2] and len(lines[-1]["faces"]) == 1
    assert [line["frame"] for line in lines[:-2]] == list(range(len(lines) - 2))


def test_what_a_written_video_may_not_do(run, clip, tmp_path, capsys):
    path = clip("clip.avi", [frame(0)] * 3)
    before = path.read_bytes()
    with pytest.raises(UserError, match="would overwrite the input"):
        run(path, "--blur", path)
    with pytest.raises(UserError, match="end the name in one of"):
        run(path, "--blur", tmp_path / "out.gif")
    for options in (("--blur", tmp_path), ("--blur", tmp_path / "x.mp4", "--every", "2")):
        code, (line,) = run(path, *options)
        assert code == 1 and "error" in line
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["clip.avi"]


def test_frames_beyond_the_pixel_limit(run, clip):
    code, (line,) = run(clip("clip.avi", [frame(0)] * 3), "--max-pixels", 1000)
    assert code == 1 and "64 x 64 pixels" in line["error"]


def test_a_camera_runs_until_it_is_interrupted(run, clip, tmp_path, monkeypatch):
    path = clip("clip.avi", [frame(0)] * 200)

    class Camera(video_session.VideoReader):
        """In place of a device: a file, which is interrupted after some frames."""

        def __init__(self, number, max_pixels):
            assert number == 3
            super().__init__(path, max_pixels)
            self.frame_count = 0

        def __iter__(self):
            for number, image in enumerate(super().__iter__()):
                if number == 20:
                    os.kill(os.getpid(), signal.SIGINT)
                yield image

    monkeypatch.setattr(video_session, "VideoReader", Camera)
    code, lines = run("camera:3", "--pixelate", tmp_path / "out.mp4")
    assert code == 0 and 15 <= len(lines) < 40
    assert len(frames_of(tmp_path / "out.mp4")) == len(lines)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_camera(run):
    code, (line,) = run("camera:77")
    assert code == 1 and "is it connected" in line["error"]


def test_frames_that_memory_cannot_hold(run, clip, tmp_path, capsys, monkeypatch):
    path = clip("clip.avi", [frame(number) for number in range(4)])
    monkeypatch.setattr(guards, "RESERVE", 0)
    monkeypatch.setattr(guards, "available_memory", lambda: 17 * 3 * SIDE * SIDE)  # enough to look at it
    assert run(path)[0] == 0
    assert cli.run([str(path), "--blur", str(tmp_path / "out.mp4"), "--model", "haar"]) == 1
    assert "clip.avi: takes 0 MB of memory" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
