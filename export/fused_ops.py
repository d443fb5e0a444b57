"""Fused convolutions of a graph taken apart into the operations that they are made of.

TensorFlow's graph optimiser and TensorFlow.js's converter write a convolution, its bias and its activation as one
operation. Apart again, layers look as they do in any other graph, and TensorFlow can run those that only TensorFlow.js
has. Source: attributes of _FusedConv2D in tensorflow/core/ops/nn_ops.cc.
"""

import tensorflow as tf

from detect_faces.errors import UserError

_WHOLE = {
    "_FusedConv2D": "Conv2D",
    "FusedConv2D": "Conv2D",
    "_FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}
_KEPT = ("T", "strides", "padding", "data_format", "dilations", "explicit_paddings", "transpose_a", "transpose_b")
_ARGUMENTS = {
    "BiasAdd": 1,
    "FusedBatchNorm": 4,
    "Add": 1,  # of a residual block; with oneDNN, on CPUs that it knows well
    "Relu": 0,
    "Relu6": 0,
    "Elu": 0,
    "LeakyRelu": 0,
    "Sigmoid": 0,
    "Tanh": 0,
}
# Of a part, beside T: {attribute of the whole: its own}.
_ATTRIBUTES = {
    "BiasAdd": {"data_format": "data_format"},
    "FusedBatchNorm": {"data_format": "data_format", "epsilon": "epsilon"},
    "LeakyRelu": {"leakyrelu_alpha": "alpha"},
}


def take_apart(graph_def: tf.compat.v1.GraphDef, path: object) -> tf.compat.v1.GraphDef:
    """The graph without fused operations; the last of a fused operation's parts has its name.

    Raises:
        UserError: something is fused that is not known here. `path` is for the message.
    """
    apart = tf.compat.v1.GraphDef()
    apart.CopyFrom(graph_def)
    del apart.node[:]
    for node in graph_def.node:
        apart.node.extend(_parts(node, path) if node.op in _WHOLE else [node])
    return apart


def _parts(node: tf.compat.v1.NodeDef, path: object) -> list[tf.compat.v1.NodeDef]:
    fused = [name.decode(errors="replace") for name in node.attr["fused_ops"].list.s]
    if unknown := [name for name in fused if name not in _ARGUMENTS]:
        raise UserError(f"{path}: {node.name} has {unknown[0]} fused into it, which cannot be taken apart here")
    arguments = [source for source in node.input if not source.startswith("^")]
    if len(arguments) != 2 + sum(_ARGUMENTS[name] for name in fused):
        raise UserError(
            f"{path}: not a whole graph: {node.name} has {len(arguments)} inputs, for {' and '.join(fused)}"
        )
    names = [f"{node.name}/{name}" for name in [_WHOLE[node.op], *fused][:-1]] if fused else []
    names.append(node.name)
    first = tf.compat.v1.NodeDef(name=names[0], op=_WHOLE[node.op], input=arguments[:2], device=node.device)
    first.input.extend(source for source in node.input if source.startswith("^"))
    for key in _KEPT:
        if key in node.attr and not (first.op == "MatMul" and key not in ("T", "transpose_a", "transpose_b")):
            first.attr[key].CopyFrom(node.attr[key])
    parts, used = [first], 2
    for name, op in zip(names[1:], fused, strict=True):
        part = tf.compat.v1.NodeDef(name=name, op=op, input=[parts[-1].name], device=node.device)
        part.input.extend(arguments[used : used + _ARGUMENTS[op]])
        used += _ARGUMENTS[op]
        part.attr["T"].CopyFrom(node.attr["T"])
        if op == "FusedBatchNorm":
            part.attr["is_training"].b = False
        for key, copy in _ATTRIBUTES.get(op, {}).items():
            if key in node.attr:
                part.attr[copy].CopyFrom(node.attr[key])
        parts.append(part)
    return parts
