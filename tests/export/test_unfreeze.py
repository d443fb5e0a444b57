"""python -m export.unfreeze: the checkpoint and what is said of it, errors that write nothing, and the real graphs."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import slim_network
import tensorflow as tf
from test_graph_variables import FOLDED
from test_tfjs_graph import write

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError
from export import unfreeze

tf1 = tf.compat.v1

SAMPLE = Path(__file__).parents[2] / "data/sample/images"


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of two photographs."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.resize(noise, (80, 60)))
    return folder


@pytest.fixture
def run(tmp_path, images):
    """A function that unfreezes a GraphDef or a file to tmp_path/out/model.ckpt."""

    def run(graph, *more) -> int:
        if isinstance(graph, tf1.GraphDef):
            (tmp_path / "graph.pb").write_bytes(graph.SerializeToString())
            graph = tmp_path / "graph.pb"
        output = ["--output", str(tmp_path / "out/model.ckpt"), "--photographs", str(images)]
        return unfreeze.main([str(graph), *output, *map(str, more)])

    return run


def stored(tmp_path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(tmp_path / "out/model.ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_frozen_graph(run, tmp_path, capsys):
    graph_def, values = slim_network.frozen()
    assert run(graph_def) == EXIT_OK
    found = stored(tmp_path)
    assert found.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    said = capsys.readouterr()
    assert f"24 variables, {sum(value.size for value in values.values())} parameters" in said.out
    assert "4 outputs: largest difference 0 of " in said.out and "to the last bit the same" in said.out
    assert "input stretched to 24 x 24; no non-maximum suppression" in said.err
    assert "... 16 more; all with --variables" in said.out
    assert not list(tmp_path.glob(".unfreeze-*"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]


def test_all_variables(run, capsys):
    graph_def, values = slim_network.frozen()
    run(graph_def, "--variables")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:24]] == sorted(values)
    assert any(re.fullmatch(r"FeatureExtractor/Conv/weights +float32 3 x 3 x 3 x 8", line) for line in lines)


@pytest.mark.parametrize("fold", FOLDED.values(), ids=FOLDED)
def test_folded_graphs(run, tmp_path, capsys, fold):
    assert run(fold()) == EXIT_OK
    said = capsys.readouterr()
    assert stored(tmp_path).keys() == slim_network.frozen()[1].keys()
    assert "batch norm of 4 layers put back, measured on 2 photographs" in said.err
    assert re.search(r"2 outputs: largest difference \d", said.out)


def test_a_tensorflow_js_model(run, tmp_path):
    (tmp_path / "tfjs").mkdir()
    path = write(tmp_path / "tfjs", slim_network.folded_by_optimiser("remap"), early=True)
    assert run(path) == EXIT_OK
    assert stored(tmp_path).keys() == slim_network.frozen()[1].keys()


def test_a_bad_photograph_is_left_out(run, images, capsys):
    (images / "2.jpg").write_bytes(b"\xff\xd8\xff torn")
    assert run(slim_network.folded_for_inference()) == EXIT_SOME_FAILED
    said = capsys.readouterr().err
    assert "2.jpg" in said and "on 2 photographs" in said


def without_weights() -> tf1.GraphDef:
    with tf.Graph().as_default() as graph:
        tf1.identity(tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor"), name="boxes")
    return graph.as_graph_def()


def hostile() -> tf1.GraphDef:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(slim_network.frozen()[0], name="")
        tf.io.read_file("/etc/hostname", name="evil")
    return graph.as_graph_def()


def two_inputs() -> tf1.GraphDef:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(slim_network.frozen()[0], name="")
        tf1.placeholder(tf.float32, name="more")
    return graph.as_graph_def()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (without_weights, "no variables to be found"),
        (hostile, "refused: .*evil.* ReadFile"),
        (two_inputs, "one input"),
    ],
)
def test_graphs_that_cannot_be_unfrozen(run, tmp_path, graph, message):
    with pytest.raises(UserError, match=message) as error:
        run(graph())
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.pb", "photographs"]


def test_trust(run):
    assert run(hostile(), "--trust") == EXIT_OK


def test_files_that_are_something_else(run, tmp_path):
    data = slim_network.frozen()[0].SerializeToString()
    for number, (content, message) in enumerate(
        [
            (data[: len(data) // 2], "cut off or damaged"),
            (b"\x1c\0\0\0TFL3" + bytes(100), "kind tflite"),
            (b"", "empty"),
            (b"hello", "not a model"),
            (b'{"format": "layers-model", "modelTopology": {}, "weightsManifest": []}', "layers model"),
        ]
    ):
        path = tmp_path / f"{number}.pb"
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            run(path)
        assert str(error.value).startswith(str(path))
    with pytest.raises(UserError, match="No such file"):
        run(tmp_path / "missing.pb")
    assert not (tmp_path / "out").exists()


def test_the_output_has_to_be_new(run, tmp_path):
    (tmp_path / "out").mkdir()
    graph_def, _ = slim_network.frozen()
    assert run(graph_def) == EXIT_OK  # an empty folder may be there
    before = stored(tmp_path)
    with pytest.raises(UserError, match="out: there is something already"):
        run(slim_network.folded_for_inference())
    assert {name: value.tobytes() for name, value in stored(tmp_path).items()} == {
        name: value.tobytes() for name, value in before.items()
    }


@pytest.mark.parametrize("graph", [slim_network.folded_for_inference, lambda: slim_network.frozen()[0]])
def test_no_photographs(run, tmp_path, images, graph):
    for path in images.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="photographs"):
        run(graph())
    (images / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="not one good photograph"):
        run(graph())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("graph", [slim_network.folded_for_inference, lambda: slim_network.frozen()[0]])
def test_nothing_is_written_when_the_checkpoint_computes_something_else(run, tmp_path, monkeypatch, graph):
    save = unfreeze.restore.save_tf1

    def save_other(variables, path):
        name = "FeatureExtractor/Conv/weights"
        save({**variables, name: variables[name] * np.float32(1.01)}, path)

    monkeypatch.setattr(unfreeze.restore, "save_tf1", save_other)
    with pytest.raises(UserError, match=r"the graph restored from the checkpoint computes something else: .* differs"):
        run(graph())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.pb", "photographs"]


def test_a_folder_that_cannot_be_written(run, tmp_path, monkeypatch):
    def full(variables, path):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(unfreeze.restore, "save_tf1", full)
    with pytest.raises(UserError, match=r"cannot be written .No space left"):
        run(slim_network.frozen()[0])
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".unfreeze-*"))


# ---- A graph of the OD API, and the zoo's pipeline ----------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo_pipeline():
    from export.pipeline_model import PipelineModel

    return PipelineModel("ssdlite_mobilenet_v2_300_zoo")


@pytest.fixture
def run_zoo(zoo_pipeline, tmp_path, monkeypatch):
    """As `run`, into the zoo's pipeline, whose model is built once, on photographs of the sample set."""
    from export import pipeline_model

    monkeypatch.setattr(pipeline_model, "PipelineModel", lambda name: zoo_pipeline)
    shutil.copytree(SAMPLE, tmp_path / "photographs", ignore=lambda _, names: [n for n in names if "sample" not in n])

    def run(graph: Path) -> int:
        options = ["--pipeline", "ssdlite_mobilenet_v2_300_zoo", "--photographs", str(tmp_path / "photographs")]
        return unfreeze.main([str(graph), "--output", str(tmp_path / "out/model.ckpt"), *options])

    return run


