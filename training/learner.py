"""What training changes, in one state that is saved and restored: model, optimiser, averages and number of steps."""

from pathlib import Path

import tensorflow as tf

from training import phases, run_folder
from training.od_api import model as detection_model
from training.od_api import optimizer, tf1_names
from training.plan import Plan
from training.steps import Averages, Trained, TrainStep


class Learner:
    """A model in training.

    Attributes:
        model: the detection model.
        averages: of its trainable variables.
        state: all that a run needs to go on, as a checkpoint.
        learning_rate: a function that gives the present one.
    """

    def __init__(self, plan: Plan, model: detection_model.DetectionModel):
        """Makes the optimiser and what belongs to it; in the scope of the strategy that trains.

        Raises:
            UserError: the config freezes what isn't there, or leaves nothing to train.
        """
        config = plan.config
        only, frozen = config.train_config.update_trainable_variables, config.train_config.freeze_variables
        names = tf1_names.naming(config, model) if (only or frozen) and tf1_names.known(config) else {}
        self._plan, self.model = plan, model
        self._trained = phases.trained(model, only=only, frozen=frozen, tf1_names=names)
        self._step = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self._optimizer, self.learning_rate = optimizer.build(config, self._step, model.trainable_variables)
        self.averages = Averages(model.trainable_variables, optimizer.average_decay(config))
        self._batch_norm_modes = phases.BatchNormModes(model)
        self._function: TrainStep | None = None
        self.state = tf.train.Checkpoint(
            step=self._step, model=model, optimizer=self._optimizer, averages=self.averages.values
        )

    @property
    def steps(self) -> int:
        """The number of steps made, those before a kill included."""
        return int(self._step.read_value())  # of several devices they are several variables

    def resume(self, run: Path) -> str | None:
        """Goes on from the newest whole state in a run folder; returns its prefix, None where there is none."""
        return run_folder.resume(self.state, run)

    def trained_at(self, step: int) -> list[tf.Variable]:
        """The variables that the step behind so many trains."""
        return phases.head(self._trained) if step < self._plan.settings.head_only_steps else self._trained

    def next_step(self, strategy: tf.distribute.Strategy, element_spec) -> TrainStep:
        """The function that makes the next step; another one from where the backbone is trained, too.

        Args:
            strategy: the devices to make it on.
            element_spec: of the batches.
        """
        made, settings = self.steps, self._plan.settings
        if self._function is None or made == settings.head_only_steps:
            trained = self.trained_at(made)
            if 0 < made == settings.head_only_steps:  # Adam's bias correction counts on steps of all variables
                optimizer.forget(self._optimizer)
            self._batch_norm_modes.follow(trained)
            detection_model.set_training(True)
            self._function = TrainStep(
                strategy,
                Trained(self.model, trained, self._optimizer, self.averages, self._step),
                element_spec,
                batch_size=self._plan.batch_size,
                clip=self._plan.config.train_config.gradient_clipping_by_norm,
                accumulate=settings.accumulate,
                seed=settings.seed,
            )
        return self._function
