"""Reads and writes videos, frame by frame, so that memory does not depend on their length. Sound goes through ffmpeg.

OpenCV reads and writes pictures only. Where the program ffmpeg is installed it copies the sound of the original into
the finished file; where it isn't, the file is silent and the writer says so.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError
from detect_faces.guards import MAX_PIXELS
from detect_faces.image_header import MAGIC_BYTES, other_kind

DEFAULT_FPS = 25.0  # where a file or camera names none, or one that cannot be
FPS_RANGE = (1.0, 240.0)
LONGEST_FRAME = 10.0  # seconds that one frame may stand; what is longer is damage
WHOLE_FROM = 0.9  # of the frames that a file announces, which it may do by an estimate

# What OpenCV's packages can write without other software, by the name's suffix.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".avi": "XVID", ".webm": "VP80"}


class VideoReader:
    """The frames of a video, in order. A context manager; iterate over it once.

    Attributes:
        name: of the file or camera.
        width, height: of a frame in pixels, upright.
        fps: frames a second, the mean where it varies, as in videos of most phones; DEFAULT_FPS where there is none.
        frame_count: as the file says; 0 where it does not, and for a camera.
        frames_read: so far.
        seconds: of the last frame read, from the beginning.
    """

    def __init__(self, source: str | Path | int, max_pixels: int = MAX_PIXELS):
        """Opens a video.

        Args:
            source: a file, or the number of a camera.
            max_pixels: of a frame; larger ones are refused before any is decoded.

        Raises:
            UserError: there is no such file or camera, or it is no video that OpenCV can read.
        """
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        if not isinstance(source, int):
            _check_content(source)
        # OpenCV takes a name for a URL, a pattern of names or a pipeline where it can: it gets a path, and may use
        # ffmpeg only.
        opened = (source,) if isinstance(source, int) else (os.path.abspath(source), cv2.CAP_FFMPEG)
        self._capture = cv2.VideoCapture(*opened)
        if not self._capture.isOpened():
            what = "cannot be opened; is it connected, and free?" if isinstance(source, int) else _UNREADABLE
            raise UserError(f"{self.name}: {what}")
        get = self._capture.get
        self.width, self.height = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self.width * self.height > max_pixels:
            self.close()
            raise UserError(f"{self.name}: {self.width} x {self.height} pixels are more than the limit {max_pixels:,}")
        fps = get(cv2.CAP_PROP_FPS)
        self.fps = fps if FPS_RANGE[0] <= fps <= FPS_RANGE[1] else DEFAULT_FPS
        self.frame_count = max(0, int(get(cv2.CAP_PROP_FRAME_COUNT))) if not isinstance(source, int) else 0
        self.frames_read, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, (height, width, 3) uint8 BGR.

        Raises:
            UserError: not one can be decoded.
        """
        while True:
            try:
                there, frame = self._capture.read()
            except cv2.error:
                there = False
            if not there:
                break
            self.seconds = self._time_of_frame()
            self.frames_read += 1
            yield frame
        if not self.frames_read:
            raise UserError(f"{self.name}: {_UNREADABLE}")

    def _time_of_frame(self) -> float:
        """Seconds of the frame that was just read: as the file says, unless it goes back, or makes a wild leap."""
        if not self.frames_read:
            return 0.0
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return seconds if 0 < seconds - self.seconds < LONGEST_FRAME else self.seconds + 1 / self.fps

    @property
    def cut_off(self) -> bool:
        """Whether the video, read to its end, had clearly fewer frames than the file announces."""
        return self.frames_read < WHOLE_FROM * self.frame_count - 1

    def close(self) -> None:
        """Lets go of the file or camera."""
        self._capture.release()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()


_UNREADABLE = "no frame can be decoded: a damaged video, or of a codec that OpenCV does not have"


