"""Which constants of a frozen graph were variables, found by what the graph computes with them.

Freezing leaves of a variable a Const, mostly with an Identity (`<name>/read`, `.../ReadVariableOp`) behind it. Names
alone do not tell it from an anchor or a threshold. So it is found from the layer that it belongs to: a convolution or a
dense layer, its weights, and the bias, batch norm, or scale and offset (what is left of folded batch norm) behind it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from detect_faces.graph_file import node_name

# Layer operation -> what slim and Keras call its weights.
_WEIGHTS = {
    "Conv2D": ("weights", "kernel"),
    "DepthwiseConv2dNative": ("depthwise_weights", "depthwise_kernel"),
    "MatMul": ("weights", "kernel"),
}
_WEIGHT_LEAVES = {"weights", "depthwise_weights", "kernel", "depthwise_kernel", "pointwise_weights", "pointwise_kernel"}
_BIAS_LEAVES = {"biases", "bias"}
NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")  # in the order of FusedBatchNorm's inputs
_DEFAULT_EPSILON = 1e-4  # FusedBatchNorm's, for graphs without their default values
_FUSED_NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}

# What stands between a constant and the operation that computes with it, and changes nothing.
_PASSED = {"Identity", "Enter", "StopGradient"}

# The last parts of the names of a layer's operations and of their constants: what is before is the layer's scope.
_OPERATION = re.compile(
    r"/(Conv2D|convolution|depthwise|separable_conv2d(/depthwise)?|MatMul|BiasAdd|add|FusedBatchNorm(V\d)?"
    r"|(BatchNorm/)?batchnorm/(mul|sub|mul_1|add_1))(/merged_input|_weights|_bn_offset)?$"
)
_READ_VARIABLE = re.compile(r"/ReadVariableOp(_\d+)?(/resource)?$")
_FUNCTION = re.compile(r"^(.*/)?(StatefulPartitionedCall|PartitionedCall)(_\d+)?/")


class Graph:
    """A GraphDef by the names of its nodes, with who reads whom."""

    def __init__(self, graph_def: tf.compat.v1.GraphDef):
        self.graph_def = graph_def
        self.nodes = {node.name: node for node in graph_def.node}
        self._readers = defaultdict(list)
        for node in graph_def.node:
            for position, source in enumerate(node.input):
                self._readers[source].append((node, position))

    def readers(self, name: str) -> list[tuple[tf.compat.v1.NodeDef, int]]:
        """The nodes that compute with the first output of a node, and at which of their inputs."""
        return self._readers.get(name, []) + self._readers.get(f"{name}:0", [])

    def path_to_constant(self, tensor: str) -> list[str]:
        """The names of the nodes from a tensor back to the Const whose value it has; empty where it has none's."""
        path = [node_name(tensor)]
        while (node := self.nodes[path[-1]]).op in _PASSED and node.input:
            path.append(node_name(node.input[0]))
        return path if node.op == "Const" else []

    def constant(self, tensor: str) -> str | None:
        """The Const whose value a tensor has."""
        path = self.path_to_constant(tensor)
        return path[-1] if path else None

    def value(self, constant: str) -> np.ndarray:
        """The value of a Const."""
        return tf.make_ndarray(self.nodes[constant].attr["value"].tensor)

    def before(self, name: str) -> Iterator[str]:
        """The names of all nodes that a node's value depends on, nearest first."""
        seen, waiting = {name}, [name]
        for current in waiting:
            for source in map(node_name, self.nodes[current].input):
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
                    yield source


@dataclass(frozen=True)
class Constant:
    """A Const that was a variable, and what the variable was called as far as the graph tells."""

    node: str
    name: str


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm that is still there.

    Attributes:
        constants: gamma, beta, moving mean and moving variance; None for a gamma that is 1 throughout and no variable.
    """

    node: str
    constants: tuple[Constant | None, Constant, Constant, Constant]
    epsilon: float


@dataclass(frozen=True)
class Layer:
    """A convolution or a dense layer.

    Attributes:
        node: the operation that its weights go into.
        op: what that does.
        scope: the layer's name, as far as the graph tells.
        weights: its weights.
        channels: of its output.
        scale: the Const that its output is multiplied by: folded batch norm.
        offset: what is added to it: a bias, or the rest of folded batch norm.
        norm: batch norm.
        output: the last node that belongs to it.
    """

    node: str
    op: str
    scope: str
    weights: Constant
    channels: int
    scale: Constant | None
    offset: Constant | None
    norm: BatchNorm | None
    output: str

    @property
    def offset_is_bias(self) -> bool:
        """Whether the offset is called a bias. Otherwise it can be one, or batch norm's."""
        return self.offset is not None and self.offset.name.rpartition("/")[2] in _BIAS_LEAVES


