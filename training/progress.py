"""How far training is: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta

from tqdm import tqdm

from training.console import say

TALK_EVERY = 15.0  # seconds between lines where there is no terminal for a progress bar
_PARTS_LEFT_OUT = ("total", "gradient_norm", "matched")


class Progress:
    """Counts steps and says so.

    Attributes:
        images_per_second: since the first step of this start, evaluations and checkpoints left out.
        seconds: of the steps since the first one of this start.
    """

    def __init__(self, done: int, steps: int, images: int):
        """`done` of `steps` are made, each of so many `images`."""
        self.first, self.steps, self.images = done, steps, images
        self.began = self.spoke = None
        self.seconds, self.images_per_second = 0.0, 0.0
        self.bar = tqdm(total=steps, initial=done, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def update(self, done: int, losses: Mapping[str, float], seconds: float) -> None:
        """Takes in a step that took so many seconds."""
        now = time.monotonic()
        if self.began is None:  # the first step is mostly tracing
            self.began = self.spoke = now
            self.first = done
        else:
            self.seconds += seconds
            self.images_per_second = (done - self.first) * self.images / self.seconds
        self.bar.update(1)
        self.bar.set_postfix_str(f"loss {losses['total']:.3f}, {self.images_per_second:.3g} images/s")
        if self.bar.disable and (now - self.spoke >= TALK_EVERY or done == self.steps):
            self.spoke = now
            parts = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items() if name not in _PARTS_LEFT_OUT)
            say(
                f"step {done}/{self.steps}  loss {losses['total']:.3f} ({parts})  "
                f"{self.images_per_second:.3g} images/s  {self.left(done)} left"
            )

    def left(self, done: int) -> timedelta:
        """The time that the remaining steps take, by the steps so far."""
        return timedelta(seconds=round(self.seconds / max(done - self.first, 1) * (self.steps - done)))

    def close(self) -> None:
        self.bar.close()
