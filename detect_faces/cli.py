"""The command detect-faces: finds the faces in photographs and videos and prints, draws, cuts out or hides them."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.inputs import PATTERN, URL, Source, find_sources, listed_sources, open_list
from detect_faces.options import parse
from detect_faces.quiet import keep_stderr_for_python

# OpenCV and LiteRT are imported where they are first used, so that --help and a wrong option are answered at once.

SHIPPED_MODEL = Path(__file__).parent / "models" / "fast"
HIDE = ("blur", "pixelate", "fill")
MARGIN = 0.2  # around a crop
MOST_DECODERS = 2  # threads; the network keeps the other CPUs busy
AHEAD = 4  # images that are decoded before their turn
BUDGET = 1_000_000_000  # bytes for them, or half of what is free
# A JPEG is decoded smaller when it stays this many times as large as the network's input.
REDUCE_ABOVE = 4


def main() -> NoReturn:
    """Entry point of the command."""
    keep_stderr_for_python()
    try:
        run_command(lambda: run(sys.argv[1:]))
    except SystemExit as end:
        # Not by way of the interpreter's end: it takes 20 ms to free what the system frees at once, and a thread that
        # is still decoding would be torn off in the middle of C++, which then aborts.
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                pass
        os._exit(end.code if isinstance(end.code, int) else EXIT_OK)


def run(arguments: list[str]) -> int:
    """The command with these arguments; returns the exit code. Raises UserError for what stops it altogether."""
    options = parse(arguments)
    changes = _changes(options)
    sources: list[Source] | Iterator[Source] = _sources(options)
    one_file = len(options.inputs) == 1 and not options.files_from and _is_one_file(options.inputs[0])
    if changes or not options.files_from:  # with a list, and nothing to plan, the first results come before its end
        sources = list(sources)

    from detect_faces.outputs import Outputs

    outputs = Outputs(changes, sources if changes else [], one_file, options.overwrite, options.metadata)
    session = _Session(options, sources, outputs)

    from detect_faces.formats import FORMATS

    try:
        with _output(options.output) as out:
            for text in FORMATS[options.format](session.results()):
                session.progress.clear()
                out.write(text)
                out.flush()
    finally:
        session.progress.clear()
    return EXIT_SOME_FAILED if session.failed else EXIT_OK


def _sources(options: Namespace) -> Iterator[Source]:
    yield from find_sources(options.inputs, options.allow_urls)
    if options.files_from:
        yield from listed_sources(open_list(options.files_from), options.null, options.allow_urls)


def _is_one_file(argument: str) -> bool:
    """Whether it stands for one image by its own name, so that a picture of it may have any."""
    if URL.match(argument) or argument == "-":
        return True
    return not os.path.isdir(argument) and (os.path.exists(argument) or not PATTERN.search(argument))


def _changes(options: Namespace) -> list:
    """The pictures that are asked for."""
    if not (options.draw or options.crop or any(getattr(options, method) for method in HIDE)):
        return []
    from detect_faces.outputs import Change

    changes = []
    if options.draw:
        from detect_faces.draw import draw

        changes.append(Change("--draw", options.draw, draw))
    for method in HIDE:
        if out := getattr(options, method):
            from detect_faces.anonymise import anonymise

            changes.append(Change(f"--{method}", out, partial(anonymise, method=method), anonymises=True))
    if options.crop:
        from detect_faces.crops import crops

        margin = MARGIN if options.margin is None else options.margin
        cut = partial(crops, margin=margin, square=options.square)
        changes.append(Change("--crop", options.crop, crops=cut))
    return changes


class _Session:
    """One run over all sources.

    Attributes:
        failed: at least one of them had an error.
        progress: to be taken away before something is printed.
    """

    def __init__(self, options: Namespace, sources: list[Source] | Iterator[Source], outputs):
        """Loads the detector, while the first images are being decoded."""
        from detect_faces.ahead import Ahead
        from detect_faces.guards import Limits, available_memory
        from detect_faces.progress import Progress
        from detect_faces.reading import Reading

        self.failed = False
        self.progress = Progress(len(sources) if isinstance(sources, list) else None)
        self._options = options
        self._outputs = outputs
        limits = Limits(options.max_pixels, options.max_bytes, options.max_seconds)
        reading = Reading(limits, self._reduced_side(), metadata=bool(outputs.changes), copies=len(outputs.changes))
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
        self._detector = self._load_detector()

    def results(self) -> Iterator:
        """What was found in each source, in order, with the pictures written; errors are said on stderr as well."""
        from detect_faces.detections_file import ImageDetections
        from detect_faces.formats import Found
        from detect_faces.reading import Video

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
                print(f"error: {error}", file=sys.stderr)
                yield Found(ImageDetections(source.name, error=str(error).removeprefix(f"{source}: ")))
            del outcome  # before the next one is waited for

    def _of_picture(self, source: Source, picture):
        from detect_faces.detections_file import ImageDetections

        start = time.perf_counter()
        faces = self._detector.detect(picture.image, self._options.min_score)
        ms = 1000 * (time.perf_counter() - start)
        faces = self._selected(_scaled(faces, picture))
        self._outputs.write(source, picture, faces)
        self.progress.add(len(faces))
        return ImageDetections(source.name, picture.width, picture.height, faces, ms)

    def _of_video(self, source: Source) -> Iterator:
        raise UserError(f"{source}: a video")

    def _selected(self, faces):
        options = self._options
        if options.min_size:
            faces = faces.min_size(options.min_size)
        if options.largest:
            faces = faces.largest()
        return faces.best(options.max_faces) if options.max_faces else faces

    def _model(self) -> Path | str:
        if self._options.model == "haar":
            return "haar"
        if not self._options.model and not SHIPPED_MODEL.is_dir():
            raise UserError(
                "no model: none ships with this version; give --model FOLDER, for example exported-models/demo, "
                "which `make demo` in the project makes"
            )
        return Path(self._options.model or SHIPPED_MODEL)

    def _reduced_side(self) -> int:
        """Pixels that the longer side of an image has to keep; 0 where images are wanted as they are."""
        model = self._model()
        if self._outputs.changes or self._options.tile or model == "haar":
            return 0
        from detect_faces.model import load_model

        description = load_model(model)
        return REDUCE_ABOVE * max(description.width, description.height, self._options.input_size or 0)

    def _load_detector(self):
        from detect_faces.detector import Detector

        options = self._options
        given = {name: getattr(options, name) for name in ("threads", "input_size", "tile") if getattr(options, name)}
        detector = Detector(self._model(), **given)
        lowest = detector.model.score_threshold
        if options.min_score is not None and options.min_score < lowest:
            print(
                f"note: this model gives no score below {lowest}; --min-score {options.min_score} is lower",
                file=sys.stderr,
            )
        return detector


def _scaled(faces, picture):
    """In pixels of the whole picture, where it was decoded smaller."""
    height, width = picture.image.shape[:2]
    if (width, height) == (picture.width, picture.height):
        return faces
    from detect_faces.faces import Faces

    x, y = picture.width / width, picture.height / height
    return Faces(faces.xyxy * [x, y, x, y], faces.scores)


def _output(path: str | None):
    """Where results are printed to: stdout, or a file that appears when it is whole."""
    from contextlib import contextmanager, nullcontext

    if path is None:
        return nullcontext(sys.stdout)

    @contextmanager
    def whole_file():
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        try:
            with open(unfinished, "w", encoding="utf-8", errors="surrogateescape") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    return whole_file()