def find_layers(graph: Graph) -> list[Layer]:
    """Every layer with constant weights, in the order of the graph's nodes."""
    layers = []
    for node in graph.graph_def.node:
        if node.op in _WEIGHTS:
            path = graph.path_to_constant(node.input[1])
            if path and np.issubdtype((weights := graph.value(path[-1])).dtype, np.floating) and weights.ndim > 1:
                layers.append(_layer(graph, node, path, weights.shape))
    return layers


def other_variables(graph: Graph, known: set[str]) -> list[Constant]:
    """The Consts beside `known` that TensorFlow 1 froze from variables: floats with an Identity `<name>/read`."""
    return [
        Constant(node.name, node.name)
        for node in graph.graph_def.node
        if node.op == "Const"
        and node.name not in known
        and tf.as_dtype(node.attr["dtype"].type).is_floating
        and getattr(graph.nodes.get(f"{node.name}/read"), "op", None) == "Identity"
    ]


def _layer(graph: Graph, node: tf.compat.v1.NodeDef, path: list[str], shape: tuple[int, ...]) -> Layer:
    weights = Constant(path[-1], _name(path, node.name, _WEIGHT_LEAVES, *_WEIGHTS[node.op]))
    if node.op == "DepthwiseConv2dNative":
        channels = shape[2] * shape[3]
    else:
        # `in` first: asking a node for an attribute that it has not gives it one
        channels = shape[0] if "transpose_b" in node.attr and node.attr["transpose_b"].b else shape[-1]
    scale = offset = norm = None
    output = last = node.name
    joined = False
    while norm is None and len(readers := graph.readers(last)) == 1:
        reader, position = readers[0]
        others = [source for i, source in enumerate(reader.input) if i != position and not source.startswith("^")]
        paths = [graph.path_to_constant(source) for source in others]
        fits = bool(paths) and bool(paths[0]) and graph.value(paths[0][-1]).size == channels
        if reader.op in _FUSED_NORMS and position == 0 and all(paths) and not joined:
            norm = _batch_norm(graph, reader, paths)
        elif reader.op == "Mul" and fits and scale is None and offset is None and not joined:
            scale = Constant(paths[0][-1], _name(paths[0], reader.name, set(), "BatchNorm/gamma", "gamma"))
        elif reader.op in ("BiasAdd", "Add", "AddV2") and fits and offset is None:
            offset = Constant(paths[0][-1], _name(paths[0], reader.name, _BIAS_LEAVES, "offset", "bias"))
        elif reader.op in ("Add", "AddV2", "AddN") and not any(paths) and offset is None and not joined:
            joined = True  # optimisers put a residual between a convolution and its offset; sums can be reordered
            last = reader.name
            continue
        else:
            break
        output = last = reader.name
    return Layer(node.name, node.op, _scope(weights.name), weights, channels, scale, offset, norm, output)


def _batch_norm(graph: Graph, node: tf.compat.v1.NodeDef, paths: list[list[str]]) -> BatchNorm:
    constants = [
        Constant(path[-1], _name(path, node.name, {leaf}, leaf, leaf))
        for path, leaf in zip(paths, NORM_LEAVES, strict=True)
    ]
    gamma = constants[0]
    if gamma.node.rpartition("/")[2] != "gamma" and len(paths[0]) == 1 and np.all(graph.value(gamma.node) == 1):
        constants[0] = None  # batch norm without gamma: the graph has a plain constant there
    epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else _DEFAULT_EPSILON
    return BatchNorm(node.name, tuple(constants), epsilon)


def _name(path: list[str], operation: str, leaves: set[str], slim: str, keras: str) -> str:
    """A variable's name: its Const's where that is one, or else the layer's scope and what it is there.

    Args:
        path: from the operation's input back to the Const.
        operation: the operation's name.
        leaves: last parts of names that variables of this kind have.
        slim, keras: the last part to give it, in either naming.
    """
    constant = path[-1].removesuffix("/read")
    if constant.rpartition("/")[2] in leaves:
        return constant
    for name in path:
        if _READ_VARIABLE.search(name):
            layer = _FUNCTION.sub("", _READ_VARIABLE.sub("", name))
            return f"{_OPERATION.sub('', layer)}/{keras}"
    named = constant if _OPERATION.search(constant) else operation
    return f"{_OPERATION.sub('', _FUNCTION.sub('', named))}/{slim}"


def _scope(weights: str) -> str:
    return weights.rpartition("/")[0]
