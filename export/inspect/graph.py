"""Frozen graphs: what is read off a GraphDef, and off its shapes."""

from collections import Counter
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces import graph_file
from detect_faces.errors import UserError
from detect_faces.graph_file import node_name
from detect_faces.model_gate import shown
from export.inspect.description import Flops, ModelDescription, Tensor
from export.inspect.leftovers import leftovers
from export.inspect.snippet import feeds, program

# The inputs of a layer that hold its parameters.
PARAMETERS = {
    "Conv2D": (1,), "DepthwiseConv2dNative": (1,), "Conv2DBackpropInput": (1,), "MatMul": (0, 1), "BatchMatMul": (0, 1),
    "BatchMatMulV2": (0, 1), "BiasAdd": (1,), "FusedBatchNorm": (1, 2, 3, 4), "FusedBatchNormV2": (1, 2, 3, 4),
    "FusedBatchNormV3": (1, 2, 3, 4),
}  # fmt: skip
LAYERS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2")
PASSES_ON = ("Identity", "Enter", "Switch", "Cast", "Dequantize", "FakeQuantWithMinMaxVars", "Reshape",
             "FakeQuantWithMinMaxVarsPerChannel", "ReadVariableOp")  # fmt: skip
NO_OUTPUT = ("Const", "NoOp", "Assert", "Placeholder", "Exit", "Switch", "Merge", "NextIteration", "LoopCond")
GREY = 128


def describe(path: Path, *, trust: bool = False, size: tuple[int, int] | None = None) -> ModelDescription:
    """A frozen graph. It is run once, on a grey image, where the shapes of its convolutions do not follow otherwise."""
    graph_def = graph_file.read(path, trust=trust)
    described = of_graph(graph_def, path, "frozen_graph", size)
    lines, given = feeds(described.inputs)
    fed = ", ".join(f'"{tensor.name}": {value}' for tensor, value in zip(described.inputs, given, strict=True))
    described.snippet = program(
        ["import sys", "import cv2", "import numpy as np", "import tensorflow.compat.v1 as tf"],
        [f'graph_def = tf.GraphDef.FromString(open({str(path)!r}, "rb").read())', *lines],
        [
            f"outputs = {[tensor.name for tensor in described.outputs]}",
            "with tf.Graph().as_default(), tf.Session() as session:",
            '    tf.import_graph_def(graph_def, name="")',
            f"    results = session.run(outputs, {{{fed}}})",
            "for name, result in zip(outputs, results):",
            "    print(name, result.shape)",
        ],
    )
    return described


def of_graph(graph_def, path: Path, kind: str, size: tuple[int, int] | None) -> ModelDescription:
    """All but the snippet, of a gated GraphDef.

    Raises:
        UserError: TensorFlow cannot make a graph of it, as nodes or attributes contradict each other.
    """
    nodes = {node.name: node for node in graph_def.node}
    everything = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    operations = Counter(node.op for node in everything)
    try:
        graph, inputs = _imported(graph_def, size)
        taken = [_tensor(tensor) for tensor in _placeholders(graph_def)]
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: TensorFlow cannot import it: {shown(reason)}") from error
    parameters = _parameters(nodes)
    weights = Counter()
    for dtype, count in parameters.values():
        weights[dtype] += count
    return ModelDescription(
        path=str(path),
        kind=kind,
        inputs=taken,
        outputs=[_tensor(graph.get_tensor_by_name(f"{name}:0")) for name in _sinks(graph_def, graph)],
        parameters=sum(weights.values()),
        weights=dict(weights.most_common()),
        flops=_flops(graph, inputs, size),
        operations=dict(operations.most_common()),
        batch_norm=_batch_norm(operations, nodes),
        quantised=_quantised(operations, weights),
        suppression=sorted(op for op in operations if "NonMaxSuppression" in op),
        leftovers=leftovers(nodes),
    )


def _placeholders(graph_def) -> list[tf.Tensor]:
    with tf.Graph().as_default():
        used = {node_name(source) for node in graph_def.node for source in node.input}  # freezing leaves idle ones
        found = [node for node in graph_def.node if node.op == "Placeholder" and node.name in used]
        return [
            tf.compat.v1.placeholder(node.attr["dtype"].type, _shape_attribute(node), name=node.name) for node in found
        ]


