"""python -m tools.convert --from FORMAT --annotations FILE [--images DIR] --to FORMAT --output DIR

Converts a data set from one annotation format to another, image by image. To make records for training:

    python -m tools.convert --from wider_face --images WIDER_train/images \\
        --annotations wider_face_split/wider_face_train_bbx_gt.txt --to tfrecord --output data/records/train

Bad images, boxes and lines are listed on stderr and the rest is converted: exit code 1. When there is nothing to
convert nothing is written: exit code 2. The same command writes the same bytes again; after a kill it goes on from the
shards that are finished.
"""

import argparse
import inspect
import json
import os
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import formats, label_map
from tools.annotations import AnnotatedImage
from tools.data_set import parse_classes
from tools.report import Report

LABEL_MAP = Path(__file__).parents[1] / "data" / "label_map.pbtxt"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    source, target = formats.find(options.source), formats.find(options.target)
    classes = parse_classes(options.classes)
    load_options = _taken_by(source.load, options.source, image_labels=options.image_labels)
    save_options = _save_options(target, options, classes)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    try:
        images = source.load(options.annotations, options.images, classes, report, **load_options)
        with tqdm(images, total=len(images), desc="reading", unit="image", disable=None) as progress:
            stream = _checked(progress, classes, report)
            if options.hold_out is not None:
                stream = _part(stream, options.hold_out, options.held_out, report)
            stream = _as_the_target_has_it(stream, target.KEEPS, options.copy_images, report)
            target.save(stream, options.output, report, **save_options)
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


def _checked(
    images: Iterable[AnnotatedImage], classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    """The images. Raises UserError at their end if they have boxes, but none of the classes that were asked for."""
    yield from images
    if classes and report.class_names and not classes.keys() & report.class_names.keys():
        has = ", ".join(repr(name) for name, _ in report.class_names.most_common(5))
        wanted = " or ".join(map(repr, classes))
        raise UserError(f"no box of {wanted}: the annotations have {has}; mend --class (CLASS= of make)")


def _part(images: Iterable[AnnotatedImage], share: float, held_out: bool, report: Report) -> Iterator[AnnotatedImage]:
    """The images that are held out, or the others. Their names decide: a set that grows leaves each where it is."""
    for image in images:
        if (zlib.crc32(image.name.encode()) < share * 2**32) == held_out:
            yield image
        else:
            report.skipped["not held out" if held_out else "held out"] += 1


def _as_the_target_has_it(
    images: Iterable[AnnotatedImage], keeps: Collection[str], copy_images: bool, report: Report
) -> Iterator[AnnotatedImage]:
    """The images, with the flags counted that the target cannot hold; with their bytes where files are to be copied."""
    for image in images:
        for flag, values in image.flags.items():
            if flag not in keeps and (lost := int((values > 0).sum())):
                report.not_kept[flag] += lost
        if "class" not in keeps and (lost := sum(name != "face" for name in image.classes)):
            report.not_kept["class"] += lost
        try:
            yield replace(image, source=image.encoded()) if copy_images else image
        except OSError as error:
            report.problem(image.name, error.strerror)


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
    parser.add_argument(
        "--image-labels",
        metavar="FILE",
        type=Path,
        help="open_images: verified image labels; adds images without faces",
    )
    parser.add_argument(
        "--hold-out",
        metavar="SHARE",
        type=_share,
        help="leave out this share of the images, such as 0.1: those that --held-out takes",
    )
    parser.add_argument("--held-out", action="store_true", help="take only those that --hold-out leaves out")
    parser.add_argument("--copy-images", action="store_true", help="put image files into OUTPUT/images as well")
    records = parser.add_argument_group("options of tfrecord")
    records.add_argument("--shards", metavar="N", type=int, help="number of files [one for each 1000 images, about]")
    records.add_argument("--workers", metavar="N", type=int, help="processes [one for each core]")
    records.add_argument("--max-side", metavar="PIXELS", type=int, help="make larger images smaller, with their boxes")
    records.add_argument("--label-map", metavar="FILE", type=Path, help="ids of the classes [data/label_map.pbtxt]")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON on stdout")
    options = parser.parse_args(arguments)
    if options.held_out and options.hold_out is None:
        parser.error("--held-out: say which share with --hold-out")
    return options


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a share between 0 and 1, such as 0.1")
    return share


def _save_options(target: ModuleType, options: argparse.Namespace, classes: dict[str, str] | None) -> dict:
    """The keyword arguments for the save of `target`."""
    for name, most in [("shards", 99999), ("workers", 1024), ("max_side", 65535)]:
        value = getattr(options, name)
        if value is not None and not 1 <= value <= most:
            raise UserError(f"--{name.replace('_', '-')} {value}: give a number from 1 to {most}")
    given = _taken_by(
        target.save,
        options.target,
        shards=options.shards,
        workers=options.workers,
        max_side=options.max_side,
        label_map=options.label_map,
    )
    if target is not formats.find("tfrecord"):
        return given
    if options.copy_images:
        raise UserError("--copy-images has no meaning for tfrecord, which holds its images")
    made_from = {
        "format": options.source,
        "annotations": str(options.annotations),
        "images": options.images,
        "image_labels": options.image_labels and str(options.image_labels),
        "classes": classes,
    }
    if options.hold_out is not None:
        made_from["part"] = f"{'the' if options.held_out else 'without the'} {options.hold_out:g} held out"
    return given | {
        "label_map": label_map.read(options.label_map or LABEL_MAP),
        "workers": options.workers or len(os.sched_getaffinity(0)),
        "made_from": made_from,
    }


def _taken_by(function: Callable, name: str, **values) -> dict:
    """Those `values` that are given, for a format's load or save. Raises UserError if it doesn't take one."""
    takes = inspect.signature(function).parameters
    given = {option: value for option, value in values.items() if value is not None}
    for option in given:
        if option not in takes:
            raise UserError(f"--{option.replace('_', '-')} has no meaning for {name}")
    return given


if __name__ == "__main__":
    run_command(main)
