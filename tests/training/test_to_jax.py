"""The operations that are put right on the way from TensorFlow to JAX: values and gradients against TensorFlow's."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf

from training.od_api import to_jax


def compare(function, *arrays, rtol=1e-5):
    """A function of TensorFlow and its conversion: the same values, and gradients of their squares."""
    import jax

    converted, parameters = to_jax._tf2jax()[0].convert(tf.function(function, autograph=False), *arrays)
    tensors = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        true = function(*tensors)
        total = tf.reduce_sum(tf.cast(true, tf.float32) ** 2)

    def squares(*given):
        found = converted(parameters, *given)[0]
        return (found.astype("float32") ** 2).sum(), found

    (_, found), gradients = jax.value_and_grad(squares, argnums=tuple(range(len(arrays))), has_aux=True)(*arrays)
    np.testing.assert_allclose(found, true.numpy(), rtol=rtol, atol=1e-6)
    for ours, theirs in zip(gradients, tape.gradient(total, tensors), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=rtol, atol=1e-4)


@pytest.mark.parametrize(
    ("padding", "size", "side", "stride"),
    [
        (padding, size, side, stride)
        for padding, size, (side, stride) in product(["SAME", "VALID"], [1, 2, 7, 8], [(3, 1), (3, 2), (5, 2)])
        if padding == "SAME" or size >= side  # of smaller images nothing is left
    ],
)
def test_depthwise_convolutions(padding, size, side, stride):
    random = np.random.default_rng(0)
    images, kernel = (random.random(shape, np.float32) for shape in ((2, size, size + 1, 4), (side, side, 4, 1)))
    compare(lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, stride, stride, 1], padding), images, kernel)


def test_depthwise_convolutions_of_another_kind():
    images, kernel = (np.random.default_rng(0).random(s, np.float32) for s in ((1, 9, 9, 3), (3, 3, 3, 2)))
    compare(lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "SAME"), images, kernel)
    compare(lambda x, k: tf.nn.depthwise_conv2d(x, k[..., :1], [1, 1, 1, 1], "SAME", dilations=[2, 2]), images, kernel)


def test_relu6_and_its_gradient_where_it_bends():
    compare(tf.nn.relu6, np.float32([-1, 0, 1e-6, 3, 6, 7]))


def test_batch_norm_of_bfloat16_is_computed_in_float32():
    values = (100 + np.random.default_rng(0).random((2, 4, 4, 3))).astype(np.float32)

    def mean(x):
        ones, zeros = tf.ones([3]), tf.zeros([3])
        return tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(x, tf.bfloat16), scale=ones, offset=zeros, mean=zeros, variance=ones, is_training=True
        ).batch_mean

    converted, parameters = to_jax._tf2jax()[0].convert(tf.function(mean), values)
    found = np.asarray(converted(parameters, values)[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mean(values).numpy(), rtol=1e-6)
