"""The arithmetic of a step in JAX against Keras's Adam and the OD API's schedule."""

from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

from training import jax_step, step_state
from training.steps import Averages

START = {"a": np.array([0.5, -1.0, 2.0], np.float32), "b": np.array([[0.1]], np.float32), "c": np.ones(2, np.float32)}
TARGET = np.array([1.0, 2.0, -0.5], np.float32)


def loss(variables, factor):
    import jax.numpy as jnp

    sums = {
        "localization": jnp.sum((variables["a"] - TARGET) ** 2) * factor[0],
        "classification": jnp.sum(jnp.sin(variables["b"])),
    }
    penalty = 0.01 * jnp.sum(variables["a"] ** 2)
    return (sums, jnp.float32(3), penalty), {**variables, "c": variables["c"] * 0.5}


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_steps_are_those_of_keras(clip):
    rule = jax_step.Rule(0.02, cosine=False, epsilon=1e-4, clip=clip, average_decay=0.5)
    state, step = step_state.initial_state(START, ["a", "b"]), jax_step.make(loss, rule)
    a, b = (tf.Variable(START[name]) for name in ("a", "b"))
    adam, averages = tf.keras.optimizers.Adam(0.02, epsilon=1e-4), Averages([a, b], 0.5)
    for number in range(12):
        factor = np.float32([1 + number % 3])
        with tf.GradientTape() as tape:
            mean = (tf.reduce_sum((a - TARGET) ** 2) * factor[0] + tf.reduce_sum(tf.sin(b))) / 3
            total = mean + 0.01 * tf.reduce_sum(a**2)
        gradients = tape.gradient(total, [a, b])
        norm = tf.linalg.global_norm(gradients)
        if clip:
            gradients, _ = tf.clip_by_global_norm(gradients, clip)
        adam.apply_gradients(zip(gradients, [a, b], strict=True))
        averages.update(tf.constant(number + 1))
        state, made = step(state, np.float32([12, 0]), factor)
        assert float(made["total"]) == pytest.approx(float(total), rel=1e-5)
        assert float(made["gradient_norm"]) == pytest.approx(float(norm), rel=1e-5)
    assert int(state["step"]) == 12
    for name, variable, average in (("a", a, averages.values[0]), ("b", b, averages.values[1])):
        np.testing.assert_allclose(state["variables"][name], variable.numpy(), rtol=1e-5)
        np.testing.assert_allclose(state["averages"][name], average.numpy(), rtol=1e-5)
    np.testing.assert_allclose(state["variables"]["c"], START["c"] * 0.5**12)
    assert state["averages"].keys() == {"a", "b"}


@pytest.mark.parametrize(("total", "warmup", "hold"), [(30, 6, 0), (30, 6, 4), (30, 0, 0), (1, 0, 0)])
def test_the_learning_rate_is_that_of_the_od_api(total, warmup, hold):
    import_module("training.od_api")  # puts the shims in place
    from object_detection.utils import learning_schedules

    rule = jax_step.Rule(0.01, warmup_rate=0.001, hold_steps=hold)
    at = tf.Variable(0, dtype=tf.int64)
    true = learning_schedules.cosine_decay_with_warmup(at, 0.01, total, 0.001, warmup, hold)
    for step in range(total + 3):
        at.assign(step)
        found = jax_step.learning_rate(rule, np.int32(step), np.float32([total, warmup]))
        assert float(found) == pytest.approx(float(true()), rel=1e-4, abs=1e-8)


def test_a_state_and_its_file(tmp_path):
    state = step_state.initial_state(START, ["a"])
    step_state.save(tmp_path / "s.npz", state, {"pipeline": "ä"})
    read, about = step_state.load(tmp_path / "s.npz")
    assert about == {"pipeline": "ä"} and read["step"] == 0 and read.keys() == state.keys()
    for part in step_state.PARTS:
        assert read[part].keys() == state[part].keys()
        assert all(np.array_equal(read[part][name], state[part][name]) for name in state[part])
