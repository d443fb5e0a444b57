"""Checkpoints, TF1's by name and TF2's by object: their variables."""

from collections import Counter
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.model_gate import shown
from export.inspect.description import ModelDescription, Tensor
from export.inspect.leftovers import leftover_kind, leftovers
from export.inspect.snippet import program
from export.model_file import checkpoint_prefix

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def describe(path: Path) -> ModelDescription:
    """The variables of a checkpoint that is named by its prefix, its .index or its folder.

    Raises:
        UserError: it cannot be read.
    """
    prefix = checkpoint_prefix(path)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"{prefix}: TensorFlow cannot read it: {shown(str(error).splitlines()[0])}") from error
    variables = [
        Tensor(name, dtypes[name].name, tuple(shapes[name])) for name in sorted(shapes) if name != OBJECT_GRAPH
    ]
    ours = [tensor for tensor in variables if not leftover_kind(tensor.name) and tensor.dtype != "string"]
    weights = Counter()
    for tensor in ours:
        weights[tensor.dtype] += tensor.size
    objects = OBJECT_GRAPH in shapes
    return ModelDescription(
        path=str(prefix),
        kind="checkpoint",
        parameters=sum(weights.values()),
        weights=dict(weights.most_common()),
        leftovers=leftovers(tensor.name for tensor in variables),
        variables=variables,
        notes=["names: of objects (TF2)" if objects else "names: of variables (TF1)"],
        snippet=program(
            ["import tensorflow as tf"],
            [
                f"checkpoint = tf.train.load_checkpoint({str(prefix)!r})",
                "for name, shape in sorted(checkpoint.get_variable_to_shape_map().items()):",
                f'    if name != "{OBJECT_GRAPH}":',
                "        print(name, shape, checkpoint.get_tensor(name).dtype)",
            ],
        ),
    )
