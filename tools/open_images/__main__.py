"""python -m tools.open_images download --class "Human face" --split train --limit N [--negatives N] --output DIR

Fetches the images of Open Images that have boxes of a class, with these boxes:

    DIR/<split>/<ImageID>.jpg                           the images, at most 1024 pixels wide and high, 0.3 MB each
    DIR/<split>-annotations-bbox.csv                    all their boxes of the class
    DIR/<split>-annotations-human-imagelabels.csv       with --negatives: images verified to have nothing of the class
    DIR/class-descriptions-boxable.csv                  which LabelName is which class
    DIR/licences.csv                                    author, licence and origin of each image
    DIR/official/                                       the official CSV files; for train 3 GB, to be deleted at the end

What is there is not fetched again: after a failure or a kill, or for more images, give the command again. Each run
writes the CSV files for its own --class, --limit and --negatives; images of earlier runs stay. Images that cannot be
had are listed on stderr and the rest is done: exit code 1. When there is nothing, no CSV is written: exit code 2.
"""

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.whole_file import write_whole
from tools import download
from tools.files import only_writer
from tools.open_images import plan, selection, sources
from tools.open_images.images import Fetched, fetch_images
from tools.report import Report

DEFAULT_LIMIT = 1000  # images with boxes


@dataclass(frozen=True)
class _Choice:
    """What a run takes: a class and its images, in order of preference, with the CSV files that say so."""

    label: str
    display_name: str
    classes: Path
    boxes: Path
    labels: Path | None
    images: Path
    positives: list[str]
    negatives: list[str]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    for base in (options.base_url, options.annotations_url):
        sources.local_folder(base)  # a wrong one is an error before anything is fetched
    if options.dry_run:
        planned = plan.plan(options)
        print(json.dumps(planned) if options.json else plan.text(planned))
        return EXIT_OK
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with only_writer(options.output):
            _remove_leftovers(options)
            choice = _choose(options, report)
            wanted = choice.positives + choice.negatives
            folder = options.output / options.split
            fetched = fetch_images(wanted, options.base_url, options.split, folder, options.workers, report.show)
            report.problems += len(fetched.failed)
            counts = _write(options, choice, fetched)
    except OSError as error:
        place = error.filename or options.output
        raise UserError(
            f"{place}: {error.strerror}; what has arrived is kept, the same command goes on from there"
        ) from error
    _tell(options, choice, counts)
    if options.json:
        print(json.dumps(counts | {"problems": report.problems, "output": str(options.output)}))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _choose(options: argparse.Namespace, report: Report) -> _Choice:
    """Fetches the official files and chooses the images. Raises UserError."""
    split, official = sources.SPLITS[options.split], options.output / "official"

    def file(name: str, attempts: int = download.ATTEMPTS) -> Path:
        return sources.official_file(options.annotations_url, name, official, attempts)

    classes = file(sources.CLASSES, attempts=2)  # the first one: where there is no network, this is soon known
    label, display_name = selection.label_of(options.class_name, classes)
    boxes, images = file(split.boxes), file(split.images)
    labels = file(split.labels) if options.negatives != 0 else None
    with_boxes = selection.with_boxes(boxes, label, report)
    positives = selection.sample(with_boxes, options.limit)
    without = selection.without(labels, label, report) - with_boxes if labels else set()
    negatives = selection.sample(without, options.negatives)
    for name, number, found in [("--limit", options.limit, positives), ("--negatives", options.negatives, negatives)]:
        if number is not None and len(found) < number:
            print(f"{name} {number:,}: the {options.split} split has only {len(found):,}", file=sys.stderr)
    licensed = selection.with_licence(images, {*positives, *negatives})
    for image_id in positives + negatives:
        if image_id not in licensed:
            report.problem(str(images), f"has no licence of image {image_id}; it is left out")
    positives, negatives = ([image_id for image_id in ids if image_id in licensed] for ids in (positives, negatives))
    return _Choice(label, display_name, classes, boxes, labels, images, positives, negatives)


