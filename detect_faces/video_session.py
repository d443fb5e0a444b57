"""The part of a session that is a video: frames are read beside the network, faces followed, changed frames written."""

import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from detect_faces.ahead import Ahead
from detect_faces.detections_file import ImageDetections
from detect_faces.detector import Detector
from detect_faces.errors import UserError
from detect_faces.faces import Faces
from detect_faces.formats import Found
from detect_faces.guards import available_memory, refuse_without_memory
from detect_faces.images import Picture
from detect_faces.inputs import CAMERA, Source
from detect_faces.outputs import Outputs
from detect_faces.selection import selected
from detect_faces.tracking import GO_ON, Tracker, Tracks, steady
from detect_faces.video import VideoReader, VideoWriter

AHEAD = 4  # frames that are read before their turn, where there is memory for them
# Frames' worth of memory that a video takes (measured with 4K and MPEG-4): those that wait and are held for tracking,
# what decoder and encoder keep, and copies.
FRAMES_READ, FRAMES_WRITTEN = 14, 20
BUDGET = 256_000_000  # bytes for frames that wait, or an eighth of what is free


@dataclass(eq=False)
class _Frame:
    """A frame that is on its way; `ms` is what the detector took for it."""

    number: int
    seconds: float
    image: np.ndarray
    ms: float = 0.0


def found_in_video(source: Source, detector: Detector, options: Namespace, outputs: Outputs) -> Iterator[Found]:
    """The faces of each frame that is looked at, in order, after what is to be written of it is written.

    A camera runs until it is interrupted (Ctrl-C) or has given --max-frames; what was written until then stays.

    Raises:
        UserError: it is no video that can be read, it is cut off (after all that there is), or cannot be written.
    """
    writes = [change for change in outputs.changes if change.picture]
    if writes and options.every > 1:
        raise UserError(f"{source}: --every leaves frames out, and {writes[0].option} writes all of them; leave it out")
    camera = CAMERA.fullmatch(source.name) if source.kind == "camera" else None
    with VideoReader(int(camera[1]) if camera else source.name, options.max_pixels) as reader, ExitStack() as stack:
        frame_bytes = 3 * reader.width * reader.height
        refuse_without_memory(source.name, frame_bytes * (FRAMES_WRITTEN if writes else FRAMES_READ))
        sound_from = None if camera else source.name
        writers = [
            (change, stack.enter_context(VideoWriter(outputs.video_target(change, source), reader.fps, sound_from)))
            for change in writes
        ]
        interrupted = stack.enter_context(_interruption_noted()) if camera else threading.Event()
        frames = _frames(reader, options, interrupted)
        available = available_memory()
        budget = BUDGET if available is None else min(BUDGET, available // 8)
        ahead = Ahead(frames, lambda frame: (frame.image.nbytes, lambda: frame), results=AHEAD, budget=budget)
        stack.callback(ahead.close)  # before the reader is closed
        for frame, tracks in _tracked(ahead, detector, options):
            index = selected(tracks.faces, options)
            faces = tracks.faces.select(index)
            for change, writer in writers:
                writer.write(change.picture(frame.image, faces), frame.seconds)
            height, width = frame.image.shape[:2]
            outputs.write(source, Picture(frame.image, width, height), faces, frame.number)
            detections = ImageDetections(source.name, width, height, faces, frame.ms)
            yield Found(detections, frame.number, frame.seconds, *_of_tracks(tracks, index))
    for _, writer in writers:
        if writer.note:
            print(f"note: {writer.path}: {writer.note}", file=sys.stderr)
    if reader.cut_off and not options.max_frames:
        raise UserError(f"{source}: cut off: only {reader.frames_read} of {reader.frame_count} frames can be read")


def _frames(reader: VideoReader, options: Namespace, interrupted: threading.Event) -> Iterator[_Frame]:
    looked_at = 0
    for number, image in enumerate(reader):
        if interrupted.is_set():
            return
        if number % options.every == 0:
            yield _Frame(number, reader.seconds, image)
            looked_at += 1
            if looked_at == options.max_frames:
                return


def _tracked(ahead: Ahead, detector: Detector, options: Namespace) -> Iterator[tuple[_Frame, Tracks]]:
    """Each frame with its faces."""
    min_score = detector.min_score if options.min_score is None else options.min_score

    def detected() -> Iterator[tuple[_Frame, Faces]]:
        for frame, outcome in ahead:
            if isinstance(outcome, UserError):
                raise outcome
            start = time.perf_counter()
            faces = detector.detect(frame.image, min_score * (1 if options.no_tracking else GO_ON))
            frame.ms = 1000 * (time.perf_counter() - start)
            yield frame, faces

    if options.no_tracking:
        for frame, faces in detected():
            yield frame, Tracks(faces, np.zeros(0, int), np.zeros(0, int))
    else:
        yield from steady(detected(), Tracker(start_score=min_score))


def _of_tracks(tracks: Tracks, index: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Number, and frames unseen, of the faces at these positions; nothing where they are not followed."""
    if len(tracks) < len(tracks.faces):
        return (), ()
    return tuple(tracks.ids[index].tolist()), tuple(tracks.unseen[index].tolist())


@contextmanager
def _interruption_noted() -> Iterator[threading.Event]:
    """The first Ctrl-C only sets the event, so that what is being written comes to a good end; a second ends all."""
    interrupted = threading.Event()

    def note(*_) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
