"""The weights for use, as a run would leave them now: evaluated, kept as the best or the last, and exported."""

from collections.abc import Sequence

import tensorflow as tf

from training import batch_norm, mode_check, phases
from training.examples import Examples
from training.od_api import inputs
from training.od_api import model as detection_model
from training.od_api.pipeline import meta_architecture
from training.od_api.trainer_settings import settings
from training.steps import Averages

_OTHER_SEED = 1  # of the batches for batch norm: not those that the next steps train on
_CHECKED_BATCHES = 4


class Candidate:
    """A model of its own beside the one in training, so that looking at it changes nothing there.

    Attributes:
        model: the detection model, in inference mode.
        step: the weights are of; None before the first.
        measured: layers of batch norm whose statistics were measured.
    """

    def __init__(self, config, examples: Examples):
        """Builds the model. `examples` are what it measures the statistics of batch norm on: those of training."""
        self._config, self._examples = config, examples
        # A two-stage model built for training samples proposals with the help of the true boxes; a one-stage model
        # built for inference cannot measure its batch norm.
        self.model = detection_model.build(config, training=meta_architecture(config) == "ssd")
        detection_model.set_training(False)
        self._modes = phases.BatchNormModes(self.model)
        self.step: int | None = None
        self.measured = 0
        self._data: tf.data.Dataset | None = None  # made once: it is traced when it is made
        self._measure = None  # a tf.function: traced once for each set of trained variables
        self._trained: set | None = None

    def take(
        self, step: int, variables: Sequence[tf.Variable], averages: Averages, trained: Sequence[tf.Variable]
    ) -> None:
        """Takes over the averaged weights of the model in training and measures batch norm's statistics for them.

        Args:
            step: they are of; nothing is done where it has taken this one already.
            variables: all variables of the model in training.
            averages: of those that can be trained.
            trained: those that are; batch norm of frozen layers keeps the statistics that the others learned behind.
        """
        if step == self.step:
            return
        averaged = {variable.ref(): value for variable, value in zip(averages.variables, averages.values, strict=True)}
        for own, variable in zip(self.model.variables, variables, strict=True):
            own.assign(averaged.get(variable.ref(), variable))
        refs = {variable.ref() for variable in trained}
        pairs = zip(self.model.variables, variables, strict=True)
        own_trained = [own for own, variable in pairs if variable.ref() in refs]
        self._modes.follow(own_trained)
        if self._trained != (own_refs := {own.ref() for own in own_trained}):
            self._trained, self._measure = own_refs, _traced_once(self.model)
        count = settings(self._config).batch_norm_batches
        if count:
            self.measured = batch_norm.reestimate(
                self.model,
                ((features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features, _ in self._batches(count)),
                self._measure,
            )
        self.step = step

    def trouble(self) -> str | None:
        """Where it does not mean the same in training and in inference mode, what to say of that."""
        losses = mode_check.mode_losses(self.model, self._batches(_CHECKED_BATCHES)) if self.measured else None
        return losses.message() if losses else None

    def _batches(self, count: int) -> tf.data.Dataset:
        if self._data is None:
            seed, batch_size = settings(self._config).seed + _OTHER_SEED, self._config.train_config.batch_size
            self._data = inputs.training_batches(
                self._config, self.model, self._examples, seed=seed, batch_size=batch_size
            )
        return self._data.take(count)


def _traced_once(model: detection_model.DetectionModel):
    """A pass of a model over a batch of (images, true shapes), for `batch_norm.reestimate`."""
    return tf.function(lambda batch: model.predict(*batch), reduce_retracing=True, autograph=False)
