"""Fused convolutions taken apart: the parts compute what TensorFlow's fused operation does."""

import numpy as np
import pytest
import slim_network
import tensorflow as tf

from detect_faces.errors import UserError
from export import fused_ops
from export.graph_session import GraphSession

tf1 = tf.compat.v1

BATCH_NORM = [np.float32(v) for v in ([1, 2, 3], [0.5, -1, 0], [0.1, 0.2, 0.3], [1, 0.5, 2])]
CASES = {
    "bias": (["BiasAdd"], [np.float32([1, -2, 3])]),
    "bias and relu6": (["BiasAdd", "Relu6"], [np.float32([1, -2, 3])]),
    "bias and leaky relu": (["BiasAdd", "LeakyRelu"], [np.float32([1, -2, 3])]),
    "batch norm": (["FusedBatchNorm"], BATCH_NORM),
    "batch norm and relu": (["FusedBatchNorm", "Relu"], BATCH_NORM),
}


def fused_graph(op, fused, arguments) -> tf1.GraphDef:
    with tf.Graph().as_default() as graph:
        tf1.placeholder(tf.float32, [1, 5, 5, 2], name="image")
        values = [np.random.default_rng(0).normal(size=(3, 3, 2, 3)).astype(np.float32), *arguments]
        for i, value in enumerate(values):
            tf.constant(value, name=f"argument_{i}")
    graph_def = graph.as_graph_def()
    node = graph_def.node.add(name="fused", op=op, input=["image", *(f"argument_{i}" for i in range(len(values)))])
    node.attr["T"].type = tf.float32.as_datatype_enum
    node.attr["strides"].list.i.extend([1, 2, 2, 1])
    node.attr["padding"].s = b"SAME"
    node.attr["num_args"].i = len(arguments)
    node.attr["TArgs"].list.type.extend([tf.float32.as_datatype_enum] * len(arguments))
    node.attr["fused_ops"].list.s.extend(name.encode() for name in fused)
    node.attr["epsilon"].f = 1e-2
    node.attr["leakyrelu_alpha"].f = 0.3
    return graph_def


def test_a_residual():
    """Not every TensorFlow runs it fused: the parts are compared with the sum by hand."""
    bias, residual = np.float32([1, -2, 3]), np.random.default_rng(2).normal(size=(1, 3, 3, 3)).astype(np.float32)
    feeds = {"image:0": np.random.default_rng(1).normal(size=(1, 5, 5, 2)).astype(np.float32)}
    alone, added = (
        GraphSession(fused_ops.take_apart(fused_graph("_FusedConv2D", fused, arguments), "graph.pb"), as_written=True)
        for fused, arguments in ((["BiasAdd"], [bias]), (["BiasAdd", "Add", "Relu"], [bias, residual]))
    )
    expected = np.maximum(alone.run(["fused:0"], feeds)[0] + residual, 0)
    np.testing.assert_allclose(added.run(["fused:0"], feeds)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("fused", "arguments"), CASES.values(), ids=CASES)
def test_the_same_values(fused, arguments):
    graph_def = fused_graph("_FusedConv2D", fused, arguments)
    apart = fused_ops.take_apart(graph_def, "graph.pb")
    ops = [node.op for node in apart.node]
    assert "_FusedConv2D" not in ops and ops[-1] == fused[-1]
    feeds = {"image:0": np.random.default_rng(1).normal(size=(1, 5, 5, 2)).astype(np.float32)}
    one, other = (GraphSession(graph, as_written=True).run(["fused:0"], feeds)[0] for graph in (graph_def, apart))
    np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_a_graph_of_the_optimiser():
    graph_def = slim_network.optimised(slim_network.folded_for_inference(), "constfold", "remap")
    assert "_FusedConv2D" in {node.op for node in graph_def.node}
    apart = fused_ops.take_apart(graph_def, "graph.pb")
    photograph = np.random.default_rng(0).integers(0, 256, (1, 30, 40, 3), np.uint8)
    outputs = [f"{name}:0" for name in slim_network.OUTPUTS]
    before, after = (
        GraphSession(graph, as_written=True).run(outputs, {"image_tensor:0": photograph})
        for graph in (graph_def, apart)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_taken_apart():
    with pytest.raises(UserError, match=r"graph.pb: fused has Prelu fused into it"):
        fused_ops.take_apart(fused_graph("_FusedConv2D", ["BiasAdd", "Prelu"], CASES["bias"][1] * 2), "graph.pb")
    with pytest.raises(UserError, match="not a whole graph: fused has 3 inputs"):
        fused_ops.take_apart(fused_graph("_FusedConv2D", ["FusedBatchNorm"], CASES["bias"][1]), "graph.pb")


def test_other_graphs_stay_as_they_are():
    graph_def, _ = slim_network.frozen()
    assert fused_ops.take_apart(graph_def, "graph.pb") == graph_def
