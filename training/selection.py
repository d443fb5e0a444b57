"""Which evaluation of a run was the best, and whether it is time to stop."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How a run stands after its evaluations so far.

    Attributes:
        evaluations: how many there were.
        last_step: the step of the last one; None before the first.
        best_step, best_value: the best one, of equal ones the earlier; None while none has a figure.
        since: evaluations after the best one.
    """

    evaluations: int = 0
    last_step: int | None = None
    best_step: int | None = None
    best_value: float | None = None
    since: int = 0

    @property
    def improved(self) -> bool:
        """Whether the last evaluation is the best."""
        return self.best_step is not None and self.since == 0

    def should_stop(self, patience: int) -> bool:
        """Whether the last `patience` evaluations were no better than one before; with patience 0 never.

        While no evaluation has a figure, as on images without faces, there is nothing to stop for.
        """
        return self.best_step is not None and 0 < patience <= self.since

    def summary(self, metric: str) -> str:
        """Which step was the best, in words.

        >>> standing([(200, 0.3), (400, 0.412), (600, 0.4)]).summary("AP50")
        'step 400 was the best of 3 evaluations (AP50 0.412)'
        """
        if not self.evaluations:
            return "there was no evaluation"
        many = "1 evaluation" if self.evaluations == 1 else f"{self.evaluations:,} evaluations"
        if self.best_step is None:
            return f"there is no best step: {metric} of {many} is no number; the images may have no face that counts"
        return f"step {self.best_step:,} was the best of {many} ({metric} {self.best_value:.3f})"

    def why_stopped(self, metric: str, patience: int) -> str:
        """The message of a run that `should_stop` ended, with the ways to have it go on."""
        lag = "the last one was" if self.since == 1 else f"the last {self.since:,} were"
        return (
            f"{self.summary(metric)}; {lag} not better, so training stopped at step {self.last_step:,}; "
            f"--set trainer.patience={2 * patience} goes on longer, --set trainer.patience=0 to the last step"
        )


def standing(history: Iterable[tuple[int, float | None]]) -> Standing:
    """How a run stands after evaluations, given as (step, value), larger values being better.

    None and values that are not finite are evaluations that are not better. A step that comes twice, as where a run was
    killed and went on from before it, counts by its later value.
    """
    values = dict(sorted(dict(history).items()))
    finite = {step: value for step, value in values.items() if value is not None and math.isfinite(value)}
    last_step = max(values, default=None)
    if not finite:
        return Standing(len(values), last_step)
    best_step = max(finite, key=finite.__getitem__)  # the first of equal ones
    since = sum(step > best_step for step in values)
    return Standing(len(values), last_step, best_step, finite[best_step], since)
