"""Whether a model means the same in training and in inference mode, where it will be used.

The two differ in batch norm: by the statistics of the batch, or by moving ones. Moving statistics that haven't followed
the weights make a detector far worse than it trained, and neither the loss of training nor its curve shows it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from training.od_api.model import DetectionModel, losses, trained_batch_norm_layers
from training.od_api.modes import mode

# Of the loss in training mode. SSDLite after 60 steps on the sample set, batches of 12: up to 0.11 with statistics that
# fit; 2.8 with those that it started with, and AP 0.41 in place of 0.60.
TOLERANCE = 0.25


@dataclass(frozen=True)
class ModeLosses:
    """The mean loss of the same batches, without regularisation.

    Attributes:
        training: with the statistics of each batch.
        inference: with the moving statistics.
    """

    training: float
    inference: float

    @property
    def difference(self) -> float:
        """Of the loss in training mode; infinite where one of the two is not finite."""
        if not np.isfinite([self.training, self.inference]).all():
            return np.inf
        return abs(self.inference - self.training) / max(abs(self.training), 1e-12)

    def agree(self, tolerance: float = TOLERANCE) -> bool:
        """Whether they differ by no more than `tolerance` of the loss in training mode."""
        return self.difference <= tolerance

    def message(self, tolerance: float = TOLERANCE) -> str | None:
        """What to say when they don't agree; None when they do."""
        if self.agree(tolerance):
            return None
        return (
            f"loss {self.training:.4g} in training mode, {self.inference:.4g} in inference mode: the moving statistics "
            "of batch norm do not fit the weights, and detections will be worse than training makes believe; measure "
            "them on more batches (--set trainer.batch_norm_batches=100), or let them follow faster (batch_norm "
            "{ decay } in the config, with override_base_feature_extractor_hyperparams: true)"
        )


def mode_losses(model: DetectionModel, batches: Iterable[tuple[Mapping, Mapping]]) -> ModeLosses | None:
    """The loss of batches in either mode; nothing of the model is changed.

    Args:
        model: built for training.
        batches: (features, labels) of `inputs.training_batches`.

    Returns:
        None where the config freezes every batch norm layer: the two modes are the same function.
    """
    layers = trained_batch_norm_layers(model)
    if not layers:
        return None
    statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    before = [variable.numpy() for variable in statistics]
    sums, count = {True: 0.0, False: 0.0}, 0
    for features, labels in batches:
        count += 1
        for training in (False, True):
            try:
                with mode(training):
                    loss = losses(model, features, labels, regularized=False)["total"]
                sums[training] += float(loss)
            finally:  # a pass in training mode moves them
                for variable, value in zip(statistics, before, strict=True):
                    variable.assign(value)
    if not count:
        raise ValueError("there is no batch to compare on")
    return ModeLosses(training=sums[True] / count, inference=sums[False] / count)
