"""A frozen graph with the tensor names of the TF1 model zoo, from a SavedModel of the OD API."""

from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

INPUT = "image_tensor"
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def freeze(saved_model: Path) -> tf.compat.v1.GraphDef:
    """The SavedModel's `serving_default` as a graph without variables, functions or TF2 control flow.

    `image_tensor:0` is uint8 (1, H, W, 3) RGB of any size; `detection_boxes:0` (1, N, 4) yxyx in 0..1 of that image,
    `detection_scores:0` (1, N), `detection_classes:0` (1, N) from 1, `num_detections:0` (1,), all float32. Rows from
    num_detections on are padding.
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
            name="detector",
        )
        for name, tensor in zip(OUTPUTS, found, strict=True):
            tf.identity(tensor, name=name)
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), list(OUTPUTS))
