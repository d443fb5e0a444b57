"""python -m benchmarks.evaluation: seconds for all figures of evaluation.evaluate, against pycocotools' alone.

Random images of 1,024 x 768 with `--faces` faces, and `--detections` detections of which two in three are near a face.
All of it is timed in one run, `--rounds` times in turns, and the best of each counts, by CPU seconds of all threads,
which other work on the machine changes less: first each part, then evaluation.evaluate.evaluate whole, which is every
protocol, the intervals of a thousand draws, kinds of faces and errors, calibration and thresholds, but no reading of
files; then COCOeval of pycocotools, evaluate and accumulate, on the same detections.
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect_faces import Faces, detections_file
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, run_command
from evaluation import bootstrap
from evaluation.coco import coco_metrics
from evaluation.evaluate import evaluate
from evaluation.image_curves import ImageCurves
from evaluation.matched_set import match_set
from evaluation.open_images_ap import open_images_ap
from evaluation.paired_test import paired_test
from evaluation.pairing import detections_for
from evaluation.wider_face_lists import by_height
from evaluation.wider_face_protocol import wider_face_ap
from tools.annotations import AnnotatedImage

WIDTH, HEIGHT = 1024, 768


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--images", type=int, default=3226, metavar="N")
    parser.add_argument("--faces", type=int, default=12, metavar="N", help="in an image, on average [%(default)s]")
    parser.add_argument("--detections", type=int, default=100, metavar="N", help="in an image [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)

    images, detections = random_set(options.images, options.faces, options.detections)
    matched = match_set(images, detections)
    curves, weights = ImageCurves.of_matched(matched), bootstrap.draws(len(images))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.jsonl"
        lines = [ImageDetections(i.name, WIDTH, HEIGHT, f, 1.0) for i, f in zip(images, detections, strict=True)]
        detections_file.write(path, lines)
        parts = {
            "reading the detections file": lambda: detections_for(images, path),
            "matching": lambda: match_set(images, detections),
            "COCO (hotcoco)": lambda: coco_metrics(images, detections),
            "WIDER FACE": lambda: wider_face_ap(by_height(images), detections),
            "Open Images": lambda: open_images_ap(images, detections),
            "an interval of 1,000 draws": lambda: bootstrap.average_precision_interval(curves, weights),
            "a paired test": lambda: paired_test(curves, curves),
            "**all figures**": lambda: evaluate(images, detections, [0.5]),
            "pycocotools' COCO alone": lambda: by_pycocotools(images, detections),
        }
        seconds = best_of(parts, options.rounds)
    faces, boxes = sum(map(len, images)), sum(map(len, detections))
    print(f"{len(images):,} images, {faces:,} faces, {boxes:,} detections\n")
    print("| | seconds | CPU seconds | of all figures |\n|---|---|---|---|")
    for name, (wall, cpu) in seconds.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {cpu / seconds['**all figures**'][1]:.2f} |")
    return EXIT_OK


def random_set(count: int, faces: int, found: int) -> tuple[list[AnnotatedImage], list[Faces]]:
    """Images of 0 to 2 * `faces` faces of 8 to 128 px, with `found` detections each."""
    draw = np.random.default_rng(0)

    def boxes(n: int) -> np.ndarray:
        size = np.exp(draw.uniform(np.log(8), np.log(128), (n, 1))) * [1, 1.25]
        corner = draw.uniform(0, 1, (n, 2)) * ([WIDTH, HEIGHT] - size)
        return np.hstack([corner, corner + size])

    images, detections = [], []
    for number in range(count):
        true, stray = boxes(int(draw.integers(0, 2 * faces + 1))), boxes(found)
        near = draw.random(found) < (2 / 3 if len(true) else 0)
        chosen = true[draw.integers(0, max(1, len(true)), near.sum())] if near.any() else true[:0]
        stray[near] = chosen + draw.normal(size=chosen.shape) * 0.08 * (chosen[:, 2:] - chosen[:, :2])[:, [0, 1, 0, 1]]
        flags = {
            "ignore": draw.random(len(true)) < 0.1,
            "group_of": draw.random(len(true)) < 0.05,
            "blur": draw.integers(0, 3, len(true)),
            "occlusion": draw.integers(0, 3, len(true)),
            "pose": draw.integers(0, 2, len(true)),
        }
        name = f"{number}.jpg"
        images.append(AnnotatedImage(name, WIDTH, HEIGHT, true, ("face",) * len(true), b"", flags))
        detections.append(Faces(stray, draw.random(found) ** np.where(near, 0.5, 2)))
    return images, detections


def best_of(parts: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """{name: (seconds, CPU seconds)} of its call with the fewest CPU seconds, called in turns."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, call in parts.items():
            start, cpu = time.perf_counter(), time.process_time()
            call()
            took = time.perf_counter() - start, time.process_time() - cpu
            best[name] = min(best.get(name, took), took, key=lambda pair: pair[1])
    return best


def by_pycocotools(images: list[AnnotatedImage], detections: list[Faces]) -> float:
    """AP50, from sets that are in memory already."""
    truth, results = [], []
    for number, (image, faces) in enumerate(zip(images, detections, strict=True), 1):
        crowd = image.ignore | (image.flags["group_of"] == 1)
        for box, ignored in zip(image.xyxy.tolist(), crowd.tolist(), strict=True):
            truth.append({**_entry(number, box), "id": len(truth) + 1, "iscrowd": int(ignored)})
        for box, score in zip(faces.xyxy.tolist(), faces.scores.tolist(), strict=True):
            results.append({**_entry(number, box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        numbers = [{"id": number} for number in range(1, len(images) + 1)]
        coco.dataset = {"images": numbers, "categories": [{"id": 1}], "annotations": truth}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, 0].mean())


def _entry(image: int, box: list[float]) -> dict:
    x_min, y_min, x_max, y_max = box
    bbox = [x_min, y_min, x_max - x_min, y_max - y_min]
    return {"image_id": image, "category_id": 1, "bbox": bbox, "area": bbox[2] * bbox[3]}


if __name__ == "__main__":
    run_command(main)