@pytest.mark.slow
def test_a_zoo_graph_goes_on_at_its_accuracy(pedestrian_graph, run_zoo, zoo_pipeline, tmp_path, capsys):
    from training import run_folder
    from training.od_api import model as detection_model

    assert run_zoo(pedestrian_graph) == EXIT_OK
    said = capsys.readouterr().out
    assert "restored 404 of 404 variables" in said and "to the last bit the same" in said
    assert re.search(r"detections: \d+ from score 0.01 on, the same", said)
    assert stored(tmp_path).keys() == zoo_pipeline.known  # all of what `make train` looks for

    # The run of 0 steps finds what the graph does in TensorFlow 1's own session.
    model = zoo_pipeline.model
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    run_folder.restore_weights(run_folder.weights_path(tmp_path / "out"), model)
    graph_def = tf1.GraphDef.FromString(pedestrian_graph.read_bytes())
    found = 0
    with tf.Graph().as_default(), tf1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        images = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / "photographs").iterdir())[1:4]]
        names = ["detection_boxes:0", "detection_scores:0"]
        expected = [session.run(names, {"image_tensor:0": image[None]}) for image in images]
    for image, (boxes, scores) in zip(images, expected, strict=True):
        our_boxes, our_scores = detection_model.detect(model, tf.constant(image))
        count = int((scores[0] >= 0.1).sum())
        np.testing.assert_allclose(our_scores[:count], scores[0, :count], atol=1e-4)
        np.testing.assert_allclose(our_boxes[:count], boxes[0, :count], atol=1e-4)
        found += count
    assert found > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "change", "message"),
    [
        ("Relu6", lambda node: setattr(node, "op", "Relu"), "box encodings differ by"),
        ("FusedBatchNorm", lambda node: setattr(node.attr["epsilon"], "f", 0.01), "has the epsilon 0.01, the pipeline"),
        (
            "Const",
            lambda node: setattr(node, "name", "FeatureExtractor/other/weights"),
            "no place for 1 of the graph's 404",
        ),
    ],
)
def test_a_graph_that_the_pipeline_is_not_of(pedestrian_graph, run_zoo, tmp_path, op, change, message):
    graph_def = tf1.GraphDef.FromString(pedestrian_graph.read_bytes())
    scope = "FeatureExtractor/MobilenetV2/expanded_conv_1/expand"
    nodes = (node for node in graph_def.node if node.op == op and node.name.startswith(scope))
    node = next(node for node in nodes if op != "Const" or node.name.endswith("/weights"))
    before = node.name
    change(node)
    for reader in graph_def.node:
        reader.input[:] = [node.name if source == before else source for source in reader.input]
        reader.attr.pop("_class", None)  # names a node, too
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(UserError, match=message):
        run_zoo(tmp_path / "graph.pb")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".unfreeze-*"))


@pytest.mark.slow
def test_an_exported_graph_with_keras_names_and_other_settings(exported_ssdlite, tmp_path, monkeypatch, capsys):
    """Only the names of its operations tell what its constants were."""
    from training.od_api import pipeline

    text = (Path(pipeline.PIPELINES) / "ssdlite_mobilenet_v2_320_face.config").read_text()
    other = tmp_path / "pipeline.config"
    other.write_text(text.replace("iou_threshold: 0.45", "iou_threshold: 0.5"))
    graph = exported_ssdlite / "frozen_inference_graph.pb"
    options = ["--output", str(tmp_path / "out/model.ckpt"), "--pipeline", str(other), "--photographs", str(SAMPLE)]
    assert unfreeze.main([str(graph), *options]) == EXIT_OK
    said = capsys.readouterr()
    assert "restored 404 of 404 variables" in said.out
    assert "400 boxes at most" in said.err
    assert "iou_threshold 0.45 in the graph, 0.5 in the pipeline" in said.out
    assert all(name.startswith(("FeatureExtractor/", "BoxPredictor_")) for name in stored(tmp_path))
