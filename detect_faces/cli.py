"""The command detect-faces: finds the faces in photographs and videos and prints, draws, cuts out or hides them."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NoReturn

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.inputs import PATTERN, URL, Source, find_sources, listed_sources, open_list
from detect_faces.options import parse
from detect_faces.quiet import keep_stderr_for_python
from detect_faces.whole_file import whole_file

# OpenCV and LiteRT are imported where they are first used, so that --help and a wrong option are answered at once.

HIDE = ("blur", "pixelate", "fill")
MARGIN = 0.2  # around a crop


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
    if changes or options.output or not options.files_from:
        sources = list(sources)  # else, with nothing to plan, the first results come before the end of a list
    if options.output and os.path.realpath(options.output) in {os.path.realpath(source.name) for source in sources}:
        raise UserError(f"--output {options.output}: would overwrite the input; give another name")

    from detect_faces.formats import FORMATS
    from detect_faces.outputs import Outputs
    from detect_faces.session import Session

    outputs = Outputs(changes, sources if changes else [], one_file, options.overwrite, options.metadata)
    session = Session(options, sources, outputs)

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


def _output(path: str | None):
    """Where results are printed to: stdout, or a file that appears when it is whole."""
    if path is None:
        return nullcontext(sys.stdout)
    return whole_file(Path(path), encoding="utf-8", errors="surrogateescape")
