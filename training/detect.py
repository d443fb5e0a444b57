"""The detections file of a checkpoint: what the weights of a run find in annotated images.

python -m training.detect --run runs/demo --records data/records/sample/validation --output checkpoint.jsonl
"""

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from detect_faces.images import decode_image
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.report import Report
from training import run_folder
from training.od_api import model as detection_model
from training.od_api import pipeline, trainer_settings
from training.od_api.modes import BatchDetector

_DECODERS = min(8, len(os.sched_getaffinity(0)))  # threads
_AHEAD = 2  # batches that are decoded while the network is at work


def find_faces(detector: BatchDetector, images: Iterable[AnnotatedImage]) -> Iterator[ImageDetections]:
    """What a model finds in each image, in their order; all of it, whatever its score.

    Images are decoded beside the network, a few ahead, so that memory doesn't grow with their number. One that cannot
    be decoded, or is of another size than its annotation says, comes with the reason as its `error`.
    """
    images, waiting = iter(images), deque()
    with ThreadPoolExecutor(_DECODERS, "decode") as threads:
        try:
            while True:
                for image in islice(images, (1 + _AHEAD) * detector.batch_size - len(waiting)):
                    waiting.append((image, threads.submit(_prepared, detector, image)))
                if not waiting:
                    return
                batch = [waiting.popleft() for _ in range(min(detector.batch_size, len(waiting)))]
                yield from _found(detector, [(image, prepared.result()) for image, prepared in batch])
        finally:
            for _, prepared in waiting:
                prepared.cancel()


def _prepared(detector: BatchDetector, image: AnnotatedImage):
    """The image as the model takes it, or what is wrong with it."""
    try:
        pixels = decode_image(image.encoded(), image.name)
    except UserError as error:
        return str(error).removeprefix(f"{image.name}: ")
    except OSError as error:
        return error.strerror
    height, width = pixels.shape[:2]
    if (width, height) != (image.width, image.height):
        return f"is {width}x{height} pixels, its annotation is for {image.width}x{image.height}"
    return detector.prepare(np.ascontiguousarray(pixels[..., ::-1]))


def _found(detector: BatchDetector, batch: list[tuple[AnnotatedImage, object]]) -> Iterator[ImageDetections]:
    good = [prepared for _, prepared in batch if not isinstance(prepared, str)]
    found = iter(detector.detect(good) if good else [])
    for image, prepared in batch:
        if isinstance(prepared, str):
            yield ImageDetections(image.name, error=prepared)
            continue
        boxes, scores = next(found)
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)  # weights that ran away give no detections
        faces = Faces.from_yxyx(boxes[finite], scores[finite], image.width, image.height)
        yield ImageDetections(image.name, image.width, image.height, faces)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.detect", description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, type=Path, help="run folder, such as runs/demo")
    parser.add_argument("--weights", help="prefix of another checkpoint of the run, such as runs/demo/ckpt-100")
    parser.add_argument("--output", required=True, metavar="FILE", help="the detections file (.jsonl) to write")
    data_set.add_options(parser)
    options = parser.parse_args(argv)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = data_set.load(options, report)
    config = pipeline.load(run_folder.config_path(options.run))
    weights = options.weights or run_folder.weights_path(options.run)
    model = detection_model.build(config, training=False)
    run_folder.restore_weights(weights, model)
    found = find_faces(BatchDetector(model, by_means=trainer_settings.by_means(config)), images)
    with tqdm(found, total=len(images), unit="image", disable=None) as progress:
        count = detections_file.write(options.output, _reported(progress, report))
    print(f"{options.output}: {count} images, {weights}", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def _reported(found: Iterable[ImageDetections], report: Report) -> Iterator[ImageDetections]:
    for image in found:
        if image.error is not None:
            report.problem(image.image, image.error)
        yield image


if __name__ == "__main__":
    run_command(main)
