"""python -m export.split: frozen graphs, MetaGraphs and SavedModels in two parts, proved before they are written."""

import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from export import graph_cut, split
from tests.export import tf1_detector
from tests.export.tf1_detector import AFTER, BEFORE, BOX_FEATURES, FEATURES, OUTPUTS

tf1 = tf.compat.v1


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """A folder with frozen.pb, model.ckpt.meta with its checkpoint, and saved_model/, of one TF1 detector."""
    folder = tmp_path_factory.mktemp("tf1")
    tf1_detector.save(folder, frozen=folder / "frozen.pb", saved_model=folder / "saved_model")
    return folder


def run_split(file, at, output, *more) -> dict:
    """Splits, and returns split.json."""
    at = [at] if isinstance(at, str) else at
    assert split.main([str(file), "--at", *at, "--output", str(output), *map(str, more)]) == 0
    return json.loads((output / "split.json").read_text())


def run_graph(path: Path, outputs, feeds) -> list[np.ndarray]:
    """In plain TensorFlow 1 style."""
    graph_def = tf1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(outputs, feeds)


def run_parts(folder: Path, image: np.ndarray) -> list[np.ndarray]:
    """Both parts, by what split.json says."""
    described = json.loads((folder / "split.json").read_text())
    before, after = described["before"], described["after"]
    names = [row["tensor"] for row in before["outputs"]]
    given = dict(zip(names, run_graph(folder / "before.pb", names, {"image_tensor:0": image}), strict=True))
    feeds = {row["tensor"]: given[row["fed_from"]] for row in after["inputs"]}
    return run_graph(folder / "after.pb", [row["tensor"] for row in after["outputs"]], feeds)


def held(described: dict, part: str) -> list[str]:
    return sorted(row["name"] for row in described[part]["variables"])


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, 40, 60, 3), np.uint8)


