"""What several workers decide together: whoever stops alone, or looks at its weights alone, leaves the others waiting.

Steps, checkpoints and evaluations of MultiWorkerMirroredStrategy add up values of all workers, and each waits there for
all. So each of them has to come to the same points in the same order: what one alone knows goes through here.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from detect_faces.errors import UserError
from training import devices

_LOST = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError),
    *(tf.errors.InternalError, tf.errors.FailedPreconditionError),
)


class Agreement:
    """Values that all workers get alike; each has to ask, at the same point. One worker alone gets what it gives."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy if devices.workers() > 1 else None
        self._chief = devices.worker() == 0
        scalar = tf.TensorSpec([], tf.float64)
        self._sums = tf.function(self._sums_of_workers, input_signature=(scalar, scalar), autograph=False)

    def any(self, mine: bool) -> bool:
        """Whether it is so on any worker."""
        return mine if self._strategy is None else bool(self._sums(float(mine), 0.0)[0] > 0)

    def of_chief(self, mine: float | None) -> float | None:
        """The value that worker 0 gives; None, and what isn't a number, is None."""
        if self._strategy is None:
            return mine
        value = math.nan if mine is None else float(mine)
        chiefs = float(self._sums(0.0, value if self._chief else 0.0)[1])
        return None if math.isnan(chiefs) else chiefs

    def _sums_of_workers(self, flag, value):
        def in_replica(flag, value):
            context = tf.distribute.get_replica_context()
            # a worker may have several devices, and gives its value once
            value = tf.where(tf.equal(context.replica_id_in_sync_group, 0), value, tf.zeros_like(value))
            return context.all_reduce("SUM", tf.stack([flag, value]))

        return self._strategy.experimental_local_results(self._strategy.run(in_replica, args=(flag, value)))[0]


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Where a worker is gone, killed or failed, the others end with one line in place of TensorFlow's.

    Raises:
        UserError: in place of the error of an operation that waited for all workers.
    """
    try:
        yield
    except _LOST as error:
        if devices.workers() < 2:
            raise
        told = re.search(r"aborted by: (.*)", error.message)
        reason = told[1] if told else error.message.splitlines()[0]
        raise UserError(
            f"another worker is gone, and may say why ({reason.rstrip(' .:')}); the same command on every worker "
            "goes on from the last checkpoint"
        ) from error
