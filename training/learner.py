"""What training changes, in one state that is saved and restored: model, optimiser, averages and number of steps."""

from pathlib import Path

import tensorflow as tf

from training import devices, phases, run_folder
from training.batches import Batches
from training.candidate import Candidate
from training.job import Job
from training.od_api import model as detection_model
from training.od_api import optimizer
from training.steps import Averages, Trained, TrainStep

_KEPT = 2  # states of training


class Learner:
    """A model in training.

    Attributes:
        model: the detection model.
        learning_rate: a function that gives the present one.
    """

    def __init__(self, job: Job, model: detection_model.DetectionModel, strategy: tf.distribute.Strategy):
        """Makes the optimiser and what belongs to it; in the scope of the strategy.

        Raises:
            UserError: the config freezes what isn't there, or leaves nothing to train.
        """
        self._job, self._strategy, self.model = job, strategy, model
        self._trained = phases.trained_by(job.config, model)
        self._done = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self._optimizer, self.learning_rate = optimizer.build(job.config, self._done, model.trainable_variables)
        self._averages = Averages(model.trainable_variables, optimizer.average_decay(job.config))
        self._batch_norm_modes = phases.BatchNormModes(model)
        self._function: TrainStep | None = None
        self._state = tf.train.Checkpoint(
            step=self._done, model=model, optimizer=self._optimizer, averages=self._averages.values
        )
        self._manager: tf.train.CheckpointManager | None = None

    @property
    def done(self) -> int:
        """The number of steps made, those before a kill included."""
        return int(self._done.read_value())  # of several devices they are several variables

    def resume(self, run: Path) -> str | None:
        """Goes on from the newest whole state in a run folder; returns its prefix, None where there is none.

        Raises:
            UserError: there are states, and all of them are damaged.
        """
        return run_folder.resume(self._state, run)

    def keep_states(self, run: Path) -> None:
        """Has `save` write into a run folder; workers besides the chief have to save, too, and do so beside it.

        A state is written under its own name first and the file `checkpoint` made to point to it afterwards: whenever
        the process is killed, the pointer names a whole one.
        """
        folder = run / f".worker-{devices.worker()}" if devices.worker() else run
        run_folder.remove_unfinished(folder)
        self._manager = tf.train.CheckpointManager(self._state, str(folder), max_to_keep=_KEPT)

    def save(self) -> None:
        """Saves the state; after `keep_states`."""
        self._manager.save(checkpoint_number=self.done)

    def step(self, batches: Batches) -> dict[str, float]:
        """Makes a step and gives its losses; see `TrainStep`. The first one, and each of another kind, takes long."""
        begins = self.done == self._job.settings.head_only_steps  # to train all of it
        if self._function is None or begins:
            if begins and self.done:  # Adam's bias correction counts on steps of all variables
                optimizer.forget(self._optimizer)
            self._function = self._next_function(batches.element_spec)
        return self._function(batches)

    @property
    def stateful_random_ops(self) -> list[str]:
        """Random operations of the step whose state no checkpoint holds. After the first step."""
        return self._function.stateful_random_ops

    def hand_to(self, candidate: Candidate) -> None:
        """Makes the weights for use from those behind the last step."""
        trained = self._trained_in(self.done - 1) if self.done else []
        candidate.take(self.done, self.model.variables, self._averages, trained)

    def _trained_in(self, step: int) -> list[tf.Variable]:
        """The variables that a step trains, whose number counts from 0."""
        return phases.head(self._trained) if step < self._job.settings.head_only_steps else self._trained

    def _next_function(self, element_spec) -> TrainStep:
        trained = self._trained_in(self.done)
        self._batch_norm_modes.follow(trained)
        detection_model.set_training(True)
        return TrainStep(
            self._strategy,
            Trained(self.model, trained, self._optimizer, self._averages, self._done),
            element_spec,
            batch_size=self._job.batch_size,
            clip=self._job.config.train_config.gradient_clipping_by_norm,
            accumulate=self._job.settings.accumulate,
            seed=self._job.settings.seed,
        )
