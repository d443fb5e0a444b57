"""Hides the faces of a video: detected in each frame, followed from frame to frame, and covered without a gap."""

from dataclasses import dataclass
from pathlib import Path

from detect_faces.anonymise import MARGIN, Method, Shape, anonymise
from detect_faces.detector import Detector
from detect_faces.errors import UserError
from detect_faces.tracking import GO_ON, Tracker, steady
from detect_faces.video import VideoReader, VideoWriter


@dataclass(frozen=True)
class AnonymisedVideo:
    """What was done.

    Attributes:
        frames: in the video.
        faces: different ones, as far as tracking can tell.
        notes: what the user should know, a line each: that the sound is missing, or that the video was cut off.
    """

    frames: int
    faces: int
    notes: tuple[str, ...]


def anonymise_video(
    detector: Detector,
    source: str | Path,
    target: str | Path,
    method: Method = "blur",
    *,
    margin: float = MARGIN,
    shape: Shape = "ellipse",
    min_score: float | None = None,
    grace: int = 12,
    look_back: int = 5,
) -> AnonymisedVideo:
    """Writes a copy of a video in which the faces cannot be recognised, with its sound where ffmpeg is installed.

    Memory does not depend on the video's length: look_back + 1 frames are held.

    Args:
        detector: finds the faces.
        source: the video.
        target: the file to write; it appears when it is whole.
        method, margin, shape: as of anonymise.
        min_score: from which on a face is hidden; None for the model's own. Once hidden, half of it will do.
        grace, look_back: frames for which a face stays hidden that the detector does not see any more, and frames
            before the one that it is first seen in.

    Raises:
        UserError: the one cannot be read, or the other not written, or is the same file.
    """
    if Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"{target}: would overwrite the original; give another name")
    min_score = detector.min_score if min_score is None else min_score
    ids = set()
    with (
        VideoReader(source) as reader,
        VideoWriter(target, reader.fps, sound_from=source) as writer,
    ):
        detected = (((frame, reader.seconds), detector.detect(frame, GO_ON * min_score)) for frame in reader)
        tracker = Tracker(start_score=min_score, grace=grace)
        for (frame, seconds), tracks in steady(detected, tracker, look_back):
            ids.update(tracks.ids.tolist())
            writer.write(anonymise(frame, tracks.faces, method, margin=margin, shape=shape), seconds)
    notes = [writer.note] if writer.note else []
    if reader.cut_off:
        notes.append(f"{source}: cut off: {reader.frames_read} frames of {reader.frame_count}")
    return AnonymisedVideo(reader.frames_read, len(ids), tuple(notes))
