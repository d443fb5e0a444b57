"""python -m tools.show --records PATH --output FILE

Draws the images of a data set with their boxes into one picture (.png, .jpg) or one page (.html):

    python -m tools.show --records data/records/sample/train --output runs/train.html

Faces are green, boxes to ignore dashed and grey, boxes that look wrong (see tools.check) red; their numbers count from
1, as the set is read. The images with most to look at come first; --order random --seed N shows a fair sample instead.
Bad images and boxes are listed on stderr and the rest is drawn: exit code 1. Where there is nothing to draw nothing is
written: exit code 2.
"""

import argparse
import heapq
import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.whole_file import write_whole
from tools import contact_sheet, data_set, findings, html_page
from tools.annotations import AnnotatedImage, FilePart
from tools.findings import KINDS, SEVERITIES, Finding
from tools.html_page import Card
from tools.images import ImageError
from tools.report import Report

SHEET_SIDE, PAGE_SIDE = 360, 800  # pixels of a thumbnail; a page is looked at closer
COLUMNS = 6  # of a sheet
MOST = 1000  # images: more than anyone looks at, and all of them are held in memory

_LONGEST_JPEG = 65500  # pixels of a side
_SHEET_PIXELS = 300_000_000


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parse(arguments)
    output, is_page = options.output, options.output.suffix.lower() == ".html"
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    if options.annotations and options.annotations.resolve() == output.resolve():
        raise UserError(f"{output}: these are the annotations; give --output another name")

    def findings_of(image: AnnotatedImage) -> list[Finding]:
        return findings.in_boxes(image, options.min_size, options.input_size)

    stream = data_set.load(options, report)
    checked = _other_than(output, tqdm(stream, total=len(stream), unit="image", disable=None))
    images = chosen(checked, options.limit, options.order, options.seed, findings_of)
    if not images:
        raise UserError(f"{output}: not written, as there is not one good image to show")
    side = options.side or (PAGE_SIDE if is_page else SHEET_SIDE)
    if is_page:
        about = f"{len(images)} of {len(stream)} images; {_ORDERS[options.order]}"
        cards = [_card(image, findings_of(image), side, report) for image in images]
        data = html_page.page(str(options.records or options.annotations), about, cards, options.columns)
    else:
        columns = min(options.columns or COLUMNS, len(images))
        form = "PNG" if output.suffix.lower() == ".png" else "JPEG"
        _check_size(len(images), side, columns, form, output)
        tiles = [_tile(image, findings_of(image), side, report) for image in images]
        data = contact_sheet.encoded(contact_sheet.sheet(tiles, side, columns), form)
    write_whole(output, data)
    print(f"{output}: {len(images)} of {len(stream)} images, {_ORDERS[options.order]}", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


_ORDERS = {"worst": "those with most to look at first", "random": "drawn at random", "file": "the first"}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.show", description="Draw images with their boxes.")
    data_set.add_options(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=".png, .jpg or .html")
    parser.add_argument(
        "--limit", type=_count(MOST), default=48, metavar="N", help=f"images to show, up to {MOST} [%(default)s]"
    )
    parser.add_argument("--order", choices=_ORDERS, default="worst", help="which images [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other random images [%(default)s]")
    parser.add_argument(
        "--columns", type=_count(100), metavar="N", help=f"images in a row [{COLUMNS}; .html: what fits]"
    )
    parser.add_argument(
        "--side", type=_count(4000), metavar="PIXELS", help=f"of a thumbnail [{SHEET_SIDE}; .html: {PAGE_SIDE}]"
    )
    parser.add_argument(
        "--min-size",
        type=_count(65535),
        default=findings.MIN_SIZE,
        metavar="PIXELS",
        help="boxes with a shorter side are tiny [%(default)g]",
    )
    parser.add_argument(
        "--input-size", type=_count(65535), metavar="N", help="--min-size is for images scaled to N pixels"
    )
    options = parser.parse_args(arguments)
    if options.output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".html"):
        raise UserError(f"{options.output}: end the name in .png or .jpg for a picture, or in .html for a page")
    return options


