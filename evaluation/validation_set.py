"""The annotated images that an evaluation runs on, from its command line."""

import argparse
from pathlib import Path

from detect_faces import UserError
from tools import formats
from tools.formats import ImageStream
from tools.report import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --records, and --format, --annotations and --images for what is not converted to records."""
    group = parser.add_argument_group("images with annotations (--records, or the other three)")
    group.add_argument("--records", metavar="PATH", help="TFRecord shards: a folder, file, glob or prefix@N")
    group.add_argument("--format", choices=formats.NAMES, help="format of --annotations")
    group.add_argument("--annotations", type=Path, metavar="FILE")
    group.add_argument("--images", type=Path, metavar="DIR", help="the folder of the images")


def load(options: argparse.Namespace, report: Report) -> ImageStream:
    """The images that the options name, read one at a time; bad ones go to the report.

    Raises:
        UserError: the options do not name a set, or there is nothing at that place.
    """
    if options.records:
        if options.format or options.annotations or options.images:
            raise UserError("--records goes without --format, --annotations and --images")
        return formats.find("tfrecord").load(options.records, None, None, report)
    if not (options.format and options.annotations):
        raise UserError("give the images as --records PATH, or as --format NAME --annotations FILE --images DIR")
    return formats.find(options.format).load(options.annotations, options.images, None, report)
