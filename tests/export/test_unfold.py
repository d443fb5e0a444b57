"""Batch norm put back into graphs that TensorFlow itself folded: the same function, with statistics of photographs."""

import numpy as np
import pytest
import slim_network
import tensorflow as tf
from test_graph_variables import FOLDED

from detect_faces.errors import UserError
from export import fused_ops, graph_run
from export.graph_session import GraphSession
from export.graph_variables import Graph, find_layers
from export.unfold import calibrated, unfold
from training import restore

tf1 = tf.compat.v1

OUTPUTS = [f"{name}:0" for name in slim_network.OUTPUTS]


def photographs(count=2) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [np.repeat(random.integers(0, 256, (6, 8, 3), np.uint8), 5, axis=0) for _ in range(count)]


def read(fold) -> tuple[Graph, list]:
    graph = Graph(fused_ops.take_apart(fold(), "graph.pb"))
    return graph, find_layers(graph)


def unfolded(graph, layers, images):
    found = unfold(graph, layers)
    return calibrated(found, graph_run.moments(graph, [folded.layer for folded in found.folded], images))


@pytest.mark.parametrize("fold", FOLDED.values(), ids=FOLDED)
def test_a_folded_network_comes_back(fold, tmp_path):
    _, values = slim_network.frozen()
    graph, layers = read(fold)
    image = photographs(1)[0]
    found = unfolded(graph, layers, [image])
    assert {name: value.shape for name, value in found.variables.items()} == {k: v.shape for k, v in values.items()}
    assert len(found.folded) == 4
    restore.save_tf1(found.variables, tmp_path / "model.ckpt")

    # In the network that was folded, these variables compute what its own do: batch norm is really batch norm there.
    original, _ = slim_network.frozen()
    own = Graph(original)
    restored = graph_run.restored(own, unfold(own, find_layers(own)), str(tmp_path / "model.ckpt"))
    expected = graph_run.PhotographSession(original).run(OUTPUTS, image)
    for one, other in zip(restored.run(OUTPUTS, image), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    # And so does the folded graph, with its constants computed from them.
    for one, other in zip(
        graph_run.restored(graph, found, str(tmp_path / "model.ckpt")).run(OUTPUTS, image), expected, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fold", FOLDED.values(), ids=FOLDED)
def test_statistics_are_those_of_all_photographs_together(fold):
    graph, layers = read(fold)
    images = photographs(3)
    found = unfolded(graph, layers, images)
    session = GraphSession(graph.graph_def, as_written=True)
    for folded in found.folded:
        maps = [session.run([f"{folded.layer.node}:0"], {"image_tensor:0": image[None]})[0] for image in images]
        values = np.concatenate(maps).reshape(-1, folded.layer.channels).astype(np.float64)
        scope = f"{folded.scope}/BatchNorm"
        mean, variance = found.variables[f"{scope}/moving_mean"], found.variables[f"{scope}/moving_variance"]
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-3, atol=1e-5)
        assert np.abs(variance - 1).max() > 0.01  # not the identity that it starts as


def test_a_pipeline_decides_what_an_offset_is():
    graph, layers = read(slim_network.folded_for_inference)
    head, inner = "BoxPredictor_0/ClassPredictor", "FeatureExtractor/Conv"
    known = frozenset([f"{head}/BatchNorm/beta", f"{inner}/biases"])
    found = unfold(graph, layers, known=known, epsilons={f"{head}/BatchNorm": 0.5})
    assert f"{inner}/biases" in found.variables and f"{inner}/BatchNorm/beta" not in found.variables
    assert f"{head}/biases" not in found.variables
    assert {folded.scope: folded.epsilon for folded in found.folded}[head] == 0.5
    np.testing.assert_allclose(found.variables[f"{head}/BatchNorm/gamma"], np.sqrt(1.5), rtol=1e-6)


def test_names_are_translated():
    graph, layers = read(lambda: slim_network.frozen()[0])
    found = unfold(graph, layers, named=lambda name: name.replace("FeatureExtractor/", "Backbone/"))
    assert "Backbone/Conv/weights" in found.variables and "Backbone/Conv/BatchNorm/gamma" in found.variables
    with pytest.raises(UserError, match="would both become the variable x"):
        unfold(graph, layers, named=lambda name: "x")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    graph_def, _ = slim_network.frozen()
    node = next(node for node in graph_def.node if node.name == "FeatureExtractor/Conv/BatchNorm/beta")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.full(8, value, np.float32)))
    graph, layers = read(lambda: graph_def)
    with pytest.raises(UserError, match="FeatureExtractor/Conv/BatchNorm/beta holds values that are not finite"):
        unfold(graph, layers)


def test_a_scale_without_an_offset():
    with tf.Graph().as_default() as place:
        image = tf1.placeholder(tf.float32, [1, 4, 4, 3])
        weights = tf.constant(np.ones((1, 1, 3, 2), np.float32), name="a/weights")
        tf.multiply(tf.nn.conv2d(image, weights, 1, "SAME", name="a/Conv2D"), np.float32([1, 2]))
    graph, layers = read(place.as_graph_def)
    with pytest.raises(UserError, match=r"a/Conv2D is multiplied by .* with no offset behind"):
        unfold(graph, layers)
