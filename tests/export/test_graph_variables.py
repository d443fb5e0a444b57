"""Variables found in graphs: as TensorFlow freezes and folds them, and in what is no network."""

import numpy as np
import pytest
import slim_network
import tensorflow as tf

from export import fused_ops
from export.graph_variables import Graph, find_layers, other_variables

tf1 = tf.compat.v1

FOLDED = {
    "optimize_for_inference": slim_network.folded_for_inference,
    "optimiser": slim_network.folded_by_optimiser,
    "optimiser, fused": lambda: slim_network.folded_by_optimiser("remap"),
    "optimize_for_inference, fused": lambda: slim_network.optimised(
        slim_network.folded_for_inference(), "constfold", "remap"
    ),
}


def test_a_frozen_graph():
    graph_def, values = slim_network.frozen()
    graph = Graph(graph_def)
    found = {}
    for layer in find_layers(graph):
        constants = [layer.weights, layer.offset, *(layer.norm.constants if layer.norm else ())]
        found |= {constant.name: graph.value(constant.node) for constant in constants if constant}
        assert bool(layer.norm) != layer.offset_is_bias
        assert layer.scale is None and layer.weights.name.startswith(layer.scope)
        if layer.norm:
            assert layer.norm.epsilon == pytest.approx(slim_network.EPSILON)
            assert layer.output == layer.norm.node
    assert found.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    assert other_variables(graph, set(found)) == []


def test_batch_norm_that_is_no_one_operation_is_found_by_name():
    graph_def, values = slim_network.frozen(fused_norm=False)
    graph = Graph(graph_def)
    weights = {layer.weights.name for layer in find_layers(graph)}
    others = {constant.name for constant in other_variables(graph, weights)}
    assert weights | others == values.keys()


@pytest.mark.parametrize("fold", FOLDED.values(), ids=FOLDED)
def test_folded_batch_norm(fold):
    _, values = slim_network.frozen()
    graph = Graph(fused_ops.take_apart(fold(), "graph.pb"))
    layers = find_layers(graph)
    assert {layer.weights.name for layer in layers} == {
        name for name in values if name.endswith(("/weights", "/depthwise_weights"))
    }
    for layer in layers:
        assert layer.offset is not None and layer.norm is None
        assert layer.offset_is_bias == layer.scope.startswith("BoxPredictor_0/")
        assert graph.value(layer.offset.node).size == layer.channels


def keras_graph() -> tf1.GraphDef:
    """A Keras network as TensorFlow 2 freezes it."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    layers = tf.keras.layers
    image = layers.Input([8, 8, 3])
    net = layers.Conv2D(4, 3, use_bias=False, name="Conv1")(image)
    net = layers.BatchNormalization(name="bn_Conv1")(net)
    net = layers.DepthwiseConv2D(3, name="deep")(layers.ReLU(6)(net))
    net = layers.Dense(2, name="scores")(layers.Flatten()(net))
    model = tf.keras.Model(image, net)
    call = tf.function(lambda image: model(image, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec([1, 8, 8, 3]))
    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def test_a_keras_network_by_the_names_of_its_operations():
    graph = Graph(keras_graph())
    names = []
    for layer in find_layers(graph):
        constants = [layer.weights, layer.offset, *(layer.norm.constants if layer.norm else ())]
        names += ["/".join(constant.name.split("/")[-2:]) for constant in constants if constant]
    assert sorted(names) == [
        "Conv1/kernel",
        "bn_Conv1/beta",
        "bn_Conv1/gamma",
        "bn_Conv1/moving_mean",
        "bn_Conv1/moving_variance",
        "deep/bias",
        "deep/depthwise_kernel",
        "scores/bias",
        "scores/kernel",
    ]


def test_an_activation_between_and_two_readers_end_a_layer():
    with tf.Graph().as_default() as graph:
        image = tf1.placeholder(tf.float32, [1, 4, 4, 3])
        weights = tf.constant(np.ones((1, 1, 3, 2), np.float32), name="a/weights")
        twice = tf.nn.conv2d(image, weights, 1, "SAME", name="a/Conv2D")
        tf.add(twice, np.float32([1, 2]))
        tf.nn.relu(twice)
        weights = tf.constant(np.ones((1, 1, 3, 2), np.float32), name="b/weights")
        tf.add(tf.nn.relu(tf.nn.conv2d(image, weights, 1, "SAME", name="b/Conv2D")), np.float32([1, 2]))
        computed = tf.ones([1, 1, 3, 2]) * image[0, 0, 0, 0]
        tf.nn.conv2d(image, computed, 1, "SAME", name="c/Conv2D")
    layers = find_layers(Graph(graph.as_graph_def()))
    assert [(layer.scope, layer.offset, layer.output) for layer in layers] == [
        ("a", None, "a/Conv2D"),
        ("b", None, "b/Conv2D"),
    ]


def test_batch_norm_without_gamma_and_a_shared_scale():
    with tf.Graph().as_default() as graph:
        image = tf1.placeholder(tf.float32, [1, 4, 4, 3])
        net = tf.nn.conv2d(image, np.ones((1, 1, 3, 2), np.float32), 1, "SAME", name="s/Conv2D")
        ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
        with tf1.name_scope("s/BatchNorm"):
            names = [tf.constant(zeros, name=leaf) for leaf in ("beta", "moving_mean", "moving_variance")]
            tf1.nn.fused_batch_norm(net, ones, *names, 1e-2, is_training=False, name="FusedBatchNorm")
    (layer,) = find_layers(Graph(graph.as_graph_def()))
    assert layer.norm.constants[0] is None and layer.norm.epsilon == pytest.approx(1e-2)
    assert [constant.name for constant in layer.norm.constants[1:]] == [
        "s/BatchNorm/beta",
        "s/BatchNorm/moving_mean",
        "s/BatchNorm/moving_variance",
    ]
    assert layer.weights.name == "s/weights"  # its Const has a name that says nothing
