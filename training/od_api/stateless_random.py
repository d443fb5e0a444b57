"""Random numbers of the OD API drawn from a seed of each example, so that a batch depends on its position alone.

The OD API draws with `tf.random_uniform` and its like, and Keras for its dropout. Their state lives in the process: a
resumed run would see other crops than one that never stopped, and parallel workers make the order a matter of luck.
While `seeded` holds, they draw statelessly: from the seed given, and the number of draws before in the traced code.
Can go when: the OD API's preprocessor takes stateless generators.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import tensorflow as tf
from tf_keras.src import backend

# Ops whose state is hidden. Of those one left in a traced function would make it differ from run to run.
STATEFUL_OPS = frozenset(
    "Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal "
    "RandomUniform RandomUniformInt SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 TruncatedNormal".split()
)


@contextmanager
def seeded(seed: tf.Tensor) -> Iterator[None]:
    """While it holds, what is traced draws from `seed`, (2,) int64 or int32."""
    draws = itertools.count()

    def next_seed() -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(seed, next(draws))

    def uniform(shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        if maxval is None and tf.as_dtype(dtype).is_floating:
            maxval = 1
        return tf.random.stateless_uniform(shape, next_seed(), minval, maxval, dtype)

    def normal(shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, next_seed(), mean, stddev, dtype)

    def shuffle(value, seed=None, name=None):
        return tf.random.experimental.stateless_shuffle(value, next_seed())

    def distorted_box(image_size, bounding_boxes, seed=None, seed2=None, name=None, **options):
        return tf.image.stateless_sample_distorted_bounding_box(image_size, bounding_boxes, next_seed(), **options)

    def dropout(generator, inputs, rate, noise_shape=None, nonce=None):
        return tf.nn.experimental.stateless_dropout(inputs, rate, next_seed(), noise_shape=noise_shape)

    v1 = tf.compat.v1
    replacements = [
        *((place, name, uniform) for place, name in ((v1, "random_uniform"), (v1.random, "uniform"))),
        *((place, name, normal) for place, name in ((v1, "random_normal"), (v1.random, "normal"))),
        *((place, name, shuffle) for place, name in ((v1, "random_shuffle"), (v1.random, "shuffle"))),
        (v1.image, "sample_distorted_bounding_box", distorted_box),
        (backend.RandomGenerator, "dropout", dropout),
        (tf.random, "uniform", uniform),
        (tf.random, "normal", normal),
        (tf.random, "shuffle", shuffle),
    ]
    with ExitStack() as stack:
        for place, name, function in replacements:
            stack.enter_context(mock.patch.object(place, name, function))
        yield


def stateful_ops(graph: tf.Graph) -> list[str]:
    """The names of the STATEFUL_OPS in a traced function, and in the functions that it calls."""
    graph_def = graph.as_graph_def()
    nodes = itertools.chain(graph_def.node, *(function.node_def for function in graph_def.library.function))
    return sorted({node.op for node in nodes if node.op in STATEFUL_OPS})
