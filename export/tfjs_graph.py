"""A TensorFlow.js graph model (model.json and its weights) as a GraphDef that TensorFlow runs.

model.json holds the graph as protobuf's JSON, without the values of its constants, which are among the weights under
the names of their nodes. Early converters (before 1.0) wrote byte strings as lists of numbers.
"""

import base64
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from detect_faces.errors import UserError
from training import tfjs


def read(path: str | Path) -> tf.compat.v1.GraphDef:
    """The GraphDef of a model.json. Nothing of it has been run, and no gate has seen it.

    Raises:
        UserError: not such a file, not a whole one, or a Keras ("layers") model, which has no graph.
    """
    path = Path(path)
    weights = tfjs.read_weights(path)
    try:
        topology = json.loads(path.read_bytes()).get("modelTopology")
        if not isinstance(topology, dict) or "node" not in topology:
            raise UserError(f"{path}: no graph in it: only TensorFlow.js graph models can be read, not layers models")
        graph_def = json_format.ParseDict(_with_bytes(topology), tf.compat.v1.GraphDef(), ignore_unknown_fields=True)
    except (ValueError, TypeError, RecursionError, json_format.ParseError) as error:
        raise UserError(f"{path}: not a whole TensorFlow.js model ({str(error).splitlines()[0]})") from error
    for node in [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]:
        if node.op == "Const":
            _fill(node, weights, path)
    return graph_def


def _with_bytes(value, *, repeated: bool = False):
    """The JSON with every byte string (key "s", of which a "list" has several) as protobuf's JSON has it: base64."""
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    done = {key: _with_bytes(item, repeated=key == "list") for key, item in value.items() if key != "s"}
    if "s" in value:
        done["s"] = [_base64(item) for item in value["s"]] if repeated else _base64(value["s"])
    return done


def _base64(codes):
    return base64.b64encode(bytes(codes)).decode() if isinstance(codes, list) else codes


def _fill(node: tf.compat.v1.NodeDef, weights: dict[str, np.ndarray], path: Path) -> None:
    value = weights.get(node.name)
    if value is None:
        if node.attr["value"].tensor.tensor_content:
            return
        raise UserError(f"{path}: not a whole TensorFlow.js model (no weight for the constant {node.name})")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, shape=value.shape))
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
