"""python -m evaluation.compare --records PATH --model FOLDER [--detector NAME[=MODEL] ...] --output DIR

Compares an exported model with other detectors on the same images: accuracy, kinds of mistakes, milliseconds, memory.
The detectors take turns image by image, so that whatever else the machine does is shared by all of them:

    python -m evaluation.compare --records data/records/sample/validation --model exported-models/demo \\
        --detector cascade=alt2 scrfd=scrfd_2.5g_kps.onnx my_detector.py --output runs/demo/compare

DIR gets compare.html, a page that needs nothing else; compare.md and compare.json with the same figures; and a
detections file for each detector. Killed, the same command goes on; what is measured already, with the same detectors
and settings, is not measured again.

Images that do not decode are left out, for all detectors; an image on which a detector fails counts for it as one on
which it finds nothing. Both are listed, and the exit code is 1.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from detect_faces import UserError
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from detect_faces.quiet import keep_stderr_for_python
from detect_faces.whole_file import write_whole
from evaluation import comparison, detectors, pictures, report_page, report_table, speed, wider_face_lists
from evaluation.coco import MAX_DETECTIONS
from evaluation.measure import Run, load, measure, versions
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.files import only_writer
from tools.report import Report

RIVALS = ("cascade=default", "cascade=alt2")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    specs = [f"exported={options.model}"] if options.model else []
    specs += options.detector or RIVALS
    runs = load(specs, options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    with only_writer(options.output):
        stream = data_set.load(options, report)
        with tqdm(stream, total=len(stream), unit="image", disable=None) as progress:
            images, before = measure(runs, progress, options.output, options.threads, report)
        if not images:
            raise UserError("there is not one good image to compare on")
        wider = _wider(images, options.wider_lists)
        judged = [comparison.judge(images, run) for run in runs]
        figures = comparison.figures(images, judged, wider)
        _add_sizes(figures, runs, images[0], options, report)
        figures["threads"] = options.threads
        figures["measured"] = _measured(options, runs, images, before, wider is not None)

        rival = figures["rival"]
        different = [] if rival is None else pictures.most_different(images, judged[0], judged[rival])
        title = options.title or f"{runs[0].name} against {_and([run.name for run in runs[1:]]) or 'nothing else'}"
        page = report_page.page(
            title,
            figures,
            list(different),
            list(pictures.worst_misses(images, judged[0])),
            list(pictures.worst_false_alarms(images, judged[0])),
        )
        table = report_table.as_markdown(figures)
        write_whole(options.output / "compare.json", (json.dumps(figures, indent=1) + "\n").encode())
        write_whole(options.output / "compare.md", (table + "\n").encode("utf-8", "backslashreplace"))
        write_whole(options.output / "compare.html", page)
    print(table)
    print(f"\nopen {options.output}/compare.html", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.compare",
        description="Compare a detector with others on the same images.",
        epilog=f"detectors: {', '.join(detectors.NAMES)}, detections=FILE.jsonl, or the path of a Python file",
    )
    parser.add_argument("--model", metavar="FOLDER", help="an exported model, compared with the detectors")
    parser.add_argument(
        "--detector",
        nargs="+",
        action="extend",
        metavar="NAME[=MODEL]",
        help=f"what to compare with; without --model the first one is compared with the others [{' '.join(RIVALS)}]",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--title", help="of the page")
    parser.add_argument(
        "--wider-lists",
        metavar="DIR",
        help="WIDER FACE's lists of easy, medium and hard faces; without them faces go by their height",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=speed.ROUNDS,
        choices=range(0, 101),
        metavar="N",
        help="fresh processes of each detector for start-up and memory; 0 for none [%(default)s]",
    )
    data_set.add_options(parser)
    detectors.add_threads_option(parser)
    return parser.parse_args(arguments)


def _wider(images: Sequence[AnnotatedImage], lists: str | None) -> list[wider_face_lists.WiderFaces] | None:
    """What WIDER FACE's protocol looks for, if the images are WIDER FACE's: only they have its flag `invalid`."""
    if lists:
        return wider_face_lists.official(images, lists)
    return wider_face_lists.by_height(images) if any("invalid" in image.flags for image in images) else None


def _add_sizes(
    figures: dict, runs: Sequence[Run], image: AnnotatedImage, options: argparse.Namespace, report: Report
) -> None:
    """Adds start-up time, memory and the model's size on disk to the figures of the detectors that run here."""
    live = [(run, row) for run, row in zip(runs, figures["detectors"], strict=True) if run.detector is not None]
    for run, row in live:
        row["model_bytes"] = speed.model_bytes(run.detector)
    if not options.rounds:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(image.encoded())
        found = speed.start_up([run.spec for run, _ in live], path, options.threads, options.rounds)
    for (run, row), its in zip(live, found, strict=True):
        row["start_up"] = its
        if "error" in its:
            report.problem(run.name, f"does not start by itself: {its['error'].removeprefix('error: ')}")


def _measured(
    options: argparse.Namespace, runs: Sequence[Run], images: Sequence[AnnotatedImage], before: int, wider: bool
) -> list[tuple[str, str]]:
    """How the figures came about, as pairs of a name and a text."""
    threads = f"{options.threads} thread{'s' if options.threads > 1 else ''}"
    live = sum(run.detector is not None for run in runs)
    parts = []
    if live:
        took = "the detectors took turns image by image, " if live > 1 else ""
        parts.append(f"{took}{threads}{' each' if live > 1 else ''}")
    if before and live:
        parts.append(f"{before:,} of the {len(images):,} images were measured in an earlier run of the same command")
    if live < len(runs):
        parts.append("those of detections that were read from a file are the file's own, and compare with no others")
    turns = "; ".join(["from decoded image to boxes", *parts])
    rows = [
        ("images", str(options.records or options.annotations)),
        ("milliseconds", turns),
        (
            "matching",
            "COCO's, IoU .50; boxes to ignore and groups of faces need not be found, and finding them is no mistake; "
            f"the best {MAX_DETECTIONS:,} detections of an image count",
        ),
        ("intervals", "95 %, by bootstrap over images; p by a paired bootstrap over images"),
    ]
    if wider:
        how = (
            "the official lists" if options.wider_lists else "faces above 50, 30 and 10 pixels, not the official lists"
        )
        rows.append(("easy, medium, hard", f"WIDER FACE's protocol at a single scale, {how}"))
    if options.rounds and live:
        name, size = images[0].name, f"{images[0].width} x {images[0].height}"
        rows.append(
            ("start and memory", f"medians of {options.rounds} fresh processes of each, in turns; on {name} ({size})")
        )
    rows.append(("machine", _machine()))
    rows.append(("measured on", time.strftime("%Y-%m-%d", time.gmtime())))
    return rows


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {cpu}; {platform.system()}, {', '.join(versions())}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


if __name__ == "__main__":
    keep_stderr_for_python()
    run_command(main)
