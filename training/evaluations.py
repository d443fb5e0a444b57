"""The evaluations inside a run: how good the weights are as they would be used now, and whether that is the best."""

from collections.abc import Mapping

from training import run_folder
from training.agreement import Agreement
from training.candidate import Candidate
from training.console import say
from training.job import Job
from training.journal import PICTURES, Journal
from training.learner import Learner
from training.od_api import trainer_settings
from training.selection import Standing, standing
from training.validation import Validation


class Evaluations:
    """Those of a run, one after the other."""

    def __init__(self, job: Job, candidate: Candidate, workers: Agreement, history: Mapping[int, float | None]):
        """Reads the validation records.

        Args:
            job: of the run.
            candidate: takes the weights that are evaluated.
            workers: of the run.
            history: the figures so far, by step.
        """
        self._metric, self._patience = job.settings.metric, job.settings.patience
        self._candidate, self._workers, self._history = candidate, workers, dict(history)
        self._validation = None
        if job.validation:
            by_means = trainer_settings.by_means(job.config)
            self._validation = Validation(job.validation, candidate.model, by_means=by_means, pictures=PICTURES)

    def has(self, step: int) -> bool:
        """Whether there was one behind so many steps."""
        return step in self._history

    def make(self, learner: Learner, journal: Journal | None) -> None:
        """Evaluates the weights as they are now, says how good they are, and has the journal keep that and the best.

        With several workers each has to call it: all take over the figure of the first.
        """
        learner.hand_to(self._candidate)
        step, figures = learner.done, self._validation()
        found = self._workers.of_chief(figures[self._metric])
        self._history[step] = found
        figure = "none" if found is None else f"{found:.3f}"
        summary = self._standing.summary(self._metric)
        say(f"step {step:,}: {self._metric} {figure} in {figures['seconds']:.0f} s; {summary}")
        if journal:
            if self._standing.improved:
                journal.weights(run_folder.BEST, self._candidate.model, step)
            journal.evaluation(step, figures, self._validation.pictures())

    @property
    def should_stop(self) -> bool:
        """Whether the last ones were no better than one before, as often as the config has patience; with 0 never."""
        return self._standing.should_stop(self._patience)

    def conclusion(self) -> str | None:
        """What to say of them at the end of the run; None where there could be none."""
        if self.should_stop:
            return self._standing.why_stopped(self._metric, self._patience)
        return self._standing.summary(self._metric) if self._validation else None

    @property
    def _standing(self) -> Standing:
        return standing(self._history.items())