def _write(options: argparse.Namespace, choice: _Choice, fetched: Fetched) -> dict:
    """Writes the CSV files for the images that are there; returns the counts. Raises UserError if there are none."""
    positives = [image_id for image_id in choice.positives if image_id in fetched.there]
    negatives = [image_id for image_id in choice.negatives if image_id in fetched.there]
    if not positives and not negatives:
        reason = next(iter(fetched.failed.values()), "there is no such image")
        raise UserError(f"{options.output}: not one image of {choice.display_name!r} can be had ({reason})")
    output = options.output
    write_whole(output / "class-descriptions-boxable.csv", choice.classes.read_bytes())
    boxes = selection.write_boxes(choice.boxes, choice.label, positives, _boxes_csv(options))
    if choice.labels:
        selection.write_labels(choice.labels, choice.label, negatives, _labels_csv(options))
    else:
        _labels_csv(options).unlink(missing_ok=True)  # of an earlier run: it would name other images
    selection.write_licences(choice.images, options.split, {*positives, *negatives}, output / "licences.csv")
    return {
        "split": options.split,
        "class": choice.display_name,
        "label": choice.label,
        "images": len(positives),
        "boxes": boxes,
        "negatives": len(negatives),
        "failed": len(fetched.failed),
        "fetched": fetched.counts["fetched"],
        "already_there": fetched.counts["already there"],
        "bytes": fetched.counts["bytes"],
        "without_exif_orientation": fetched.counts["without EXIF orientation"],
    }


def _tell(options: argparse.Namespace, choice: _Choice, counts: dict) -> None:
    """Says on stderr what there is now, and how to make records of it."""
    turned = counts["without_exif_orientation"]
    lines = [
        f"{options.output}: {counts['images']:,} images with {counts['boxes']:,} boxes of {choice.display_name!r}, "
        f"{counts['negatives']:,} without any",
        f"{counts['fetched']:,} fetched ({counts['bytes'] / 1e6:,.0f} MB), {counts['already_there']:,} there before",
        f"{counts['failed']:,} could not be had, see above" if counts["failed"] else "",
        f"{turned:,} had an EXIF orientation; it is taken out, as the boxes don't know of it" if turned else "",
        "next:",
        f"    {shlex.join(_next_command(options, choice, counts))}",
    ]
    print("\n".join(line for line in lines if line), file=sys.stderr)


def _next_command(options: argparse.Namespace, choice: _Choice, counts: dict) -> list[str]:
    command = ["python", "-m", "tools.convert", "--from", "open_images", "--annotations", str(_boxes_csv(options))]
    command += ["--images", str(options.output / options.split)]
    if counts["negatives"]:
        command += ["--image-labels", str(_labels_csv(options))]
    if choice.display_name != "Human face":
        command += ["--class", f"{choice.label}={choice.display_name.lower()}"]
    return [*command, "--to", "tfrecord", "--output", f"data/records/{options.split}"]


def _remove_leftovers(options: argparse.Namespace) -> None:
    """Removes what a killed run had not finished writing. CSV files being fetched are not of these."""
    for folder in (options.output, options.output / options.split):
        for path in folder.glob(".*.part"):
            path.unlink()


def _boxes_csv(options: argparse.Namespace) -> Path:
    return options.output / f"{options.split}-annotations-bbox.csv"


def _labels_csv(options: argparse.Namespace) -> Path:
    return options.output / f"{options.split}-annotations-human-imagelabels.csv"


def _number(text: str) -> int | None:
    """A number of images; None for "all"."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor all")
    return int(text)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.open_images", description="Open Images.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "download",
        help="fetch images of a class with their boxes",
        description="Fetch the images of Open Images that have boxes of a class, and these boxes.",
    )
    command.add_argument("--class", dest="class_name", metavar="NAME", default="Human face", help="[Human face]")
    command.add_argument("--split", choices=sources.SPLITS, default="train", help="[train]")
    command.add_argument(
        "--limit", metavar="N", type=_number, default=DEFAULT_LIMIT, help=f"images with boxes, or all [{DEFAULT_LIMIT}]"
    )
    command.add_argument(
        "--negatives", metavar="N", type=_number, default=0, help="images verified to have none, or all [0]"
    )
    command.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder to write to")
    command.add_argument("--workers", metavar="N", type=int, default=16, help="images fetched at the same time [16]")
    command.add_argument(
        "--base-url",
        metavar="URL",
        default=sources.IMAGES_URL,
        help=f"of the images, or a folder [{sources.IMAGES_URL}]",
    )
    command.add_argument(
        "--annotations-url",
        metavar="URL",
        default=sources.ANNOTATIONS_URL,
        help=f"of the CSV files, or a folder [{sources.ANNOTATIONS_URL}]",
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be fetched; write nothing")
    command.add_argument("--json", action="store_true", help="print the counts as JSON on stdout")
    options = parser.parse_args(arguments)
    if not 1 <= options.workers <= 256:
        raise UserError(f"--workers {options.workers}: give a number from 1 to 256")
    return options


if __name__ == "__main__":
    run_command(main)