def _shape_attribute(node) -> tf.TensorShape:
    return tf.TensorShape(node.attr["shape"].shape if "shape" in node.attr else None)


def _imported(graph_def, size: tuple[int, int] | None) -> tuple[tf.Graph, dict[tf.Tensor, tuple]]:
    """The graph with its inputs at `size` (height, width) where they leave it open, and what to run each input at."""
    inputs, mapped = {}, {}
    used = {node_name(source) for node in graph_def.node for source in node.input}
    with tf.Graph().as_default() as graph:
        for node in graph_def.node:
            if node.op != "Placeholder":
                continue
            shape = _shape_attribute(node)
            if shape.rank == 4:
                sizes = shape.as_list()
                channels_first = sizes[1] == 3 and sizes[3] != 3
                at = (2, 3) if channels_first else (1, 2)
                if size:
                    for axis, length in zip(at, size, strict=True):
                        sizes[axis] = sizes[axis] or length
                sizes[0] = sizes[0] or 1
                sizes[1 if channels_first else 3] = sizes[1 if channels_first else 3] or 3
                shape = tf.TensorShape(sizes)
            placeholder = tf.compat.v1.placeholder(node.attr["dtype"].type, shape, name=f"inspected/{node.name}")
            mapped[f"{node.name}:0"] = placeholder
            if node.name in used:
                inputs[placeholder] = shape
        tf.import_graph_def(graph_def, input_map=mapped, name="")
    return graph, inputs


def _sinks(graph_def, graph: tf.Graph) -> list[str]:
    """The nodes whose results nothing in the graph takes."""
    used = {node_name(source) for node in graph_def.node for source in node.input}
    ends = [node for node in graph_def.node if node.name not in used and node.op not in NO_OUTPUT]
    return [node.name for node in ends if graph.get_operation_by_name(node.name).outputs]


def _tensor(tensor: tf.Tensor) -> Tensor:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Tensor(tensor.name, tensor.dtype.base_dtype.name, shape)


def _parameters(nodes: dict) -> dict[str, tuple[str, int]]:
    """{constant: (type, number of elements)} of those that layers have as weights, biases or batch norm."""
    found = {}

    def constant(name: str) -> str | None:
        for _ in range(10):
            node = nodes.get(node_name(name))
            if node is None or node.op == "Const":
                return node and node.name
            if node.op not in PASSES_ON or not node.input:
                return None
            name = node.input[0]
        return None

    def add(name: str | None) -> None:
        if name:
            tensor = nodes[name].attr["value"].tensor
            shape = [dim.size for dim in tensor.tensor_shape.dim]
            found[name] = (tf.as_dtype(tensor.dtype).name, int(np.prod(shape, dtype=np.int64)))

    for node in nodes.values():
        sources = [source for source in node.input if not source.startswith("^")]
        for k in PARAMETERS.get(node.op, ()):
            if k < len(sources):
                add(constant(sources[k]))
        if node.op in ("Mul", "Add", "AddV2", "Sub") and len(sources) == 2:
            # A bias, or what is left of batch norm: a number for each channel, right behind a layer.
            for value, other in (sources, reversed(sources)):
                name, before = constant(value), nodes.get(node_name(other))
                if name and before is not None and before.op in (*LAYERS, "BiasAdd", "Mul", "Add", "AddV2"):
                    shape = [dim.size for dim in nodes[name].attr["value"].tensor.tensor_shape.dim]
                    if shape and shape[-1] > 1 and np.prod(shape) == shape[-1]:
                        add(name)
    return found


def _flops(graph: tf.Graph, inputs: dict[tf.Tensor, tf.TensorShape], size: tuple[int, int] | None) -> Flops:
    layers = [operation for operation in graph.get_operations() if operation.type in LAYERS]
    shapes = {tensor: tensor.shape for layer in layers for tensor in (*layer.inputs, layer.outputs[0])}
    unknown = [layer for layer in layers if _layer_flops(layer, shapes) is None]
    how = "shapes inferred"
    if unknown and all(shape.rank is not None for shape in inputs.values()):
        seen, inputs = _seen(graph, inputs, unknown, size)
        shapes |= seen
        if seen:
            how = "shapes seen in a run on a grey image, as they do not follow from the graph"
    counts = {layer.name: _layer_flops(layer, shapes) for layer in layers}
    return Flops(
        count=sum(count for count in counts.values() if count is not None),
        layers=sum(count is not None for count in counts.values()),
        input=", ".join(
            f"{tensor.op.name.removeprefix('inspected/')} {_sizes(shape)}" for tensor, shape in inputs.items()
        ),
        how=how,
        unknown=[name for name, count in counts.items() if count is None],
    )


