"""The training step: gradients of one or several batches, clipped, applied, and averaged into the weights for use.

What is computed is the step of one large batch: losses are summed over batches and devices, and divided once by what
all of them have to be divided by. Batch norm is the exception: it normalises each device's part of a batch by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from training.od_api import stateless_random
from training.od_api.losses import LossSums, loss_sums, regularization

# What the average of the weights starts from matters less and less: at step n its decay is at most (1 + n) / (10 + n).
_WARM = 10.0


class Averages:
    """The moving average of variables (Polyak and Juditsky, 1992): weights that evaluate better than the last step's.

    Attributes:
        variables: what is averaged.
        values: their averages, in the same order.
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        self.variables, self.decay = list(variables), decay
        self.values = [
            tf.Variable(variable, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
            for variable in variables
        ]

    def update(self, step: tf.Tensor) -> None:
        """Takes in the variables as they are after `step`, which counts from 1."""
        number = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self.decay, (1.0 + number) / (_WARM + number))
        for average, variable in zip(self.values, self.variables, strict=True):
            average.assign_sub((average - variable) * rate)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a step changes.

    Attributes:
        model: the detection model.
        variables: those of the model that are trained.
        optimizer: built for all trainable variables of the model.
        averages: of the model's trainable variables.
        step: the number of steps made, int64.
    """

    model: object
    variables: Sequence[tf.Variable]
    optimizer: tf.keras.optimizers.Optimizer
    averages: Averages
    step: tf.Variable


class TrainStep:
    """One step after the other, on batches from an iterator."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        trained: Trained,
        element_spec,
        *,
        batch_size: int,
        clip: float,
        accumulate: int,
        seed: int,
    ):
        """Prepares the step; it is traced when it is first made.

        Args:
            strategy: the devices to make it on.
            trained: what it changes.
            element_spec: of the iterator's batches, (features, labels).
            batch_size: of all devices together.
            clip: the largest global norm of the gradients; 0 for any.
            accumulate: batches of a step.
            seed: of what the model itself draws; a two-stage model samples its proposals.
        """
        self._strategy, self._trained = strategy, trained
        self._clip, self._accumulate, self._seed = clip, accumulate, seed
        self._share = batch_size // strategy.num_replicas_in_sync
        # Without autograph: the OD API is written for graphs, and converting all of its code takes half of the tracing.
        # With the signature of the data set, images of different sizes (of a two-stage model) share one trace.
        if accumulate == 1:
            self._make = tf.function(self._whole_step, input_signature=element_spec, autograph=False)
            return
        with strategy.scope():
            self._gradients = [_sum_of_replicas(variable.shape) for variable in trained.variables]
        batch_number = tf.TensorSpec([], tf.int64)
        self._add = tf.function(self._add_batch, input_signature=(batch_number, *element_spec), autograph=False)
        self._finish = tf.function(self._finish_step, autograph=False)

    def __call__(self, batches: Iterator) -> dict[str, float]:
        """Makes a step. Gives `total`, its parts, `gradient_norm`, and `matched`, what the parts are a mean over."""
        if self._accumulate == 1:
            made = self._make(*next(batches))
        else:
            added = [self._add(tf.constant(number, tf.int64), *next(batches)) for number in range(self._accumulate)]
            made = self._finish(tf.nest.map_structure(lambda *parts: tf.add_n(parts), *added))
        return {name: float(value) for name, value in made.items()}

    @property
    def stateful_random_ops(self) -> list[str]:
        """Random operations of the step whose state no checkpoint holds; there should be none. After the first step."""
        traced = self._make if self._accumulate == 1 else self._add
        return stateless_random.stateful_ops(traced.get_concrete_function().graph)

    # ---- Functions of all replicas ---------------------------------------------------------------------------------

    def _whole_step(self, features, labels):
        def in_replica(features, labels):
            gradients, losses = self._batch(tf.constant(0, tf.int64), features, labels)
            return self._apply(*self._of_all_replicas((gradients, losses.sums, losses.count)))

        return self._advance(self._strategy.run(in_replica, args=(features, labels)))

    def _add_batch(self, number, features, labels):
        """Adds a batch's gradients to the others, and gives its sums of losses and their count."""

        def in_replica(number, features, labels):
            gradients, losses = self._batch(number, features, labels)
            for total, gradient in zip(self._gradients, gradients, strict=True):
                total.assign_add(gradient)
            return self._of_all_replicas((losses.sums, losses.count))

        added = self._strategy.run(in_replica, args=(number, features, labels))
        return tf.nest.map_structure(self._of_any_replica, added)

    def _finish_step(self, added):
        def in_replica(added):
            gradients = [tf.identity(total) for total in self._gradients]
            with tf.control_dependencies(gradients):
                for total in self._gradients:
                    total.assign(tf.zeros_like(total))
            return self._apply(self._of_all_replicas(gradients), *added)

        return self._advance(self._strategy.run(in_replica, args=(added,)))

    def _advance(self, made):
        self._trained.step.assign_add(1)
        return {name: self._of_any_replica(value) for name, value in made.items()}

    def _of_any_replica(self, value):
        return self._strategy.experimental_local_results(value)[0]

    # ---- Functions of one replica ----------------------------------------------------------------------------------

    def _batch(self, number, features, labels) -> tuple[list[tf.Tensor], LossSums]:
        """The gradients of a batch's sum of losses, and the losses."""
        features, labels = tf.nest.map_structure(  # which a data set of several machines does not know
            lambda tensor: tf.ensure_shape(tensor, [self._share, *tensor.shape[1:]]), (features, labels)
        )
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        place = (self._trained.step * self._accumulate + number) * self._strategy.num_replicas_in_sync + replica
        with tf.GradientTape() as tape, stateless_random.seeded(tf.stack([tf.cast(self._seed, tf.int64), place])):
            losses = loss_sums(self._trained.model, features, labels)
            total = tf.add_n(list(losses.sums.values()))
        gradients = tape.gradient(total, self._trained.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return gradients, losses

    def _of_all_replicas(self, values):
        """The sums of values over all replicas."""
        if self._strategy.num_replicas_in_sync == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce("SUM", values)

    def _apply(self, gradients: list[tf.Tensor], sums: dict[str, tf.Tensor], count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Applies the gradients of the sums of losses."""
        trained, zero = self._trained, tf.UnconnectedGradients.ZERO
        scale = 1.0 / tf.maximum(count, 1.0)
        with tf.GradientTape() as tape:
            penalty = regularization(trained.model)
        penalties = tape.gradient(penalty, trained.variables, unconnected_gradients=zero)
        gradients = [gradient * scale + more for gradient, more in zip(gradients, penalties, strict=True)]
        norm = tf.linalg.global_norm(gradients)
        if self._clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip, use_norm=norm)
        pairs = zip(gradients, trained.variables, strict=True)
        trained.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
        trained.averages.update(trained.step + 1)
        parts = {name: loss * scale for name, loss in sums.items()} | {"regularization": penalty}
        return {"total": tf.add_n(list(parts.values())), **parts, "gradient_norm": norm, "matched": count}


def _sum_of_replicas(shape) -> tf.Variable:
    """A variable to which each replica adds by itself."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
