"""python -m benchmarks.reduced_decoding --format wider_face --annotations FILE --images DIR: reduced decoding's cost.

detect-faces decodes a large JPEG at 1/2, 1/4 or 1/8 where it stays ENOUGH times as large as the network's input.
This finds the faces of the same large JPEGs both ways, and gives AP50 in full and the paired difference (reduced less
in full). Large JPEGs are made of the annotated images, which are small, in two ways:

grid: N x N different images, side by side. Their pixels are real, and faces that are large in an image are small here.
Faces below MIN_FACE pixels of the network's input need not be found.

enlarged: each image by itself, to the size that is just decoded at 1/2. All faces count; the pixels are smoother than
those of a camera.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import cv2
import numpy as np

from detect_faces import Detector, Faces
from detect_faces.errors import EXIT_OK, run_command
from detect_faces.guards import Limits, checked_header
from detect_faces.images import REDUCED, decode, decode_image
from detect_faces.shrinking import ENOUGH
from evaluation import bootstrap
from evaluation.image_curves import ImageCurves
from evaluation.matched_set import match_set
from evaluation.paired_test import paired_test
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.report import Report

CELL = 1024  # pixels of a grid's cell, into which an image fits
MIN_FACE = 10  # pixels in height, of the network's input
QUALITY = 92  # of the JPEGs
LEAST = 1.5  # inputs that are left of a grid, at least
SEED = 0  # of the images' order in the grids

Large = tuple[AnnotatedImage, bytes]
Find = Callable[[bytes, int], Faces]


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reduced_decoding",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="fast", metavar="MODEL")
    parser.add_argument("--grids", type=int, nargs="*", default=[2, 3, 4], metavar="N", help="[2 3 4]")
    parser.add_argument("--enlarged", type=float, nargs="*", default=[ENOUGH], metavar="X", help="left, in inputs")
    data_set.add_options(parser)
    options = parser.parse_args(arguments)
    detector = Detector(options.model)
    side = max(detector.model.width, detector.model.height)
    find = partial(_found, detector)
    images = list(data_set.load(options, Report(show=lambda line: print(line, file=sys.stderr))))
    print("| pictures | longer side, inputs | decoded at | left, inputs | faces | AP50 | reduced | interval |")
    print("|---" * 8 + "|")
    for size in options.grids:
        factors = [factor for factor in REDUCED if factor > 1 and CELL * size >= factor * LEAST * side]
        _rows(find, f"grids {size} x {size}", _grids(images, size, side), CELL * size / side, factors)
    for left in options.enlarged:
        _rows(find, "enlarged", _enlarged(images, round(2 * left * side)), 2 * left, [2])
    return EXIT_OK


def _rows(find: Find, name: str, pictures: Iterable[Large], ratio: float, factors: list[int]) -> None:
    """Prints a row for each factor."""
    images: list[AnnotatedImage] = []
    found: dict[int, list[Faces]] = {factor: [] for factor in (1, *factors)}
    for image, data in pictures:
        images.append(image)
        for factor, faces in found.items():
            faces.append(find(data, factor))
    curves = {factor: ImageCurves.of_matched(match_set(images, faces)) for factor, faces in found.items()}
    (in_full,) = bootstrap.average_precisions(curves[1], np.ones((1, len(images))))
    for factor in factors:
        test = paired_test(curves[factor], curves[1])
        low, high = test.interval
        print(
            f"| {len(images)} {name} | {ratio:.1f} | 1/{factor} | {ratio / factor:.1f} | {curves[1].faces.sum():.0f} | "
            f"{in_full:.3f} | {test.difference:+.4f} | {low:+.4f} to {high:+.4f} |",
            flush=True,
        )


def _found(detector: Detector, data: bytes, factor: int) -> Faces:
    """All detections in a JPEG decoded at 1/factor, in pixels of the whole."""
    picture = decode(data, "JPEG", checked_header(data, "JPEG", Limits()), factor)
    return picture.in_its_pixels(detector.detect(picture.image, 0.0))


def _grids(images: list[AnnotatedImage], size: int, input_side: int) -> Iterator[Large]:
    order = np.random.default_rng(SEED).permutation(len(images))
    for first in range(0, len(order) - size * size + 1, size * size):
        canvas = np.full((CELL * size, CELL * size, 3), 128, np.uint8)
        boxes, ignore = [], []
        for cell, index in enumerate(order[first : first + size * size]):
            image, pixels = images[index], _pixels(images[index])
            scale = min(1, CELL / max(pixels.shape[:2]))
            if scale < 1:
                pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            y, x = CELL * (cell // size), CELL * (cell % size)
            canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
            xyxy = image.xyxy * scale + [x, y, x, y]
            small = (xyxy[:, 3] - xyxy[:, 1]) * input_side / (CELL * size) < MIN_FACE
            boxes.append(xyxy)
            ignore.append(small | image.ignore)
        xyxy, side = np.concatenate(boxes), CELL * size
        flags = {"ignore": np.concatenate(ignore)}
        yield AnnotatedImage(f"grid-{first}", side, side, xyxy, ("face",) * len(xyxy), b"", flags), _jpeg(canvas)


def _enlarged(images: list[AnnotatedImage], side: int) -> Iterator[Large]:
    for image in images:
        pixels = _pixels(image)
        scale = side / max(pixels.shape[:2])
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        height, width = large.shape[:2]
        yield dataclasses.replace(image, width=width, height=height, xyxy=image.xyxy * scale), _jpeg(large)


def _pixels(image: AnnotatedImage) -> np.ndarray:
    return decode_image(image.encoded(), image.name)


def _jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


if __name__ == "__main__":
    run_command(main)
