"""The batches of a run, one after the other; the first can be looked at beforehand, the last afterwards."""

import re
from collections.abc import Iterator

import tensorflow as tf

from detect_faces.errors import UserError


class Batches(Iterator):
    """An iterator over a data set of (features, labels), distributed or not.

    Attributes:
        element_spec: of the data set.
    """

    def __init__(self, strategy: tf.distribute.Strategy, data):
        self._strategy, self._batches = strategy, iter(data)
        self.element_spec = data.element_spec
        self._next = self._last = None

    def __next__(self):
        self._last, self._next = self._next or self._made(), None
        return self._last

    def peek(self) -> tuple[dict, dict]:
        """The next batch, which stays the next; of several devices the first one's part."""
        self._next = self._next or self._made()
        return self._of_first_device(self._next)

    @property
    def last(self) -> tuple[dict, dict]:
        """The batch taken last; of several devices the first one's part."""
        return self._of_first_device(self._last)

    def _made(self):
        """The next batch. Raises UserError where one of its records can no longer be read."""
        try:
            return next(self._batches)
        except tf.errors.InvalidArgumentError as error:  # in which TensorFlow wraps what reading raised
            told = re.search(r"ValueError: (.*)", error.message)
            raise UserError(told[1] if told else error.message.splitlines()[0]) from error

    def _of_first_device(self, batch) -> tuple[dict, dict]:
        features, labels = (
            {name: self._strategy.experimental_local_results(value)[0] for name, value in part.items()}
            for part in batch
        )
        return features, labels
