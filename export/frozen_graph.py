"""A frozen graph with the tensor and variable names of the TF1 model zoo, from a SavedModel of the OD API."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from detect_faces.graph_file import node_name

INPUT = "image_tensor"
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")

_SCOPE = "detector"


def freeze(saved_model: Path, variables: Mapping[str, np.ndarray] | None = None) -> tf.compat.v1.GraphDef:
    """The SavedModel's `serving_default` as a graph without variables, functions or TF2 control flow.

    `image_tensor:0` is uint8 (1, H, W, 3) RGB of any size; `detection_boxes:0` (1, N, 4) yxyx in 0..1 of that image,
    `detection_scores:0` (1, N), `detection_classes:0` (1, N) from 1, `num_detections:0` (1,), all float32. Rows from
    num_detections on are padding.

    Constants that were variables are called as these are in a checkpoint, with an Identity `<name>/read` behind each,
    as TensorFlow 1 freezes them.

    Args:
        variables: the model's variables by the names that they shall have, such as those of the TF1 model zoo. A
            variable that is not among them keeps its Keras name.
    """
    loaded = tf.saved_model.load(str(saved_model))  # holds the variables: it has to stay while they are read
    served = loaded.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(served, lower_control_flow=True)
    tensors = dict(zip(sorted(served.structured_outputs), (t.name for t in frozen.outputs), strict=True))
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], name=INPUT)
        found = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: image},
            return_elements=[tensors[name] for name in OUTPUTS],
            name=_SCOPE,
        )
        for name, tensor in zip(OUTPUTS, found, strict=True):
            tf.identity(tensor, name=name)
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(OUTPUTS))
    return _renamed(graph_def, _constants(served, variables or {}))


def _constants(served, variables: Mapping[str, np.ndarray]) -> dict[str, str]:
    """{node of the graph that was a variable: the name it shall have}.

    Keras numbers layers anew with every model of a process, so that the SavedModel's variables have other names than
    those of the model at hand: they are known by their values. Where two have the same, either name will do.
    """
    names = defaultdict(list)
    for name, value in variables.items():
        names[_content(value)].append(name)
    constants, taken = {}, {INPUT, *OUTPUTS}
    captured = {id(variable.handle): variable for variable in served.variables}
    for handle, placeholder in served.graph.captures:
        if (variable := captured.get(id(handle))) is not None:
            candidates = names[_content(variable.numpy())]
            name = candidates.pop(0) if candidates else variable.name.partition(":")[0]
            if name not in taken:  # two of one Keras name: the second stays what TensorFlow calls it
                constants[f"{_SCOPE}/{placeholder.op.name}"] = name
                taken.add(name)
    return constants


def _content(value: np.ndarray) -> tuple:
    return value.shape, value.dtype.name, value.tobytes()


def _renamed(graph_def: tf.compat.v1.GraphDef, names: Mapping[str, str]) -> tf.compat.v1.GraphDef:
    """The graph with other names for some constants, each read through one Identity, `<name>/read`.

    TensorFlow 2 reads a variable once for each function that it is handed to and each layer that shares it.
    """
    names, constant_of, surplus = dict(names), {}, set()
    for node in graph_def.node:
        if node.op == "Identity" and len(node.input) == 1 and (source := node_name(node.input[0])) in names:
            constant = constant_of.get(source) or names[source]
            if constant in constant_of.values():
                surplus.add(node.name)
            constant_of[node.name], names[node.name] = constant, f"{constant}/read"
    renamed = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    renamed.node.extend(node for node in graph_def.node if node.name not in surplus)
    for node in renamed.node:
        node.name = names.get(node.name, node.name)
        for i, source in enumerate(node.input):
            if (plain := node_name(source)) in names:
                node.input[i] = source.replace(plain, names[plain], 1)
    return renamed
