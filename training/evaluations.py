"""The evaluations inside a run: how good the weights are as they would be used now, and whether that is the best."""

from collections.abc import Mapping

from training import run_folder
from training.agreement import Agreement
from training.candidate import Candidate
from training.console import say
from training.journal import PICTURES, Journal
from training.learner import Learner
from training.plan import Plan
from training.selection import Standing, standing
from training.validation import Validation


class Evaluations:
    """Of a run, one after the other.

    Attributes:
        candidate: the weights for use, as `take` or the last evaluation made them.
    """

    def __init__(self, plan: Plan, learner: Learner, workers: Agreement, history: Mapping[int, float | None]):
        """Builds the model that is evaluated; `history` has the figures so far, by step."""
        self._metric, self._patience = plan.settings.metric, plan.settings.patience
        self._learner, self._workers, self._history = learner, workers, dict(history)
        self.candidate = Candidate(plan.config, plan.examples)
        self._validation = (
            Validation(plan.validation, self.candidate.model, pictures=PICTURES) if plan.validation else None
        )

    def __contains__(self, step: int) -> bool:
        return step in self._history

    def __call__(self, step: int, journal: Journal | None) -> None:
        """Evaluates the weights behind `step`, says how good they are, and has the journal keep that and the best.

        With several workers each has to call it: all take over the figure of the first.
        """
        self.take(step)
        figures = self._validation()
        found = self._history[step] = self._workers.of_chief(figures[self._metric])
        figure, summary = "none" if found is None else f"{found:.3f}", self._standing.summary(self._metric)
        say(f"step {step:,}: {self._metric} {figure} in {figures['seconds']:.0f} s; {summary}")
        if journal:
            if self._standing.improved:
                journal.weights(run_folder.BEST, self.candidate.model, step)
            journal.evaluation(step, figures, self._validation.pictures())

    def take(self, step: int) -> None:
        """Makes the weights for use behind `step`, the last one made."""
        learner = self._learner
        self.candidate.take(step, learner.model.variables, learner.averages, learner.trained_at(step - 1))

    def try_out(self, step: int) -> None:
        """Does once what an evaluation does, or the end of a run without any."""
        if self._validation:
            self(step, None)
        else:
            self.take(step)

    @property
    def should_stop(self) -> bool:
        """Whether the last evaluations were no better than one before, as often as the config has patience."""
        return self._standing.should_stop(self._patience)

    def conclusion(self) -> str | None:
        """What to say of them at the end of the run; None where there could be none."""
        if self.should_stop:
            return self._standing.why_stopped(self._metric, self._patience)
        return self._standing.summary(self._metric) if self._validation else None

    @property
    def _standing(self) -> Standing:
        return standing(self._history.items())
