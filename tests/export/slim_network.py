"""A detector's network as the TF1 OD API writes it, small, with the zoo's names: frozen, and folded by TensorFlow."""

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.tools import optimize_for_inference_lib

tf1 = tf.compat.v1

SIDE = 24
HEADS = ("BoxPredictor_0/BoxEncodingPredictor", "BoxPredictor_0/ClassPredictor")
OUTPUTS = ["raw_boxes", "raw_scores"]
EPSILON = 1e-3


def frozen(fused_norm: bool = True) -> tuple[tf1.GraphDef, dict[str, np.ndarray]]:
    """The graph as TensorFlow freezes it, and the values of its variables by name.

    Args:
        fused_norm: batch norm is one operation; else a product and a sum.
    """
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        tf1.set_random_seed(1)
        with tf1.variable_scope(tf1.get_variable_scope(), use_resource=False):  # as TensorFlow 1 has them
            _build(fused_norm)
        session.run(tf1.global_variables_initializer())
        values = {variable.op.name: value for variable, value in _values(session).items()}
        return tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), OUTPUTS), values


def folded_for_inference() -> tf1.GraphDef:
    """As optimize_for_inference folds it: scaled weights and an addition."""
    graph_def = tf1.graph_util.remove_training_nodes(frozen()[0], protected_nodes=OUTPUTS)
    return optimize_for_inference_lib.fold_batch_norms(graph_def)


def folded_by_optimiser(*optimisers: str) -> tf1.GraphDef:
    """As TensorFlow's graph optimiser, which TensorFlow.js's converter runs, folds batch norm that is not fused."""
    return optimised(frozen(fused_norm=False)[0], "constfold", "arithmetic", "constfold", *optimisers)


def optimised(graph_def: tf1.GraphDef, *optimisers: str) -> tf1.GraphDef:
    with tf.Graph().as_default() as graph, tf.device("/CPU:0"):  # it fuses what is for the CPU
        tf.import_graph_def(graph_def, name="")
        for name in OUTPUTS:
            graph.add_to_collection("train_op", graph.get_operation_by_name(name))
        meta_graph = tf1.train.export_meta_graph(graph=graph)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(optimisers)
    options.meta_optimizer_iterations = 1
    options.min_graph_nodes = -1
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _values(session) -> dict[tf.Variable, np.ndarray]:
    variables = tf1.global_variables()
    return dict(zip(variables, session.run(variables), strict=True))


def _build(fused_norm: bool) -> None:
    image = tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor")
    pixels = tf1.image.resize_bilinear(tf.cast(image, tf.float32), [SIDE, SIDE]) * (2 / 255) - 1
    with tf1.variable_scope("FeatureExtractor"):
        net = tf.nn.relu6(_layer("Conv", pixels, 8, fused_norm, stride=2))
        kept = net
        net = tf.nn.relu6(_layer("expanded_conv/depthwise", net, 8, fused_norm, depthwise=True))
        net = _layer("expanded_conv/project", net, 8, fused_norm, size=1) + kept
        net = tf.nn.relu6(_layer("expanded_conv_1/expand", net, 12, fused_norm, size=1))
    for name, head, outputs in zip(OUTPUTS, HEADS, (8, 4), strict=True):
        with tf1.variable_scope(head):
            weights = tf1.get_variable("weights", [1, 1, 12, outputs])
            biases = tf1.get_variable("biases", [outputs], initializer=tf1.random_normal_initializer())
            raw = tf.nn.bias_add(tf.nn.conv2d(net, weights, 1, "SAME", name="Conv2D"), biases, name="BiasAdd")
        tf.reshape(raw, [-1, outputs // 2], name=name)


def _layer(name, net, channels, fused_norm, size=3, stride=1, depthwise=False):
    inputs = net.shape[-1]
    with tf1.variable_scope(name):
        # Leaky enough that no layer is dead, and batch norm that does much.
        normal = tf1.random_normal_initializer(stddev=(1 if depthwise else inputs) ** -0.5 / size)
        if depthwise:
            weights = tf1.get_variable("depthwise_weights", [size, size, inputs, 1], initializer=normal)
            net = tf1.nn.depthwise_conv2d_native(net, weights, [1, stride, stride, 1], "SAME", name="depthwise")
        else:
            weights = tf1.get_variable("weights", [size, size, inputs, channels], initializer=normal)
            net = tf.nn.conv2d(net, weights, stride, "SAME", name="Conv2D")
        with tf1.variable_scope("BatchNorm"):
            around_1, around_0 = tf1.random_uniform_initializer(0.5, 1.5), tf1.random_normal_initializer(stddev=0.3)
            gamma = tf1.get_variable("gamma", [channels], initializer=around_1)
            beta = tf1.get_variable("beta", [channels], initializer=around_0)
            mean = tf1.get_variable("moving_mean", [channels], initializer=around_0)
            variance = tf1.get_variable("moving_variance", [channels], initializer=around_1)
            if fused_norm:
                return tf1.nn.fused_batch_norm(
                    net, gamma, beta, mean, variance, EPSILON, is_training=False, name="FusedBatchNorm"
                )[0]
            return tf.nn.batch_normalization(net, mean, variance, beta, gamma, EPSILON, name="batchnorm")