def _sizes(shape: tf.TensorShape) -> str:
    if shape.rank is None:
        return "of any shape"
    return f"({', '.join('?' if size is None else str(size) for size in shape.as_list())})"


def _layer_flops(layer: tf.Operation, shapes: dict) -> int | None:
    """2 x the multiply-adds of a layer for one image; None where a shape is open. The leading size counts as it is."""
    first, second, out = (shapes[tensor] for tensor in (layer.inputs[0], layer.inputs[1], layer.outputs[0]))
    if layer.type == "Conv2DBackpropInput":  # each element of the smaller picture meets each weight of its channel once
        out, second = shapes.get(layer.inputs[2], layer.inputs[2].shape), second
        channels = -1 if layer.get_attr("data_format") == b"NHWC" else 1
        if not (out.is_fully_defined() and second.is_fully_defined()):
            return None
        return 2 * out.num_elements() * second.num_elements() // out.as_list()[channels]
    if layer.type in ("Conv2D", "DepthwiseConv2dNative"):
        if not (out.is_fully_defined() and second.is_fully_defined()):
            return None
        height, width, channels, _ = second.as_list()
        return 2 * out.num_elements() * height * width * (channels if layer.type == "Conv2D" else 1)
    if not (out.is_fully_defined() and first.is_fully_defined()):
        return None
    transposed = layer.get_attr("transpose_a" if layer.type == "MatMul" else "adj_x")
    return 2 * out.num_elements() * first.as_list()[-2 if transposed else -1]


def _seen(graph: tf.Graph, inputs: dict, layers: list, size: tuple[int, int] | None) -> tuple[dict, dict]:
    """The shapes of these layers' tensors in a run on a grey image; open sizes become `size`, or 300 x 300."""
    height, width = size or (300, 300)
    run_at = {}
    for tensor, shape in inputs.items():
        sizes = shape.as_list()
        if len(sizes) == 4:
            sizes = [length or other for length, other in zip(sizes, (1, height, width, 3), strict=True)]
        run_at[tensor] = tf.TensorShape([length or 1 for length in sizes])
    # Only what stands outside of loops can be fetched.
    wanted = {tensor for layer in layers if layer._get_control_flow_context() is None
              for tensor in (*layer.inputs[:2], layer.outputs[0])}  # fmt: skip
    with graph.as_default():
        asked = {tensor: tf.shape(tensor) for tensor in sorted(wanted, key=lambda tensor: tensor.name)}
    fed = {tensor: np.full(shape.as_list(), GREY, tensor.dtype.as_numpy_dtype)
           for tensor, shape in run_at.items() if tensor.dtype.is_floating or tensor.dtype.is_integer}  # fmt: skip
    try:
        with tf.compat.v1.Session(graph=graph) as session:
            shapes = session.run(asked, fed)
    except tf.errors.OpError:
        return {}, inputs
    return {tensor: tf.TensorShape(shape.tolist()) for tensor, shape in shapes.items()}, run_at


def _batch_norm(operations: Counter, nodes: dict) -> str:
    kept = sum(count for op, count in operations.items() if op.startswith("FusedBatchNorm"))
    if kept:
        return f"{kept} layers, not folded"
    if any("batchnorm" in name.lower() or "batch_norm" in name.lower() for name in nodes):
        return "folded into the convolutions (its names are there, its operation is not)"
    return "none, or folded without a trace"


def _quantised(operations: Counter, weights: Counter) -> str:
    if any(op.startswith(("Quantized", "Dequantize")) for op in operations) or {"int8", "uint8", "qint8", "quint8"} & {
        *weights
    }:
        return "yes, weights of 8 bits"
    if any(op.startswith(("FakeQuant", "QuantizeAndDequantize")) for op in operations):
        return "trained for it (fake quantisation), stored as float"
    return "no" + (", float16 weights" if "float16" in weights else "")
