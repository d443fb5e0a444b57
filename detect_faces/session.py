"""One run of the command: sources are read and decoded beside the network, and what is found goes to the outputs."""

import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator

from detect_faces.ahead import Ahead
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import UserError, one_line
from detect_faces.formats import Found
from detect_faces.guards import Limits, available_memory
from detect_faces.images import Picture
from detect_faces.inputs import Source
from detect_faces.outputs import Outputs
from detect_faces.progress import Progress
from detect_faces.reading import Reading, Video
from detect_faces.selection import selected

MOST_DECODERS = 2  # threads; the network keeps the other CPUs busy
AHEAD = 4  # images that are decoded before their turn
BUDGET = 1_000_000_000  # bytes for them, or half of what is free


class Session:
    """One run over all sources.

    Attributes:
        failed: at least one of them had an error.
        progress: to be taken away before something is printed.
    """

    def __init__(self, options: Namespace, sources: list[Source] | Iterator[Source], outputs: Outputs):
        """Loads the detector, while the first images are being decoded.

        Raises:
            UserError: there is no such model, or it cannot be used so.
        """
        self.failed = False
        self.progress = Progress(len(sources) if isinstance(sources, list) else None)
        self._options = options
        self._outputs = outputs
        self._loaded = threading.Event()
        self._detector = None
        limits = Limits(options.max_pixels, options.max_bytes, options.max_seconds)
        reading = Reading(limits, self._reduced_side, copies=len(outputs.changes))
        available = available_memory()
        self._ahead = Ahead(
            sources,
            reading.prepare,
            threads=min(MOST_DECODERS, len(os.sched_getaffinity(0))),
            results=AHEAD,
            budget=BUDGET if available is None else min(BUDGET, available // 2),
            seconds=limits.seconds,
        )
        self._ahead.start()
        try:
            self._detector = self._load_detector()
        finally:
            self._loaded.set()

    def results(self) -> Iterator[Found]:
        """What was found in each source, in order, with the pictures written; errors are said on stderr as well."""
        for source, outcome in self._ahead:
            try:
                if isinstance(outcome, UserError):
                    raise outcome
                if isinstance(outcome, Video):
                    yield from self._of_video(source)
                else:
                    yield Found(self._of_picture(source, outcome))
            except UserError as error:
                self.failed = True
                self.progress.add(0)
                self.progress.clear()
                print(f"error: {one_line(str(error))}", file=sys.stderr)
                yield Found(ImageDetections(source.name, error=str(error).removeprefix(f"{source}: ")))
            del outcome  # before the next one is waited for

    def _of_picture(self, source: Source, picture: Picture) -> ImageDetections:
        start = time.perf_counter()
        try:
            faces = self._detector.detect(picture.image, self._options.min_score)
        except MemoryError as error:
            raise UserError(f"{source}: no memory left to look at {picture.width} x {picture.height} pixels") from error
        ms = 1000 * (time.perf_counter() - start)
        faces = picture.in_its_pixels(faces)
        faces = faces.select(selected(faces, self._options))
        self._outputs.write(source, picture, faces)
        self.progress.add(len(faces))
        return ImageDetections(source.name, picture.width, picture.height, faces, ms)

    def _of_video(self, source: Source) -> Iterator[Found]:
        from detect_faces.video_session import found_in_video

        for found in found_in_video(source, self._detector, self._options, self._outputs):
            self.progress.add(len(found.detections.faces))
            yield found

    def _reduced_side(self) -> int:
        """Pixels that the longer side of an image has to keep when it is decoded; 0 where it is wanted as it is."""
        if self._outputs.changes:
            return 0
        self._loaded.wait()
        return self._detector.enough_side if self._detector else 0  # not loaded, which ends the run

    def _load_detector(self):
        from detect_faces.detector import Detector

        options = self._options
        try:
            detector = Detector(
                options.model,
                threads=options.threads,
                backend=options.backend,
                input_size=options.input_size,
                tile=options.tile,
                whole=options.whole,
            )
        except ValueError as error:
            raise UserError(str(error)) from error
        if options.min_score is not None and options.min_score < detector.score_threshold:
            note = f"note: this model gives no score below {detector.score_threshold}"
            print(f"{note}; --min-score {options.min_score} is lower", file=sys.stderr)
        return detector
