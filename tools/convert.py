"""python -m tools.convert --from FORMAT --annotations FILE [--images DIR] --to FORMAT --output DIR

Converts a data set from one annotation format to another, image by image. To make records for training:

    python -m tools.convert --from wider_face --images WIDER_train/images \\
        --annotations wider_face_split/wider_face_train_bbx_gt.txt --to tfrecord --output data/records/train

Bad images, boxes and lines are listed on stderr and the rest is converted: exit code 1. When there is nothing to
convert nothing is written: exit code 2. The same command writes the same bytes again.
"""

import argparse
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import formats, label_map
from tools.report import Report

LABEL_MAP = Path(__file__).parents[1] / "data" / "label_map.pbtxt"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    source, target = formats.find(options.source), formats.find(options.target)
    classes = _classes(options.classes)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    try:
        images = source.load(options.annotations, options.images, classes, report)
        with tqdm(images, total=len(images), unit="image", disable=None) as progress:
            # The progress bar is no sized iterable, which save may want to know.
            stream = formats.ImageStream(len(images), iter(progress))
            target.save(stream, options.output, report, **_save_options(target, options, classes))
    except OSError as error:
        raise UserError(
            f"{error.filename or options.output}: {error.strerror}; what was there before is whole"
        ) from error
    print(report.table(), file=sys.stderr)
    if report.problems:
        print(f"{options.output}: written without what is listed above", file=sys.stderr)
    if options.json:
        print(json.dumps({"output": str(options.output), **report.counts()}))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    known = ", ".join(formats.NAMES)
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert",
        description="Convert a data set from one annotation format to another; TFRecord shards are for training.",
    )
    parser.add_argument("--from", dest="source", metavar="FORMAT", required=True, help=known)
    parser.add_argument(
        "--annotations", metavar="PATH", required=True, help="file; for tfrecord also folder, glob, prefix@N"
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the images; not for tfrecord")
    parser.add_argument("--to", dest="target", metavar="FORMAT", required=True, help=known)
    parser.add_argument("--output", metavar="DIR", required=True, type=Path, help="folder to write to")
    parser.add_argument(
        "--class", dest="classes", metavar="NAME=CLASS", action="append", help="take boxes of NAME as CLASS; repeatable"
    )
    parser.add_argument("--shards", metavar="N", type=int, help="tfrecord: number of files [one for each 1000 images]")
    parser.add_argument(
        "--label-map", metavar="FILE", type=Path, help="tfrecord: ids of the classes [data/label_map.pbtxt]"
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON on stdout")
    return parser.parse_args(arguments)


def _classes(pairs: list[str] | None) -> dict[str, str] | None:
    """{NAME: CLASS} of the --class options; None without any."""
    classes = {}
    for pair in pairs or []:
        name, separator, target = pair.rpartition("=")
        if not (name and separator and target):
            raise UserError(f"--class {pair}: give NAME=CLASS, such as --class /m/0dzct=face")
        classes[name] = target
    return classes or None


def _save_options(target: ModuleType, options: argparse.Namespace, classes: dict[str, str] | None) -> dict:
    """The keyword arguments for the save of `target`."""
    takes = inspect.signature(target.save).parameters
    given = {"shards": options.shards, "label_map": options.label_map}
    for name, value in given.items():
        if value is not None and name not in takes:
            raise UserError(f"--{name.replace('_', '-')} has no meaning for {options.target}")
    if options.shards is not None and not 1 <= options.shards <= 99999:
        raise UserError(f"--shards {options.shards}: give a number from 1 to 99999")
    made_from = {
        "format": options.source,
        "annotations": str(options.annotations),
        "images": options.images,
        "classes": classes,
    }
    values = {"shards": options.shards, "made_from": made_from}
    if "label_map" in takes:
        values["label_map"] = label_map.read(options.label_map or LABEL_MAP)
    return {name: value for name, value in values.items() if name in takes}


if __name__ == "__main__":
    run_command(main)
