"""The OD API's losses as a function of JAX, by way of their TensorFlow graph; the only module that knows tf2jax.

tf2jax is imported when something is converted. Three operations of these graphs are put right here, until it does so
itself: it lacks IsNan; its batch norm takes statistics in the precision of the activations, TensorFlow's in float32;
the gradient of its ReLU6 is a half at 0 and 6, which is where channels lie that do not vary, and 0 in TensorFlow.
A fourth is written another way, because XLA is slow at depthwise convolutions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import tensorflow as tf

from detect_faces.errors import UserError
from training.od_api import inputs
from training.od_api.losses import loss_sums, regularization
from training.od_api.stateless_random import STATEFUL_OPS


def converted_loss(
    model, *, batch_size: int, input_size: tuple[int, int], boxes: int, classes: int
) -> tuple[Callable, Sequence[tf.TensorSpec]]:
    """The losses of a model in training mode, for batches of one shape.

    Args:
        model: a one-stage detection model, built for training, with the learning phase 1.
        batch_size: images of a batch.
        input_size: (height, width) of the model's input.
        boxes: of an image, with the padding.
        classes: of the model, without the background.

    Returns:
        loss(variables, images, boxes, classes, weights), as `training.jax_step.make` takes it, and the shapes of the
        batch: images (B, H, W, 3) float32 RGB in 0..255, boxes (B, N, 4) yxyx in 0..1, padded with zeros, classes
        (B, N, C) one-hot, weights (B, N), 0 for the padding. `variables` are named as by `names`.

    Raises:
        UserError: the model has operations that cannot be converted, or two variables of one name.
    """
    specs = (
        tf.TensorSpec([batch_size, *input_size, 3], name="images"),
        tf.TensorSpec([batch_size, boxes, 4], name="boxes"),
        tf.TensorSpec([batch_size, boxes, classes], name="classes"),
        tf.TensorSpec([batch_size, boxes], name="weights"),
    )

    def losses(images, boxes, classes, weights):
        features = {
            inputs.IMAGE: model._feature_extractor.preprocess(images),
            inputs.TRUE_SHAPE: tf.constant([[*input_size, 3]] * batch_size),
        }
        labels = {inputs.BOXES: boxes, inputs.CLASSES: classes, inputs.WEIGHTS: weights}
        found = loss_sums(model, features, labels, padded=True)
        return found.sums, found.count, regularization(model)

    traced = tf.function(losses, input_signature=specs, autograph=False)
    _check_operations(traced.get_concrete_function().graph)
    tf2jax, _ = _tf2jax()
    function, parameters = tf2jax.convert(traced, *specs)
    keys = _keys(model, parameters)

    def loss(variables: Mapping, *batch):
        (sums, count, penalty), new = function({key: variables[name] for key, name in keys.items()}, *batch)
        return (sums, count, penalty), {name: new[key] for key, name in keys.items()}

    return loss, specs


def names(model) -> dict[str, tf.Variable]:
    """The variables of a model by their Keras names, without ":0" and the number of an extractor that isn't the first.

    Raises UserError where two have one name.
    """
    extractor = model._feature_extractor.name
    first = re.sub(r"_\d+$", "", extractor)  # Keras counts those that a process has built

    def name(variable: tf.Variable) -> str:
        plain = _plain(variable.name)
        return f"{first}{plain.removeprefix(extractor)}" if plain.startswith(f"{extractor}/") else plain

    found = {name(variable): variable for variable in model.variables}
    if len(found) != len(model.variables):
        raise UserError("the model has variables of one name, which an exported step could not tell apart")
    return found


def _keys(model, parameters: Mapping) -> dict[str, str]:
    """{key of a converted function's parameter: name of the model's variable}."""
    known = {_plain(variable.name): name for name, variable in names(model).items()}
    if strange := [key for key in parameters if _plain(key) not in known]:
        raise UserError(f"the losses read {strange[0]}, which is no variable of the model")
    return {key: known[_plain(key)] for key in parameters}


def _plain(name: str) -> str:
    return re.sub(r":\d+$", "", name)


def _check_operations(graph: tf.Graph) -> None:
    _, ops = _tf2jax()
    graph_def = graph.as_graph_def()
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    if drawn := sorted(STATEFUL_OPS & {node.op for node in nodes}):
        raise UserError(f"the model draws at random ({drawn[0]}), which is not exported; set use_dropout: false")
    if missing := sorted(ops.get_unsupported_operations([node.op for node in nodes])):
        raise UserError(f"the model cannot be converted: there is nothing in JAX for {', '.join(missing)}")


@cache
def _tf2jax():
    """The module, and its operations with what they lack."""
    try:
        import tf2jax
        from tf2jax._src import ops
    except ImportError as error:
        raise UserError(f"tf2jax cannot be loaded ({error}); run `make setup`, then `make doctor`") from error
    ops._jax_ops.setdefault("IsNan", _is_nan)
    ops._jax_ops["Relu6"] = _relu6
    ops._jax_ops["DepthwiseConv2dNative"] = _depthwise_by_shifts(ops._jax_ops["DepthwiseConv2dNative"])
    ops._jax_ops["FusedBatchNormV3"] = _batch_norm_in_float32(ops._jax_ops["FusedBatchNormV3"])
    return tf2jax, ops


def _is_nan(_):
    import jax.numpy as jnp

    return jnp.isnan


def _relu6(_):
    import jax.numpy as jnp

    return lambda x: jnp.where(x > 0, jnp.where(x < 6, x, 6), 0).astype(x.dtype)


def _depthwise_by_shifts(parse: Callable) -> Callable:
    """Depthwise convolution as a sum of shifted products, one for each place in the kernel; others as tf2jax has them.

    Four to seventeen times less CPU time, with its gradients, than XLA's convolution with as many groups as channels.
    """
    import jax.numpy as jnp
    from jax import lax

    def parse_shifts(proto):
        compute = parse(proto)
        strides, dilations = list(proto.attr["strides"].list.i), list(proto.attr["dilations"].list.i)
        padding, data_format = proto.attr["padding"].s, proto.attr["data_format"].s
        simple = padding in (b"SAME", b"VALID") and data_format == b"NHWC" and set(dilations) <= {1}

        def call(images, kernel):
            height, width, _, multiplier = kernel.shape
            if not simple or multiplier != 1:
                return compute(images, kernel)
            step = strides[1]
            if padding == b"SAME":
                ends = [(0, 0)]
                for size, side in zip(images.shape[1:3], (height, width), strict=True):
                    more = max((-(-size // step) - 1) * step + side - size, 0)
                    ends.append((more // 2, more - more // 2))
                images = jnp.pad(images, [*ends, (0, 0)])
            batch, rows, columns, channels = images.shape
            rows, columns = (rows - height) // step * step + 1, (columns - width) // step * step + 1
            total = 0
            for y in range(height):
                for x in range(width):
                    part = lax.slice(images, (0, y, x, 0), (batch, y + rows, x + columns, channels), (1, step, step, 1))
                    total = total + part.astype(jnp.float32) * kernel[y, x, :, 0].astype(jnp.float32)
            return total.astype(images.dtype)

        return call

    return parse_shifts


def _batch_norm_in_float32(parse: Callable) -> Callable:
    """tf2jax's batch norm, on activations of any type in float32, as the operation in TensorFlow computes."""
    import jax.numpy as jnp

    def parse_wider(proto):
        compute = parse(proto)

        def call(activations, *parameters):
            normal, mean, variance = compute(activations.astype(jnp.float32), *parameters)
            return normal.astype(activations.dtype), mean, variance

        return call

    return parse_wider