def _check_content(path: str | Path) -> None:
    """Raises UserError for a file that does not begin as a video does.

    Others are not given to OpenCV at all: it would follow the names and addresses in a playlist.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(MAGIC_BYTES)
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno)}") from error
    if not head:
        raise UserError(f"{path}: the file is empty")
    if other_kind(head) != "video":
        raise UserError(f"{path}: not a video of a kind that is read here (MP4, MOV, MKV, WebM, AVI, MPEG, FLV, WMV)")


class VideoWriter:
    """Writes frames to a file that appears when it is whole. A context manager; an exception leaves no file.

    with VideoWriter("out.mp4", fps=25, sound_from="in.mp4") as writer:
        writer.write(frame)
    if writer.note: print(writer.note)

    Attributes:
        path: of the file.
        note: why the file is silent though there is one to take the sound from; None until it is closed, or for no
            such reason.
    """

    def __init__(self, path: str | Path, fps: float, sound_from: str | Path | None = None):
        """Args:
        path: its suffix, one of CODECS, says the kind of file.
        fps: frames a second.
        sound_from: the file to copy the sound of.

        Raises:
            UserError: another suffix.
        """
        self.path, self.fps, self.note = Path(path), fps, None
        suffix = self.path.suffix.lower()
        if suffix not in CODECS:
            raise UserError(f"{path}: cannot write such a video; end the name in one of {', '.join(CODECS)}")
        self._sound_from = sound_from
        self._torn = self.path.with_name(f".{self.path.stem}.{os.getpid()}.part{suffix}")
        self._codec = CODECS[suffix]
        self._writer: cv2.VideoWriter | None = None
        self._size, self._frames = (0, 0), 0
        self._last: np.ndarray | None = None

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: (H, W, 3) uint8 BGR, of the size of the first. An odd side loses its last row or column.
            seconds: when it is due. The file has frames at even distances: the one before is repeated until then, and
                this one is left out if there is one of that time already. So a video of varying rate keeps in step with
                its sound. None puts the frame behind the last one.

        Raises:
            UserError: the file cannot be written, or the frame has another size.
        """
        due = self._frames if seconds is None else round(seconds * self.fps)
        while self._frames < due:
            self._write(frame if self._last is None else self._last)
        if self._frames == due:
            self._write(frame)
        self._last = frame

    def _write(self, frame: np.ndarray) -> None:
        size = frame.shape[1::-1]
        if self._writer is None:
            self._open(size)
        if size != self._size:
            raise UserError(f"{self.path}: a frame of {size[0]} x {size[1]} pixels does not go behind {self._size}")
        self._writer.write(np.ascontiguousarray(frame))
        self._frames += 1

    def close(self) -> None:
        """Finishes the file and moves it to its place.

        Raises:
            UserError: there is no frame in it, or not all of them (a full disk).
        """
        if self._writer is None:
            raise UserError(f"{self.path}: not written: there is no frame to write")
        self._writer.release()
        self._writer = None
        try:
            if _frames_in(self._torn) < WHOLE_FROM * self._frames - 1:
                raise UserError(f"{self.path}: cannot be written whole; is the disk full?")
            if self._sound_from is not None:
                self.note = copy_sound(self._torn, self._sound_from)
            self._torn.replace(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {os.strerror(error.errno)}") from error
        finally:
            self._torn.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leaves no file behind."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        with suppress(OSError):  # what keeps it from being removed kept it from being made
            self._torn.unlink()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self, size: tuple[int, int]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._torn.touch()  # says what is wrong with the folder; OpenCV only says no
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {os.strerror(error.errno)}") from error
        codec = cv2.VideoWriter_fourcc(*self._codec)
        self._writer = cv2.VideoWriter(os.path.abspath(self._torn), cv2.CAP_FFMPEG, codec, self.fps, size)
        self._size = size
        if not self._writer.isOpened():
            self.discard()
            raise UserError(
                f"{self.path}: OpenCV cannot write {self._codec} of {size[0]} x {size[1]} at {self.fps:g} fps"
            )


def _frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count


def copy_sound(video: Path, source: str | Path) -> str | None:
    """Puts the sound of `source` into the file `video`, which is replaced when that is done.

    Nothing else comes along: no metadata, as these hold place and time. A source without sound is fine.

    Returns:
        Why there is no sound now, in one line; None if all went well.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        return "the sound is left out: ffmpeg is not installed (or not on the PATH)"
    joined = video.with_name(f"{video.stem}.sound{video.suffix}")
    inputs = [
        argument
        for path in (video, Path(source))
        for argument in ("-protocol_whitelist", "file", "-i", f"file:{path.absolute()}")
    ]
    kept = ["-map", "0:v:0", "-map", "1:a?", "-map_metadata", "-1", "-map_chapters", "-1", "-c:v", "copy"]
    try:
        for codec in (["-c:a", "copy"], []):  # as it is; or encoded anew, where this kind of file cannot hold it
            command = [program, "-nostdin", "-v", "error", "-y", *inputs, *kept, *codec, f"file:{joined.absolute()}"]
            done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", check=False)
            if done.returncode == 0 and joined.is_file():
                joined.replace(video)
                return None
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"the sound is left out: ffmpeg cannot copy it: {said}"
    finally:
        joined.unlink(missing_ok=True)
