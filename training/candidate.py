"""The weights for use, as a run would leave them now: evaluated, kept as the best or the last, and exported."""

from collections.abc import Sequence

import tensorflow as tf

from training import batch_norm
from training.examples import Examples
from training.od_api import inputs
from training.od_api import model as detection_model
from training.od_api.pipeline import meta_architecture
from training.od_api.trainer_settings import settings
from training.steps import Averages

_OTHER_SEED = 1  # of the batches for batch norm: not those that the next steps train on


class Candidate:
    """A model of its own beside the one in training, so that looking at it changes nothing there.

    Attributes:
        model: the detection model, in inference mode.
        measured: layers of batch norm whose statistics were measured.
    """

    def __init__(self, config, examples: Examples):
        """Builds the model. `examples` are what it measures the statistics of batch norm on: those of training."""
        self._config, self._examples = config, examples
        # A two-stage model built for training samples proposals with the help of the true boxes; a one-stage model
        # built for inference cannot measure its batch norm.
        self.model = detection_model.build(config, training=meta_architecture(config) == "ssd")
        detection_model.set_training(False)
        self.measured = 0

    def take(self, variables: Sequence[tf.Variable], averages: Averages) -> None:
        """Takes over the averaged weights of the model in training and measures batch norm's statistics for them.

        Args:
            variables: all variables of the model in training.
            averages: of those that are trained.
        """
        averaged = {variable.ref(): value for variable, value in zip(averages.variables, averages.values, strict=True)}
        for own, variable in zip(self.model.variables, variables, strict=True):
            own.assign(averaged.get(variable.ref(), variable))
        chosen = settings(self._config)
        batches = inputs.training_batches(
            self._config,
            self.model,
            self._examples,
            seed=chosen.seed + _OTHER_SEED,
            batch_size=self._config.train_config.batch_size,
        ).take(chosen.batch_norm_batches)
        self.measured = batch_norm.reestimate(
            self.model,
            ((features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features, _ in batches),
            lambda batch: self.model.predict(*batch),
        )
