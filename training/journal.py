"""What a run measures and shows, written as it goes on: metrics.jsonl, TensorBoard's events, and weights for use."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces.whole_file import write_whole
from training import guards, metrics_log, run_folder
from training.batches import Batches
from training.metrics_log import MetricsLog
from training.od_api import inputs

PICTURES = 8  # of a batch or of the validation set, in TensorBoard


class Journal:
    """Of one run folder, by the one process that writes there; a context manager."""

    def __init__(self, run: Path, step: int):
        """Opens the files of a run that goes on from `step`. Raises UserError where its log isn't one."""
        self._run = run
        self._log = MetricsLog(run / metrics_log.FILE, step=step)
        self._shown = False
        self._curves, self._evaluations = (tf.summary.create_file_writer(str(run / name)) for name in ("train", "eval"))

    def first_batch(self, batch: tuple[dict, dict]) -> None:
        """Keeps the pictures of the first batch as inputs.png."""
        write_whole(self._run / "inputs.png", guards.picture([batch]))

    def step(
        self, step: int, losses: Mapping[str, float], more: Mapping[str, float], batches: Batches, *, show: bool
    ) -> None:
        """Writes a line and the points of the curves.

        Args:
            step: the one just made.
            losses: what it gave.
            more: other figures of it.
            batches: that it was made of.
            show: whether the images of its last batch are wanted in TensorBoard; those of the first call always are.
        """
        measured = {**metrics_log.named(losses), **more}
        self._log.write(step, measured)
        with self._curves.as_default(step=step):
            for name, value in measured.items():
                tf.summary.scalar(name, value)
            if show or not self._shown:
                tf.summary.image("inputs", inputs.drawn(*batches.last), max_outputs=PICTURES)
                self._shown = True
            self._curves.flush()

    def evaluation(self, step: int, figures: Mapping[str, float | None], pictures: np.ndarray) -> None:
        """Adds the figures of an evaluation to the line of its step and to the curves, with pictures of what was found.

        Args:
            step: that it was made behind.
            figures: None where there is none.
            pictures: (N, H, W, 3) uint8 RGB.
        """
        with self._evaluations.as_default(step=step):
            for name, figure in figures.items():
                if figure is not None:
                    tf.summary.scalar(name, figure)
            tf.summary.image("found", pictures, max_outputs=PICTURES)
            self._evaluations.flush()
        self._log.amend(step, figures)  # last: where this is missing, a run that goes on evaluates again

    def weights(self, place: str, model: tf.Module, step: int) -> None:
        """Keeps a model's weights for use as the run's best or last, in place of those before."""
        run_folder.save_weights(self._run / place, model, step)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self._log.close()
        self._curves.close()
        self._evaluations.close()
