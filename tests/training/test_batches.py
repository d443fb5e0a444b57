"""Batches one after the other: looked at beforehand, kept, and one line where a record cannot be read."""

import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from training.batches import Batches


def data(read=lambda number: number) -> tf.data.Dataset:
    def load(number):
        value = tf.ensure_shape(tf.numpy_function(read, [number], tf.int64), [])
        return {"image": value}, {"boxes": -value}

    return tf.data.Dataset.range(4).map(load)


def numbers(batch) -> tuple[int, int]:
    features, labels = batch
    return int(features["image"]), int(labels["boxes"])


def test_the_first_can_be_looked_at_and_the_last_again():
    batches = Batches(tf.distribute.get_strategy(), data())
    assert numbers(batches.peek()) == numbers(batches.peek()) == (0, 0)
    assert [numbers(next(batches)) for _ in range(3)] == [(0, 0), (1, -1), (2, -2)]
    assert numbers(batches.last) == (2, -2)
    assert numbers(batches.peek()) == (3, -3)
    assert numbers(batches.last) == (2, -2)


def test_a_record_that_cannot_be_read_is_one_line():
    def read(number):
        if number == 2:
            raise ValueError("train.tfrecord: the record at byte 77 is damaged")
        return number

    batches = Batches(tf.distribute.get_strategy(), data(read))
    next(batches), next(batches)
    with pytest.raises(UserError, match=r"^train\.tfrecord: the record at byte 77 is damaged$"):
        next(batches)
