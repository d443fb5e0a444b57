"""Frozen graphs of SavedModels: the names of their constants, and that they compute the same."""

import numpy as np
import pytest
import tensorflow as tf

from export import frozen_graph
from export.graph_session import GraphSession

OUTPUTS = frozen_graph.OUTPUTS


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A SavedModel with the OD API's signature; its variables by Keras name."""
    layers = [tf.keras.layers.Conv2D(n, 1, bias_initializer="normal", name=f"conv2d_{n}") for n in (5, 4)]
    network = tf.keras.Sequential([tf.keras.layers.Input([None, None, 3]), *layers])

    class Detector(tf.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
        def serve(self, image):
            pixels = tf.cast(image, tf.float32) / 255
            # twice, as a feature pyramid's levels share their predictor
            boxes = tf.reshape(self.network(pixels) + self.network(pixels / 2), [1, -1, 4])
            scores = tf.sigmoid(boxes[..., 0])
            number = tf.cast(tf.shape(scores)[1:], tf.float32)
            found = (boxes, scores, tf.ones_like(scores), number)
            return dict(zip(OUTPUTS, found, strict=True)) | {"raw_detection_boxes": 2 * boxes}

    folder = tmp_path_factory.mktemp("saved")
    detector = Detector()
    tf.saved_model.save(detector, str(folder), signatures={"serving_default": detector.serve})
    return folder, {v.name.partition(":")[0]: v.numpy() for v in network.variables}


def constants(graph_def) -> dict[str, np.ndarray]:
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph_def.node
        if node.op == "Const" and not node.name.startswith("detector/")
    }


def test_constants_have_the_names_of_the_variables(saved_model):
    folder, variables = saved_model
    zoo = {f"FeatureExtractor/{name}": value for name, value in variables.items()}
    graph_def = frozen_graph.freeze(folder, zoo)
    found = constants(graph_def)
    assert found.keys() == zoo.keys() and len(zoo) == 4
    for name, value in zoo.items():
        np.testing.assert_array_equal(found[name], value)
    nodes = {node.name: node for node in graph_def.node}
    assert len(nodes) == len(graph_def.node)
    for name in zoo:  # as TensorFlow 1 freezes variables
        assert nodes[f"{name}/read"].op == "Identity" and list(nodes[f"{name}/read"].input) == [name]


def test_variables_without_a_name_keep_theirs(saved_model):
    folder, variables = saved_model
    other = {"FeatureExtractor/other": np.zeros((1, 1, 3, 5), np.float32)}
    assert constants(frozen_graph.freeze(folder)).keys() == variables.keys()
    assert constants(frozen_graph.freeze(folder, other)).keys() == variables.keys()


def test_the_graph_computes_what_the_saved_model_does(saved_model):
    folder, variables = saved_model
    graph_def = frozen_graph.freeze(folder, {f"zoo/{name}": value for name, value in variables.items()})
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 9, 3), np.uint8)
    session = GraphSession(graph_def)
    assert [tensor.name for tensor in session.inputs] == ["image_tensor:0"]
    found = session.run([f"{name}:0" for name in OUTPUTS], {"image_tensor:0": image})
    expected = tf.saved_model.load(str(folder)).signatures["serving_default"](input_tensor=tf.constant(image))
    for name, value in zip(OUTPUTS, found, strict=True):
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_nothing_but_the_detections_is_left(saved_model):
    graph_def = frozen_graph.freeze(saved_model[0])
    assert not [node.name for node in graph_def.node if "raw_detection" in node.name]
    assert not graph_def.library.function
