"""Videos: read and written frame by frame, whole or not at all, with one line for what is none."""

import os
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest

from detect_faces import Detector, Faces, UserError
from detect_faces.anonymise_video import anonymise_video
from detect_faces.video import CODECS, VideoReader, VideoWriter, copy_sound

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def grey_frames(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frame k is of the grey 5 * k, at most 250."""
    return [np.full((height, width, 3), min(250, 5 * k), np.uint8) for k in range(count)]


def write(path, frames, fps: float = 25.0, **options):
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_what_is_written_is_read(tmp_path, suffix):
    path = write(tmp_path / f"clip{suffix}", grey_frames(50), 20)
    with VideoReader(path) as reader:
        assert (reader.width, reader.height, reader.fps) == (64, 48, 20)
        levels = [(round(frame.mean()), reader.frames_read, reader.seconds) for frame in reader]
    assert len(levels) == 50 and not reader.cut_off
    for k, (level, read, seconds) in enumerate(levels):
        assert abs(level - 5 * k) <= 6
        assert (read, seconds) == (k + 1, pytest.approx(k / 20))
    assert os.listdir(tmp_path) == [path.name]


def test_odd_sides_lose_a_row_and_a_column(tmp_path):
    path = write(tmp_path / "odd.mp4", grey_frames(3, 65, 49))
    with VideoReader(path) as reader:
        assert [frame.shape for frame in reader] == [(48, 64, 3)] * 3


def test_frames_that_are_not_due_evenly(tmp_path):
    """Slots of 0.1 s: the first frame stands for two of them, the third comes too early for another."""
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    with VideoWriter(tmp_path / "clip.avi", 10) as writer:
        for frame, seconds in zip(frames, (0, 0.21, 0.23, 0.38), strict=True):
            writer.write(frame, seconds)
    with VideoReader(tmp_path / "clip.avi") as reader:
        levels = [round(frame.mean()) for frame in reader]
    np.testing.assert_allclose(levels, [0, 0, 80, 160, 240], atol=6)


@needs_ffmpeg
def test_a_video_of_varying_rate_keeps_its_times(tmp_path):
    even = write(tmp_path / "even.mkv", grey_frames(40), 20)
    varying = tmp_path / "varying.mkv"  # from one second on it has every fifth frame only
    select = ["-vf", "select='lt(t,1)+not(mod(n,5))'", "-fps_mode", "vfr", "-c:v", "mpeg4", "-q:v", "2"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", even, *select, varying], check=True)
    with VideoReader(varying) as reader, VideoWriter(tmp_path / "out.avi", 20) as writer:
        times = []
        for frame in reader:
            times.append(reader.seconds)
            writer.write(frame, reader.seconds)
    np.testing.assert_allclose(times, [*np.arange(20) / 20, 1, 1.25, 1.5, 1.75], atol=0.002)
    with VideoReader(tmp_path / "out.avi") as reader:
        levels = [frame.mean() for frame in reader]
    expected = [5 * k if k < 20 else 5 * (k - k % 5) for k in range(36)]
    np.testing.assert_allclose(levels, expected, atol=8)


def test_an_exception_leaves_no_file(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"an earlier one")
    with pytest.raises(KeyError), VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        writer.write(grey_frames(1)[0])
        assert len(os.listdir(tmp_path)) == 2
        raise KeyError
    assert (tmp_path / "clip.mp4").read_bytes() == b"an earlier one" and len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "says"), [("clip.gif", "end the name in one of .*mp4"), ("clip", "end the name"), ("a/b.mp4", "cannot be")]
)
def test_what_cannot_be_written(tmp_path, name, says):
    (tmp_path / "a").write_bytes(b"a file where a folder should be")
    with pytest.raises(UserError, match=says) as error:
        write(tmp_path / name, grey_frames(1))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_frames_of_another_size_and_none_at_all(tmp_path):
    with pytest.raises(UserError, match="does not go behind"):
        write(tmp_path / "clip.mp4", [*grey_frames(1), *grey_frames(1, 32, 32)])
    with pytest.raises(UserError, match="no frame"):
        write(tmp_path / "clip.mp4", [])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        (b"\xff\xd8\xff\xe0 JFIF", "not a video"),
        (b"\0\0\0\x20ftypisom" + bytes(500), "no frame can be decoded"),
        (b"\x1a\x45\xdf\xa3" + bytes(500), "no frame can be decoded"),
        (b"RIFF\xff\0\0\0AVI LIST" + bytes(500), "no frame can be decoded"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, content, says):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error, VideoReader(path) as reader:
        list(reader)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_addresses_and_patterns_are_no_files():
    for name in ("http://127.0.0.1:9/clip.mp4", "frames/%03d.jpg", "rtsp://127.0.0.1:9/x"):
        with pytest.raises(UserError, match="No such file"):
            VideoReader(name)


def test_too_large_frames_are_refused_before_one_is_decoded(tmp_path):
    path = write(tmp_path / "clip.mp4", grey_frames(2))
    with pytest.raises(UserError, match="64 x 48 pixels are more than the limit 3,000"):
        VideoReader(path, max_pixels=3000)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_cut_off_videos_are_read_as_far_as_they_go_or_are_one_line(tmp_path, suffix, part):
    rng = np.random.default_rng(0)
    path = write(tmp_path / f"clip{suffix}", [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)])
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    try:
        with VideoReader(path) as reader:
            count = len(list(reader))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < count <= 40 and (count > 30 or reader.cut_off or not reader.frame_count)


def test_memory_does_not_grow_with_the_video(tmp_path):
    path = write(tmp_path / "clip.mp4", grey_frames(120, 320, 240))
    tracemalloc.start()
    with VideoReader(path) as reader:
        for _ in reader:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 320 * 240 * 3


def test_without_ffmpeg_the_video_is_silent_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    source = write(tmp_path / "in.mp4", grey_frames(3))
    with VideoWriter(tmp_path / "out.mp4", 25, sound_from=source) as writer:
        writer.write(grey_frames(1)[0])
    assert "ffmpeg is not installed" in writer.note
    assert (tmp_path / "out.mp4").is_file()


def test_an_ffmpeg_that_fails_leaves_the_video_as_it_is(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho first >&2\necho 'no such codec' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    path = write(tmp_path / "clip.mp4", grey_frames(3))
    before = path.read_bytes()
    assert copy_sound(path, path).endswith("cannot copy it: no such codec")
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["bin", "clip.mp4"]


@needs_ffmpeg
@pytest.mark.parametrize(("source", "target"), [("mp4", "mp4"), ("mkv", "mp4"), ("avi", "webm"), ("mov", "avi")])
def test_the_sound_is_copied_and_the_metadata_is_not(tmp_path, source, target):
    def ffmpeg(*arguments):
        done = subprocess.run(["ffmpeg", "-v", "error", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    picture = write(tmp_path / "picture.mp4", grey_frames(50))
    original = tmp_path / f"original.{source}"
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2"]
    place = ["-metadata", "location=+48.1+011.6/", "-metadata", "title=at home"]
    codec = ["-c:v", "copy", "-c:a", "pcm_s16le" if source in ("avi", "mkv", "mov") else "aac"]
    ffmpeg("-i", picture, *sound, *codec, *place, original)
    with (
        VideoReader(original) as reader,
        VideoWriter(tmp_path / f"out.{target}", reader.fps, sound_from=original) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    assert writer.note is None
    heard = tmp_path / "heard.wav"
    ffmpeg("-i", writer.path, "-map", "0:a", "-ac", "1", "-ar", "8000", heard)
    samples = np.frombuffer(heard.read_bytes()[-2 * 8000 :], np.int16).astype(float)
    assert abs(np.fft.rfftfreq(len(samples), 1 / 8000)[np.abs(np.fft.rfft(samples)).argmax()] - 440) < 5
    ffmpeg("-i", writer.path, "-f", "ffmetadata", tmp_path / "metadata.txt")
    assert (
        "home" not in (tmp_path / "metadata.txt").read_text() and "48.1" not in (tmp_path / "metadata.txt").read_text()
    )
    with VideoReader(writer.path) as reader:
        assert len(list(reader)) == 50


class Blinking:
    """A detector that sees a bright square but in every fourth frame."""

    min_score = 0.5

    def __init__(self):
        self.calls = 0

    def detect(self, image, min_score):
        self.calls += 1
        y, x = np.nonzero(image.max(axis=2) > 150)
        if not len(x) or self.calls % 4 == 0:
            return Faces.empty()
        return Faces([[x.min(), y.min(), x.max() + 1, y.max() + 1]], [0.9])


@pytest.mark.parametrize("method", ["blur", "pixelate", "fill"])
def test_no_frame_shows_the_face(tmp_path, method):
    """Not in the frames in which it is not detected, and not in those before the first in which it is."""
    rng = np.random.default_rng(1)
    frames = grey_frames(40, 160, 120)
    for k, frame in enumerate(frames):
        frame[...] = 60
        if k >= 3:
            frame[40:72, 2 * k : 2 * k + 32] = 255 * rng.integers(0, 2, (16, 16, 1), np.uint8).repeat(2, 0).repeat(2, 1)
    source = write(tmp_path / "in.avi", frames)
    done = anonymise_video(Blinking(), source, tmp_path / "out.avi", method)
    assert (done.frames, done.faces) == (40, 1)
    with VideoReader(tmp_path / "out.avi") as reader, VideoReader(source) as original:
        for k, (hidden, shown) in enumerate(zip(reader, original, strict=True)):
            face = np.s_[44:68, 2 * k + 4 : 2 * k + 28]
            if k >= 3:
                assert shown[face].std() > 100
                assert hidden[face].std() < 0.6 * shown[face].std(), k
            np.testing.assert_allclose(hidden[90:], shown[90:], atol=12)


def test_the_original_is_not_overwritten(tmp_path):
    source = write(tmp_path / "in.mp4", grey_frames(3))
    with pytest.raises(UserError, match="would overwrite"):
        anonymise_video(Blinking(), source, source)


def test_a_cut_off_video_is_said(tmp_path):
    rng = np.random.default_rng(0)
    source = write(tmp_path / "in.avi", [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)])
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    done = anonymise_video(Detector("haar"), source, tmp_path / "out.avi")
    assert 0 < done.frames < 40
    assert any("cut off" in note for note in done.notes)


@needs_ffmpeg
def test_a_video_that_was_held_upright_is_read_and_written_upright(tmp_path):
    lying = write(tmp_path / "lying.mp4", grey_frames(5))
    turned = tmp_path / "turned.mp4"
    command = ["ffmpeg", "-v", "error", "-display_rotation", "90", "-i", lying, "-c", "copy", turned]
    subprocess.run([*map(str, command)], check=True)
    with VideoReader(turned) as reader, VideoWriter(tmp_path / "out.mp4", 25, sound_from=turned) as writer:
        assert (reader.width, reader.height) == (48, 64)
        for frame in reader:
            assert frame.shape == (64, 48, 3)
            writer.write(frame)
    assert writer.note is None  # no sound in it is no complaint
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert (reader.width, reader.height) == (48, 64)