def _count(most: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from 1 on."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return convert


def chosen(
    images: Iterable[AnnotatedImage],
    limit: int,
    order: str,
    seed: int = 0,
    findings_of: Callable[[AnnotatedImage], list[Finding]] = findings.in_boxes,
) -> list[AnnotatedImage]:
    """The images to show, in their order; no more than `limit` are in memory at a time.

    Args:
        images: read once.
        limit: images.
        order: "worst": those with the most serious findings, of more kinds before more of a kind, then in the order of
            the set; "random": a fair sample, in random order; "file": the first.
        seed: of "random".
        findings_of: what is found in an image.
    """
    if order == "file":
        return list(islice(images, limit))
    chance = random.Random(seed)
    key = (lambda _: chance.random()) if order == "random" else (lambda image: _badness(findings_of(image)))
    return heapq.nsmallest(limit, images, key=key)


def _badness(found: list[Finding]) -> tuple[int, ...]:
    """What to sort by, the worst first: for each severity the number of kinds, and of findings."""
    key = []
    for severity in SEVERITIES:
        kinds = [each.kind for each in found if each.severity == severity]
        key += [-len(set(kinds)), -len(kinds)]
    return tuple(key)


def _other_than(output: Path, images: Iterable[AnnotatedImage]) -> Iterator[AnnotatedImage]:
    """The images. Raises UserError when one of them is the file that is to be written."""
    try:
        there = os.stat(output)
    except OSError:
        there = None
    for image in images:
        if there:
            path = image.source.path if isinstance(image.source, FilePart) else image.source
            if isinstance(path, Path) and os.path.samestat(os.stat(path), there):
                raise UserError(f"{output}: is an image of the set; give --output another name")
        yield image


def _check_size(number: int, side: int, columns: int, form: str, output: Path) -> None:
    width, height = contact_sheet.sheet_size([side] * math.ceil(number / columns), side, columns)
    if width * height > _SHEET_PIXELS or (form == "JPEG" and max(width, height) > _LONGEST_JPEG):
        raise UserError(
            f"{output}: would have up to {width} x {height} pixels; give a smaller --limit or --side, or take .html"
        )


def _drawn(image: AnnotatedImage, found: list[Finding], side: int, report: Report) -> Image.Image | None:
    """The thumbnail with boxes; None for an image that cannot be decoded, which goes to the report."""
    try:
        picture = contact_sheet.thumbnail(image.source, side)
    except ImageError as error:
        report.problem(image.name, str(error))
        return None
    marked = {each.box for each in found if each.severity != "note" and each.box is not None}
    return contact_sheet.with_boxes(picture, image, marked)


def _about(image: AnnotatedImage) -> str:
    text = f"{image.width} x {image.height} px, {len(image)} {'box' if len(image) == 1 else 'boxes'}"
    if ignored := int(image.ignore.sum()):
        text += f", {ignored} to ignore"
    if others := sorted(set(image.classes) - {"face"}):
        text += f", {', '.join(others)}"
    return text


def _tile(image: AnnotatedImage, found: list[Finding], side: int, report: Report) -> tuple[Image.Image, list[str]]:
    picture = _drawn(image, found, side, report)
    if picture is None:
        return contact_sheet.placeholder("cannot be decoded", side), [image.name, _about(image)]
    kinds = [each.kind for each in found]
    counted = (f"{kinds.count(kind)} {kind}" if kinds.count(kind) > 1 else kind for kind in KINDS if kind in kinds)
    return picture, [image.name, _about(image), ", ".join(counted)]


def _card(image: AnnotatedImage, found: list[Finding], side: int, report: Report) -> Card:
    picture = _drawn(image, found, side, report)
    if picture is None:
        return Card(None, 0, 0, image.name, _about(image), [("error", "cannot be decoded")])
    ordered = sorted(found, key=lambda each: SEVERITIES.index(each.severity))
    points = [
        (
            each.severity,
            f"{each.kind}: {each.text}" if each.box is None else f"{each.kind}, box {each.box + 1}: {each.text}",
        )
        for each in ordered
    ]
    jpeg = contact_sheet.encoded(picture)
    return Card(jpeg, picture.width, picture.height, image.name, _about(image), points)


if __name__ == "__main__":
    run_command(main)
