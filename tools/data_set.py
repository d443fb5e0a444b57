"""The annotated images that a command works on, from its command line."""

import argparse
from pathlib import Path

from detect_faces.errors import UserError
from tools import formats
from tools.formats import ImageStream
from tools.report import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --records, and --format, --annotations, --images and --class for what is not converted to records."""
    group = parser.add_argument_group("images with annotations (--records, or --format and the others)")
    group.add_argument("--records", metavar="PATH", help="TFRecord shards: a folder, file, glob or prefix@N")
    group.add_argument("--format", choices=formats.NAMES, help="format of --annotations")
    group.add_argument("--annotations", type=Path, metavar="FILE")
    group.add_argument("--images", type=Path, metavar="DIR", help="the folder of the images")
    group.add_argument(
        "--class", dest="classes", metavar="NAME=CLASS", action="append", help="take boxes of NAME as CLASS; repeatable"
    )


def load(options: argparse.Namespace, report: Report) -> ImageStream:
    """The images that the options name, read one at a time; bad ones go to the report.

    Raises:
        UserError: the options do not name a set, or there is nothing at that place.
    """
    classes = parse_classes(options.classes)
    if options.records:
        if options.format or options.annotations or options.images:
            raise UserError("--records goes without --format, --annotations and --images")
        return formats.find("tfrecord").load(options.records, None, classes, report)
    if not (options.format and options.annotations):
        raise UserError("give the images as --records PATH, or as --format NAME --annotations FILE --images DIR")
    return formats.find(options.format).load(options.annotations, options.images, classes, report)


def parse_classes(pairs: list[str] | None) -> dict[str, str] | None:
    """{NAME: CLASS} of NAME=CLASS options; None without any."""
    classes = {}
    for pair in pairs or []:
        name, separator, target = pair.rpartition("=")
        if not (name and separator and target):
            raise UserError(f"--class {pair}: give NAME=CLASS, such as --class /m/0dzct=face")
        classes[name] = target
    return classes or None
