"""The optimiser, learning rate schedule and weight average of a pipeline config."""

from collections.abc import Callable

import tensorflow as tf
from object_detection.builders import optimizer_builder
from object_detection.protos.optimizer_pb2 import Optimizer


def build(pipeline, step: tf.Variable, variables) -> tuple[tf.keras.optimizers.Optimizer, Callable[[], tf.Tensor]]:
    """The optimiser, with its state for `variables`, and a function for the learning rate at `step`.

    The config's moving average is left to `average_decay`: the OD API's wrapper keeps it inside the optimiser, from
    where it can't be evaluated beside the raw weights.
    """
    config = Optimizer()
    config.CopyFrom(pipeline.train_config.optimizer)
    config.use_moving_average = False
    optimizer, (learning_rate,) = optimizer_builder.build(config, global_step=step)
    # It would make its state when it first applies gradients: too late to be restored, and not for what is frozen then.
    optimizer._create_all_weights(variables)
    return optimizer, learning_rate if callable(learning_rate) else lambda: learning_rate


def forget(optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Sets an optimiser back to where it had not made a step."""
    for variable in optimizer.variables():
        variable.assign(tf.zeros_like(variable))


def average_decay(pipeline) -> float:
    """The decay of the weights' moving average; 0 (no average) where the config asks for none."""
    optimizer = pipeline.train_config.optimizer
    return optimizer.moving_average_decay if optimizer.use_moving_average else 0.0
