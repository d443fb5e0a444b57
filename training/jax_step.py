"""A training step in JAX: the gradients of a loss, clipped, Adam, and the average of the weights; no TensorFlow.

The arithmetic is that of `training.steps` with Keras's Adam (Kingma and Ba, 2015, with the epsilon of the end of their
section 2, which lies inside of the bias correction; most other implementations have it outside). States are those of
`training.step_state`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

BETA_1, BETA_2 = 0.9, 0.999  # of Keras's Adam; the OD API's config has no fields for them
_WARM = 10.0  # as in training.steps.Averages

Loss = Callable[..., tuple]


@dataclass(frozen=True)
class Rule:
    """How gradients change the weights.

    Attributes:
        learning_rate: the highest of the cosine schedule with warm-up (Loshchilov and Hutter, 2017), or the constant.
        warmup_rate: of the first step of the warm-up.
        hold_steps: at the highest rate, between warm-up and cosine.
        cosine: whether it falls along a cosine; False is a constant rate.
        epsilon: of Adam.
        clip: the largest global norm of the gradients; 0 for any.
        average_decay: of the weights' moving average; 0 is none.
    """

    learning_rate: float
    warmup_rate: float = 0.0
    hold_steps: int = 0
    cosine: bool = True
    epsilon: float = 1e-7
    clip: float = 0.0
    average_decay: float = 0.0


def make(loss: Loss, rule: Rule) -> Callable[..., tuple[dict, dict]]:
    """The step as a function that can be compiled and exported.

    Args:
        loss: from (variables, *batch) to ({name: sum of losses}, what they are a mean over, the weights' penalty),
            scalars all, and the variables with new statistics of batch norm.
        rule: how gradients change the weights.

    Returns:
        step(state, schedule, *batch), which gives the new state and {name: float32}: `total`, its parts,
        `gradient_norm`, `matched` and `learning_rate`. `schedule` is float32 (2,): the steps of all, and of the
        warm-up.
    """

    def step(state: dict, schedule: jax.Array, *batch: jax.Array) -> tuple[dict, dict]:
        def total_loss(trained: dict):
            (sums, count, penalty), variables = loss({**state["variables"], **trained}, *batch)
            scale = 1.0 / jnp.maximum(count, 1.0)
            parts = {name: value * scale for name, value in sums.items()} | {"regularization": penalty}
            total = sum(parts.values())
            return total, ({"total": total, **parts, "matched": count}, variables)

        trained = {name: state["variables"][name] for name in state["averages"]}
        (_, (losses, variables)), gradients = jax.value_and_grad(total_loss, has_aux=True)(trained)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients.values()))
        if rule.clip:
            clipping = rule.clip / jnp.maximum(norm, rule.clip)
            gradients = {name: gradient * clipping for name, gradient in gradients.items()}
        rate = learning_rate(rule, state["step"], schedule)
        number = state["step"] + 1
        done = number.astype(jnp.float32)
        size = rate * jnp.sqrt(1 - BETA_2**done) / (1 - BETA_1**done)
        kept = 1 - jnp.minimum(rule.average_decay, (1 + done) / (_WARM + done))
        first, second, averages = {}, {}, {}
        for name, gradient in gradients.items():
            first[name] = state["first"][name] + (gradient - state["first"][name]) * (1 - BETA_1)
            second[name] = state["second"][name] + (gradient**2 - state["second"][name]) * (1 - BETA_2)
            trained[name] -= first[name] * size / (jnp.sqrt(second[name]) + rule.epsilon)
            averages[name] = state["averages"][name] - (state["averages"][name] - trained[name]) * kept
        new = {
            "step": number,
            "variables": {**state["variables"], **variables, **trained},
            "first": first,
            "second": second,
            "averages": averages,
        }
        measured = losses | {"gradient_norm": norm, "learning_rate": rate}
        return new, {name: value.astype(jnp.float32) for name, value in measured.items()}

    return step


def learning_rate(rule: Rule, step: jax.Array, schedule: jax.Array) -> jax.Array:
    """The learning rate of the step behind `step` others; `schedule` is (steps, steps of warm-up)."""
    highest = jnp.float32(rule.learning_rate)
    if not rule.cosine:
        return highest
    at = step.astype(jnp.float32)
    total, warmup = schedule[0], schedule[1]
    before = warmup + rule.hold_steps
    rate = 0.5 * highest * (1 + jnp.cos(jnp.pi * (at - before) / jnp.maximum(total - before, 1)))
    if rule.hold_steps:
        rate = jnp.where(at > before, rate, highest)
    slope = (rule.learning_rate - rule.warmup_rate) / jnp.maximum(warmup, 1)
    rate = jnp.where(at < warmup, slope * at + rule.warmup_rate, rate)
    return jnp.where(at > total, 0.0, rate)
