"""A TF1 detector of the OD API's kind, small, with variables: its graph, its MetaGraph and checkpoint, frozen."""

from pathlib import Path

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

FEATURES = "FeatureExtractor/Relu6"
BOX_FEATURES = "BoxPredictor/Relu6"  # behind FEATURES
OUTPUTS = ["detection_boxes:0", "detection_scores:0", "detection_classes:0", "num_detections:0"]
BEFORE = ["FeatureExtractor/biases", "FeatureExtractor/weights"]
AFTER = ["ClassPredictor/weights"]
UNUSED = ["unused", "global_step"]


def build(use_resource: bool = False) -> None:
    """A loop resizes each image; the boxes are where the cells of a 4 x 4 grid are in the photograph."""
    image = tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor")
    with tf1.name_scope("Preprocessor"):

        def resized(pixels):
            return tf1.image.resize_bilinear(pixels[None], [16, 16])[0], tf.shape(pixels)

        pixels, true_shapes = tf1.map_fn(resized, tf.cast(image, tf.float32), dtype=(tf.float32, tf.int32))
        pixels = pixels * (2 / 255) - 1
    tf1.get_variable("global_step", [], tf.int64, tf1.zeros_initializer(), use_resource=use_resource)
    tf1.get_variable("unused", [7], use_resource=use_resource)
    with tf1.variable_scope("FeatureExtractor", use_resource=use_resource):
        weights = tf1.get_variable("weights", [3, 3, 3, 8])
        biases = tf1.get_variable("biases", [8], initializer=tf1.ones_initializer())
        features = tf.nn.relu6(tf.nn.conv2d(pixels, weights, 4, "SAME") + biases, name="Relu6")
    with tf1.variable_scope("ClassPredictor", use_resource=use_resource):
        check = tf1.Assert(tf.reduce_all(true_shapes > 1), ["too small for a detector", true_shapes])
        with tf.control_dependencies([check]):
            weights = tf1.get_variable("weights", [8, 1])
            rows = tf.reshape(features, [16, 8], name="rows")
        scores = tf.sigmoid(tf.linalg.matmul(rows, weights))[:, 0]
    with tf1.name_scope("BoxPredictor"):
        sides = tf.nn.relu6(tf.reduce_mean(features, -1), name="Relu6")
    with tf1.name_scope("Postprocessor"):
        steps = np.arange(4, dtype=np.float32) / 4
        corners = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
        size = tf.reshape(sides, [-1, 1]) / 24
        boxes = tf.concat([corners, corners + size], 1)
        # In 0..1 of the photograph, by way of its pixels, as the OD API does it.
        height_width = tf.cast(tf.tile(true_shapes[:1, :2], [1, 2]), tf.float32)
        boxes = boxes * height_width / height_width
        best = tf.image.non_max_suppression(boxes, scores, 10, 0.6)
    tf.gather(boxes, best, name="boxes")
    tf.identity(tf.gather(boxes, best)[None], name="detection_boxes")
    tf.identity(tf.gather(scores, best)[None], name="detection_scores")
    tf.ones_like(tf.gather(scores, best)[None], name="detection_classes")
    tf.cast(tf.size(best)[None], tf.float32, name="num_detections")


def save(folder: Path, use_resource: bool = False, frozen: Path | None = None, saved_model: Path | None = None) -> str:
    """Writes the MetaGraph and the checkpoint, and returns its prefix; and as a frozen graph and TF1 SavedModel."""
    tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph, tf1.Session() as session:
            tf1.set_random_seed(1)
            build(use_resource)
            session.run(tf1.global_variables_initializer())
            prefix = tf1.train.Saver().save(session, str(folder / "model.ckpt"))
            if frozen:
                names = [name.removesuffix(":0") for name in OUTPUTS]
                graph_def = tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), names)
                frozen.write_bytes(graph_def.SerializeToString())
            if saved_model:
                tf1.saved_model.simple_save(
                    session,
                    str(saved_model),
                    {"inputs": graph.get_tensor_by_name("image_tensor:0")},
                    {name.removesuffix(":0"): graph.get_tensor_by_name(name) for name in OUTPUTS},
                )
    finally:
        tf1.enable_control_flow_v2()
    return prefix
