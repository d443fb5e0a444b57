"""The detections file of a checkpoint: what the weights of a run find in annotated images.

python -m training.detect --run runs/demo --records data/records/sample/validation --output checkpoint.jsonl
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from detect_faces import Detections, detections_file
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from evaluation.detect import detect_all
from tools import data_set
from tools.report import Report
from training import run_folder
from training.od_api import model as detection_model
from training.od_api import pipeline


class Checkpoint:
    """The weights of a run as a detector of the room `evaluation`."""

    min_score = 0.0

    def __init__(self, run: Path, weights: str | None = None):
        config = pipeline.load(run_folder.config_path(run))
        self.name = weights or run_folder.weights_path(run)
        self.settings = "the OD API's model, outside of a graph it was exported to"
        self._model = detection_model.build(config, training=False)
        run_folder.restore_weights(self.name, self._model)
        self._detect = tf.function(
            lambda image: detection_model.detect(self._model, image),
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        )

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Detections:
        """The faces the model reports in (H, W, 3) uint8."""
        height, width = image_bgr.shape[:2]
        boxes, scores = self._detect(np.ascontiguousarray(image_bgr[..., ::-1]))
        return Detections.from_yxyx(boxes.numpy(), scores.numpy(), width, height).at_least(min_score)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.detect", description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, type=Path, help="run folder, such as runs/demo")
    parser.add_argument("--weights", help="prefix of another checkpoint of the run, such as runs/demo/ckpt-100")
    parser.add_argument("--output", required=True, metavar="FILE", help="the detections file (.jsonl) to write")
    data_set.add_options(parser)
    options = parser.parse_args(argv)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = data_set.load(options, report)
    detector = Checkpoint(options.run, options.weights)
    with tqdm(images, total=len(images), unit="image", disable=None) as progress:
        count = detections_file.write(options.output, detect_all(detector, progress, report))
    print(f"{options.output}: {count} images, {detector.name}", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


if __name__ == "__main__":
    run_command(main)