def test_frozen_graph(detector, tmp_path, image, capsys):
    described = run_split(detector / "frozen.pb", FEATURES, tmp_path / "out")
    out, err = capsys.readouterr()
    assert out.count("largest difference 0.0: the same bits") == 4
    assert "around the cut: " in err and "before: " in err
    expected = run_graph(detector / "frozen.pb", OUTPUTS, {"image_tensor:0": image})
    for one, other in zip(expected, run_parts(tmp_path / "out", image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)

    assert described["cut"] == [f"{FEATURES}:0"]
    assert [row["tensor"] for row in described["after"]["outputs"]] == OUTPUTS
    assert described["before"]["inputs"] == [
        {"tensor": "image_tensor:0", "dtype": "uint8", "shape": [1, None, None, 3]}
    ]
    digest = hashlib.sha256((detector / "frozen.pb").read_bytes()).hexdigest()
    assert described["source"]["files"] == [{"file": "frozen.pb", "sha256": digest}]
    weights = next(row for row in described["before"]["constants"] if row["name"] == "FeatureExtractor/weights")
    assert weights == {"name": "FeatureExtractor/weights", "dtype": "float32", "shape": [3, 3, 3, 8], "bytes": 864}
    assert "image_tensor" not in [node.name for node in read(tmp_path / "out/after.pb").node]
    assert all(row["identical"] for row in described["proof"]["outputs"])
    features = described["proof"]["handed_over"][0]
    assert features == {"tensor": f"{FEATURES}:0", "shape": [1, 4, 4, 8], "bytes": 512}


def read(path: Path) -> tf1.GraphDef:
    return tf1.GraphDef.FromString(path.read_bytes())


@pytest.mark.parametrize("use_resource", [False, True])
def test_meta_graph_each_part_with_its_own_variables(tmp_path, image, capsys, use_resource):
    prefix = tf1_detector.save(tmp_path, use_resource, frozen=tmp_path / "frozen.pb")
    described = run_split(tmp_path / "model.ckpt.meta", FEATURES, tmp_path / "out")
    assert (held(described, "before"), held(described, "after")) == (BEFORE, AFTER)
    err = capsys.readouterr().err
    assert "2 of 3 variables" in err and "1 of 3 variables" in err and AFTER[0] in err
    (constant,) = [node for node in read(tmp_path / "out/after.pb").node if node.name == AFTER[0]]
    value = tf.make_ndarray(constant.attr["value"].tensor)
    np.testing.assert_array_equal(value, tf.train.load_variable(prefix, AFTER[0]))
    assert {row["file"] for row in described["source"]["files"]} == {
        "model.ckpt.meta",
        "model.ckpt.index",
        "model.ckpt.data-00000-of-00001",
    }
    expected = run_graph(tmp_path / "frozen.pb", OUTPUTS, {"image_tensor:0": image})
    for one, other in zip(expected, run_parts(tmp_path / "out", image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_variables_that_no_part_needs_need_not_be_in_the_checkpoint(tmp_path):
    tf1_detector.save(tmp_path)
    values = {name: tf.train.load_variable(str(tmp_path / "model.ckpt"), name) for name in BEFORE + AFTER}
    prefix = save_checkpoint(tmp_path / "other", values)
    described = run_split(tmp_path / "model.ckpt.meta", FEATURES, tmp_path / "out", "--checkpoint", prefix)
    assert held(described, "after") == AFTER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({AFTER[0]: None}, f"has no variable {AFTER[0]}"),
        ({AFTER[0]: np.zeros((9, 1), np.float32)}, r"ClassPredictor/weights is \(8, 1\) in the graph and \(9, 1\)"),
    ],
)
def test_checkpoint_of_another_graph(tmp_path, change, message):
    tf1_detector.save(tmp_path)
    values = {name: tf.train.load_variable(str(tmp_path / "model.ckpt"), name) for name in BEFORE + AFTER} | change
    prefix = save_checkpoint(tmp_path / "other", {name: v for name, v in values.items() if v is not None})
    with pytest.raises(UserError, match=message):
        run_split(tmp_path / "model.ckpt.meta", FEATURES, tmp_path / "out", "--checkpoint", prefix)
    assert not (tmp_path / "out").exists()


def save_checkpoint(folder: Path, values: dict[str, np.ndarray]) -> str:
    folder.mkdir()
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [tf1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run([variable.initializer for variable in variables])
        return tf1.train.Saver(variables).save(session, str(folder / "model.ckpt"), write_meta_graph=False)


def test_meta_graph_without_its_checkpoint(tmp_path):
    tf1_detector.save(tmp_path)
    (tmp_path / "model.ckpt.index").unlink()
    with pytest.raises(UserError, match=r"no checkpoint at .*give --checkpoint PREFIX"):
        run_split(tmp_path / "model.ckpt.meta", FEATURES, tmp_path / "out")


def test_tf1_saved_model(detector, tmp_path, image):
    described = run_split(detector / "saved_model", FEATURES, tmp_path / "out")
    assert (held(described, "before"), held(described, "after")) == (BEFORE, AFTER)
    expected = run_graph(detector / "frozen.pb", sorted(OUTPUTS), {"image_tensor:0": image})
    for one, other in zip(expected, run_parts(tmp_path / "out", image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


class TwoLayers(tf.Module):
    """Variables of one name, a loop, and a table of weights in the head."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(3, 3, 3, 4)), dtype=tf.float32, name="kernel")
        self.second = tf.Variable(random.normal(size=(4, 2)), dtype=tf.float32, name="kernel")
        self.table = tf.Variable(random.normal(size=(5, 2)), dtype=tf.float32, name="table")

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="image_tensor")])
    def __call__(self, image_tensor):
        small = tf.map_fn(lambda pixels: tf.image.resize(pixels, [8, 8]), tf.cast(image_tensor, tf.float32))
        features = tf.nn.relu(tf.nn.conv2d(small, self.first, 1, "SAME"), name="features")
        mean = tf.reduce_mean(features, [1, 2])
        row = tf.gather(self.table, tf.cast(mean[0, 0] > 0, tf.int32))
        scores = tf.sigmoid(tf.matmul(mean / 255, self.second) + row)
        return {"scores": scores, "rows": mean}


def test_tf2_saved_model(tmp_path, image):
    module = TwoLayers()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.__call__)
    described = run_split(tmp_path / "model", "StatefulPartitionedCall/features", tmp_path / "out")
    assert held(described, "before") == ["kernel"]
    assert held(described, "after") == ["kernel_1", "table"]
    assert [row["tensor"] for row in described["after"]["outputs"]] == ["rows:0", "scores:0"]
    expected = module(image)
    rows, scores = run_parts(tmp_path / "out", image)
    np.testing.assert_allclose(rows, expected["rows"], rtol=1e-5)
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-5)


def test_several_tensors_and_an_end_of_choice(detector, tmp_path):
    described = run_split(
        detector / "frozen.pb", [FEATURES, f"{BOX_FEATURES}:0"], tmp_path / "out", "--outputs", "detection_boxes"
    )
    assert described["cut"] == [f"{FEATURES}:0", f"{BOX_FEATURES}:0"]
    assert [row["tensor"] for row in described["after"]["outputs"]] == ["detection_boxes:0"]


def test_photograph_of_ones_own(detector, tmp_path):
    cv2.imwrite(str(tmp_path / "mine.png"), np.full((30, 20, 3), 77, np.uint8))
    described = run_split(detector / "frozen.pb", FEATURES, tmp_path / "out", "--image", tmp_path / "mine.png")
    assert described["proof"]["image"] == "mine.png"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frozen.pb", "--at", "FeatureExtractor/Relu"], "no such tensor in the graph; near: FeatureExtractor/Relu6"),
        (["frozen.pb", "--at", FEATURES, "--outputs", "detection_boxs"], "near: detection_boxes"),
        (["frozen.pb", "--at", FEATURES, "--checkpoint", "x"], "goes with a MetaGraph"),
        (["frozen.pb", "--at", FEATURES, "--image", "nowhere.jpg"], "nowhere.jpg: No such file"),
        (["nowhere.pb", "--at", FEATURES], "nowhere.pb"),
        (["model.ckpt", "--at", FEATURES], "a checkpoint; give a frozen graph, a SavedModel, or a MetaGraph"),
        (["frozen.pb", "--at", "image_tensor"], "is the graph's input"),
        (["frozen.pb", "--before", "Nowhere"], "Nowhere: no convolution in such a scope"),
    ],
)
def test_errors_write_nothing(detector, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(detector)
    with pytest.raises(UserError, match=message):
        split.main([*arguments, "--output", str(tmp_path / "out")])
    assert os.listdir(tmp_path) == []


def test_nothing_is_written_when_the_parts_give_something_else(tmp_path, capsys):
    """A graph that draws random numbers never gives the same twice."""
    with tf.Graph().as_default() as graph:
        image = tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor")
        middle = tf.reduce_mean(tf.cast(image, tf.float32), name="middle")
        tf.add(middle, tf1.random_uniform([3]), name="end")
        tf.identity(middle, name="certain")
    (tmp_path / "random.pb").write_bytes(graph.as_graph_def().SerializeToString())
    arguments = [str(tmp_path / "random.pb"), "--at", "middle", "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="not written"):
        split.main(arguments)
    rows = capsys.readouterr().out.splitlines()
    assert ["NOT the same" in row for row in rows] == [True, False]
    assert os.listdir(tmp_path) == ["random.pb"]


@pytest.mark.parametrize("kind", ["frozen graph", "MetaGraph"])
def test_the_gate(tmp_path, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with tf.Graph().as_default() as graph:
        image = tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor")
        middle = tf.reduce_mean(tf.cast(image, tf.float32), name="middle")
        size = tf.strings.length(tf.io.read_file(str(secret), name="thief"))
        tf.add(middle, tf.cast(size, tf.float32), name="end")
        file = tmp_path / ("model.ckpt.meta" if kind == "MetaGraph" else "graph.pb")
        if kind == "MetaGraph":
            tf1.train.export_meta_graph(str(file))
        else:
            file.write_bytes(graph.as_graph_def().SerializeToString())
    arguments = [str(file), "--at", "middle", "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"node thief does ReadFile.*--trust"):
        split.main(arguments)
    assert split.main([*arguments, "--trust"]) == 0


def test_replaces_an_earlier_split_and_nothing_else(detector, tmp_path):
    run_split(detector / "frozen.pb", FEATURES, tmp_path / "out")
    described = run_split(detector / "frozen.pb", BOX_FEATURES, tmp_path / "out", "--outputs", "detection_boxes")
    assert described["cut"] == [f"{BOX_FEATURES}:0"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something that is not a split graph"):
        run_split(detector / "frozen.pb", FEATURES, tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_the_parts_are_as_reproducible_as_their_source(detector, tmp_path):
    for name in ("one", "two"):
        run_split(detector / "frozen.pb", FEATURES, tmp_path / name)
    for name in ("before.pb", "after.pb", "split.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


SSD_MAPS = [
    "expanded_conv_13/expansion_output",
    "Conv_1/Relu6",
    *(f"layer_19_2_Conv2d_{level}/Relu6" for level in ("2_3x3_s2_512", "3_3x3_s2_256", "4_3x3_s2_256", "5_3x3_s2_128")),
]


def test_a_zoo_graph_at_its_feature_maps(pedestrian_graph, tmp_path):
    maps = [f"FeatureExtractor/MobilenetV2/{name}" for name in SSD_MAPS]
    assert graph_cut.read_by(read(pedestrian_graph), "BoxPredictor") == [f"{name}:0" for name in maps]
    described = run_split(pedestrian_graph, maps, tmp_path / "out")
    around = [row["tensor"] for row in described["around_the_cut"]]
    assert around and all(name.startswith("Postprocessor/") for name in around)
    assert not any(row["name"].startswith("FeatureExtractor") for row in described["after"]["constants"])
    with pytest.raises(UserError, match=r"is inside the loop .*Preprocessor/map/while"):
        run_split(pedestrian_graph, "Preprocessor/map/while/add_1", tmp_path / "other")


@pytest.mark.slow
def test_an_exported_ssdlite_at_its_feature_maps(exported_ssdlite, tmp_path):
    graph = read(exported_ssdlite / "frozen_inference_graph.pb")
    maps = graph_cut.read_by(graph, "BoxPredictor")
    assert len(maps) == 6
    described = run_split(exported_ssdlite / "frozen_inference_graph.pb", maps, tmp_path / "out")
    assert len(described["cut"]) == 6
    # The same by way of the SavedModel, where each part gets its own variables.
    described = run_split(
        exported_ssdlite / "saved_model", [name.removeprefix("detector/") for name in maps], tmp_path / "variables"
    )
    before, after = held(described, "before"), held(described, "after")
    assert not set(before) & set(after)
    assert all("BoxPredictor" in name for name in after) and not any("BoxPredictor" in name for name in before)
