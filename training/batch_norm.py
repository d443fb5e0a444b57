"""Batch norm statistics: measured again for averaged weights, and found for weights that came without any."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from training.od_api.model import DetectionModel, set_training, trained_batch_norm_layers

_Batch = TypeVar("_Batch")  # an image batch, or a tuple of it and more


class _Moments:
    """Mean and variance per channel over several batches, from those of each."""

    def __init__(self):
        self.batches, self.mean, self.square = 0, 0.0, 0.0

    def add(self, mean: np.ndarray, variance: np.ndarray) -> None:
        mean, variance = np.float64(mean), np.float64(variance)
        self.batches += 1
        self.mean = self.mean + (mean - self.mean) / self.batches
        self.square = self.square + (variance + mean**2 - self.square) / self.batches

    @property
    def variance(self) -> np.ndarray:
        return np.maximum(self.square - self.mean**2, 0.0)


def reestimate(model: DetectionModel, batches: Iterable[_Batch], predict: Callable[[_Batch], object]) -> int:
    """Sets the moving statistics to those over `batches`, with every layer normalising by its batch as in training.

    Moving averages lag behind weights that moved, and are not the statistics of averaged weights at all; a detector
    saved with them can be far worse than it trained (Wu and Johnson, "Rethinking Batch in BatchNorm", 2021, section 3).

    Args:
        model: the model; its moving statistics are replaced, nothing else of it.
        batches: preprocessed images, each as `predict` takes it.
        predict: runs the network on one batch. A tf.function that nothing else calls is traced here, at its first
            batch, and not again while the same layers are measured.

    Returns:
        the number of layers measured: those that the config doesn't freeze. Where it freezes all, no batch is taken.
    """
    layers = trained_batch_norm_layers(model)
    if not layers:
        return 0
    set_training(True)
    momenta = [layer.momentum for layer in layers]
    moments = [_Moments() for _ in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0  # after a pass the moving statistics are that batch's own
        if not isinstance(predict, tf.types.experimental.PolymorphicFunction):
            predict = tf.function(predict, reduce_retracing=True, autograph=False)  # traced here, with this momentum
        for batch in batches:
            predict(batch)
            for layer, measured in zip(layers, moments, strict=True):
                measured.add(layer.moving_mean.numpy(), layer.moving_variance.numpy())
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        set_training(False)
    for layer, measured in zip(layers, moments, strict=True):
        layer.moving_mean.assign(measured.mean)
        layer.moving_variance.assign(measured.variance)
    return len(layers)


def calibrate(
    model: DetectionModel,
    layers: Iterable[tf.keras.layers.Layer],
    batches: Iterable[_Batch],
    predict: Callable[[_Batch], object],
) -> None:
    """Gives layers whose batch norm was folded into their weights real statistics, and leaves the function as it was.

    A folded layer comes back with mean 0 and variance 1, which is right in inference and wrong as soon as the layer
    normalises by a batch. The mean m and variance v of its input are measured on photographs, in inference mode, and
    then gamma and beta solved for: gamma' = k sqrt(v + eps), beta' = beta + k (m - mean), k = gamma / sqrt(var + eps).

    Args:
        model: the model, in inference mode throughout.
        layers: the batch norm layers to calibrate.
        batches: preprocessed images, each as `predict` takes it.
        predict: runs the network on one batch.
    """
    set_training(False)
    layers = list(layers)
    moments = [_Moments() for _ in layers]

    def recording(call, measured):
        def call_and_record(inputs, *args, **kwargs):
            mean, variance = tf.nn.moments(inputs, axes=[0, 1, 2])
            measured.add(mean.numpy(), variance.numpy())
            return call(inputs, *args, **kwargs)

        return call_and_record

    try:
        for layer, measured in zip(layers, moments, strict=True):
            layer.call = recording(layer.call, measured)
        for batch in batches:
            predict(batch)
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
    for layer, measured in zip(layers, moments, strict=True):
        # A channel that never varies (a dead ReLU before it) has no scale to find; a tiny one would blow up in
        # training.
        variance = np.maximum(measured.variance, 1e-6)
        slope = layer.gamma.numpy() / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
        layer.beta.assign(layer.beta.numpy() + slope * (measured.mean - layer.moving_mean.numpy()))
        layer.gamma.assign(slope * np.sqrt(variance + layer.epsilon))
        layer.moving_mean.assign(measured.mean)
        layer.moving_variance.assign(variance)
