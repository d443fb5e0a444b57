"""The variables of a frozen graph by name, with batch norm that was folded into weights put back.

Folding turns y = gamma (x - mean) / sqrt(variance + epsilon) + beta behind a convolution into y = slope x + offset, and
mostly multiplies the weights by the slope, too. What gamma, beta, mean and variance were is lost: any mean and variance
will do for the same function, but training needs those that the layer really has. They are measured on photographs, and
gamma and beta solved for: gamma = slope sqrt(variance + epsilon), beta = offset + slope mean.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from detect_faces.errors import UserError
from export.graph_variables import NORM_LEAVES, Graph, Layer, other_variables

EPSILON = 1e-3  # of folded batch norm where no pipeline says it: the model zoo's

# A channel that never varies has no scale to find; a tiny one would blow up in training. As in training.batch_norm.
_LEAST_VARIANCE = 1e-6

Tensors = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Folded:
    """A layer whose batch norm was folded. `scope` is that of its variables, `epsilon` that of the batch norm to be."""

    layer: Layer
    scope: str
    epsilon: float

    def names(self) -> list[str]:
        return [f"{self.scope}/BatchNorm/{leaf}" for leaf in NORM_LEAVES]

    def slope(self, variables: Tensors) -> tf.Tensor:
        gamma, _, _, variance = (variables[name] for name in self.names())
        return gamma / tf.sqrt(variance + self.epsilon)

    def offset(self, variables: Tensors) -> tf.Tensor:
        _, beta, mean, _ = (variables[name] for name in self.names())
        return beta - mean * self.slope(variables)


@dataclass(frozen=True)
class Unfrozen:
    """Variables out of a graph.

    Attributes:
        variables: their values by name.
        constants: of each Const that they come from, how its value is computed from them.
        scopes: that of each layer's variables, by the layer's node.
        folded: the layers whose batch norm was put back.
    """

    variables: dict[str, np.ndarray]
    constants: dict[str, Callable[[Tensors], tf.Tensor]]
    scopes: dict[str, str]
    folded: list[Folded]


def unfold(
    graph: Graph,
    layers: list[Layer],
    named: Callable[[str], str | None] = lambda name: None,
    known: frozenset[str] = frozenset(),
    epsilons: Mapping[str, float] | None = None,
) -> Unfrozen:
    """The variables of layers; batch norm that was folded gets mean 0 and variance 1.

    Args:
        named: from a Keras name of the graph to a variable's name in the checkpoint, None for a name that stays.
        known: names of the variables that there should be. They decide whether an offset is a bias or batch norm.
        epsilons: of batch norm, by the scope that its variables have; EPSILON where there is none.

    Raises:
        UserError: two constants would get one name, or a scale is there without an offset.
    """
    found = _Collected(graph, named)
    scopes, folded = {}, []
    for layer in layers:
        scope = scopes[layer.node] = found.add(layer.weights.node, layer.weights.name).rpartition("/")[0]
        if layer.norm:
            for constant in filter(None, layer.norm.constants):
                found.add(constant.node, constant.name)
        if _is_folded(layer, scope, known):
            if layer.offset is None:
                raise UserError(
                    f"{layer.node} is multiplied by {layer.scale.node} with no offset behind: not batch norm"
                )
            epsilon = (epsilons or {}).get(f"{scope}/BatchNorm", EPSILON)
            folded.append(Folded(layer, scope, epsilon))
            found.fold(folded[-1])
        elif layer.offset:
            name = layer.offset.name if layer.offset_is_bias else f"{scope}/biases"
            found.add(layer.offset.node, name)
    for constant in other_variables(graph, set(found.constants)):
        found.add(constant.node, constant.name)
    return Unfrozen(found.variables, found.constants, scopes, folded)


def _is_folded(layer: Layer, scope: str, known: frozenset[str]) -> bool:
    if layer.scale:
        return True
    if layer.offset is None or layer.norm:
        return False
    if f"{scope}/BatchNorm/beta" in known:
        return True
    return not layer.offset_is_bias and f"{scope}/biases" not in known


class _Collected:
    """Variables and constants as they are found."""

    def __init__(self, graph: Graph, named: Callable[[str], str | None]):
        self._graph, self._named = graph, named
        self.variables, self.constants, self._nodes = {}, {}, {}

    def add(self, node: str, name: str) -> str:
        """A constant that is a variable's value; returns the variable's name."""
        name = self._named(name) or name
        self._claim(node, name, self._graph.value(node))
        self.constants[node] = lambda variables: variables[name]
        return name

    def fold(self, folded: Folded) -> None:
        """The constants of a folded batch norm."""
        layer = folded.layer
        offset = self._graph.value(layer.offset.node)
        slope = self._graph.value(layer.scale.node).ravel() if layer.scale else np.ones(layer.channels, offset.dtype)
        values = identity_norm(slope, offset.ravel(), folded.epsilon)
        for name, value in zip(folded.names(), values, strict=True):
            self._claim(layer.node, name, value)
        self.constants[layer.offset.node] = lambda v: tf.reshape(folded.offset(v), offset.shape)
        if layer.scale:
            shape = self._graph.value(layer.scale.node).shape
            self.constants[layer.scale.node] = lambda v: tf.reshape(folded.slope(v), shape)
        else:
            weights = self.constants[layer.weights.node]
            self.constants[layer.weights.node] = lambda v: weights(v) * _per_output(layer, folded.slope(v), weights(v))

    def _claim(self, node: str, name: str, value: np.ndarray) -> None:
        if self._nodes.setdefault(name, node) != node:
            raise UserError(f"{self._nodes[name]} and {node} would both become the variable {name}")
        if not np.all(np.isfinite(value)):
            raise UserError(f"{name} holds values that are not finite: nothing to train on with")
        self.variables[name] = value


def identity_norm(slope: np.ndarray, offset: np.ndarray, epsilon: float) -> tuple[np.ndarray, ...]:
    """gamma, beta, mean 0 and variance 1 of the batch norm that computes slope x + offset."""
    return slope * np.sqrt(1 + epsilon, dtype=slope.dtype), offset, np.zeros_like(offset), np.ones_like(offset)


def _per_output(layer: Layer, slope: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """A factor per output channel in a shape that the layer's weights can be multiplied by."""
    if layer.op == "DepthwiseConv2dNative":
        return tf.reshape(slope, [1, 1, *weights.shape[2:]])
    if layer.op == "MatMul" and layer.channels == weights.shape[0] != weights.shape[1]:
        return slope[:, None]
    return slope


def calibrated(unfrozen: Unfrozen, moments: Iterable[Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Unfrozen:
    """The same with statistics for the folded batch norm; what the graph computes stays the same.

    Args:
        moments: of each photograph, mean and variance (channels,) of what each folded layer's operation puts out, by
            its name.
    """
    sums = {folded.layer.node: [0, 0.0, 0.0] for folded in unfrozen.folded}
    for measured in moments:
        for node, (mean, variance) in measured.items():
            mean = np.float64(mean)
            count, means, squares = sums[node]
            sums[node] = [count + 1, means + mean, squares + variance + mean**2]
    variables = dict(unfrozen.variables)
    for folded in unfrozen.folded:
        count, means, squares = sums[folded.layer.node]
        mean = means / count
        variance = np.maximum(squares / count - mean**2, _LEAST_VARIANCE)
        gamma, offset, _, one = (variables[name] for name in folded.names())
        slope = gamma / np.sqrt(one + folded.epsilon)
        values = slope * np.sqrt(variance + folded.epsilon), offset + slope * mean, mean, variance
        variables |= {name: value.astype(np.float32) for name, value in zip(folded.names(), values, strict=True)}
    return replace(unfrozen, variables=variables)
