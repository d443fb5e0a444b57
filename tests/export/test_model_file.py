"""Kinds of models are told by content, whatever the name; what is none is named, with what to do."""

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from detect_faces import UserError
from export.model_file import Kind, checkpoint_prefix, kind

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_model) -> dict[Kind, Path]:
    """A small model of each kind, under names that say nothing."""
    import tensorflow as tf
    from onnx import TensorProto, helper

    folder = tmp_path_factory.mktemp("models")
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v = v1.get_variable("v", initializer=[1.0, 2.0])
        tf.identity(v, name="y")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "checkpoint-of-it/model"))
    (folder / "graph").write_bytes(graph.as_graph_def().SerializeToString())
    shutil.copy(folder / "checkpoint-of-it/model.meta", folder / "meta")
    shutil.copy(tiny_model / "model.tflite", folder / "lite")
    shutil.copytree(tiny_model / "saved_model", folder / "saved")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    onnx = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))
    (folder / "onnx").write_bytes(onnx.SerializeToString())
    manifest = {"format": "graph-model", "modelTopology": {"node": []}, "weightsManifest": []}
    (folder / "tfjs").write_text(json.dumps(manifest))
    return {
        Kind.FROZEN_GRAPH: folder / "graph",
        Kind.META_GRAPH: folder / "meta",
        Kind.TFLITE: folder / "lite",
        Kind.SAVED_MODEL: folder / "saved",
        Kind.CHECKPOINT: folder / "checkpoint-of-it/model",
        Kind.ONNX: folder / "onnx",
        Kind.TFJS: folder / "tfjs",
    }


def test_by_content(models, tmp_path):
    assert models.keys() == set(Kind)
    for expected, path in models.items():
        assert kind(path) is expected
        if path.is_file():
            renamed = tmp_path / "model.h5"
            shutil.copy(path, renamed)
            assert kind(renamed) is expected
    assert kind(models[Kind.SAVED_MODEL] / "saved_model.pb") is Kind.SAVED_MODEL
    prefix = models[Kind.CHECKPOINT]
    assert kind(f"{prefix}.index") is kind(prefix.parent) is Kind.CHECKPOINT


def test_the_prefix_of_a_checkpoint(models, tmp_path):
    prefix = models[Kind.CHECKPOINT]
    for named in (prefix, prefix.parent, prefix.with_name("model.index")):
        assert checkpoint_prefix(named) == prefix
    with pytest.raises(UserError, match="no checkpoint in it"):
        checkpoint_prefix(tmp_path)


@pytest.mark.parametrize("name", [Kind.FROZEN_GRAPH, Kind.META_GRAPH, Kind.ONNX])
def test_cut_off(models, tmp_path, name):
    data = models[name].read_bytes()
    path = tmp_path / "model"
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"a {name.replace('_', ' ')} that is cut off or damaged"):
        kind(path)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def hdf5(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0]
    return path.read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda _: b"", "the file is empty"),
        (lambda _: (ROOT / "data/sample/images/faceapi-sample1.jpg").read_bytes(), "a JPEG photograph"),
        (lambda _: (ROOT / "data/sample/images/astronaut.png").read_bytes(), "a picture"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (lambda _: b"\n<!doctype html><html><body>404</body></html>", "a web page"),
        (lambda folder: hdf5(folder / "a.h5"), r"\.h5"),
        (lambda _: zipped("archive/data.pkl", "archive/data/0"), "PyTorch"),
        (lambda _: zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras file"),
        (lambda _: zipped("model.pb"), "a zip archive; unpack it"),
        (lambda _: b"\x1f\x8b\x08\0" + bytes(99), "an archive; unpack it"),
        (lambda _: pickle.dumps({"state_dict": 1}), "a Python pickle"),
        (lambda _: (40).to_bytes(8, "little") + b'{"weight":{"dtype":"F32"}}', "safetensors"),
        (lambda _: b'node {\n  name: "x"\n}\n', "text, not a binary file"),
        (lambda _: b'<?xml version="1.0"?><net/>', "an XML file"),
        (lambda _: b'{"format": 1, "postprocessing": {}}', r"give the \.tflite file"),
        (lambda _: b'{"modelTopology": {"node"', "JSON, cut off"),
        (lambda _: b'{"a": 1}', "JSON, but not"),
        (lambda _: b'{"format": "layers-model", "modelTopology": {}, "weightsManifest": []}', "layers model"),
        (lambda _: bytes(1000), "not a model of a kind"),
        (lambda _: b"just words", "not a model of a kind"),
    ],
)
def test_what_is_no_model(tmp_path, data, message):
    path = tmp_path / "frozen_inference_graph.pb"
    path.write_bytes(data(tmp_path))
    with pytest.raises(UserError, match=message) as error:
        kind(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_parts_and_folders(models, tmp_path):
    prefix = models[Kind.CHECKPOINT]
    with pytest.raises(UserError, match=rf"a part of a checkpoint; give {prefix}$"):
        kind(f"{prefix}.data-00000-of-00001")
    shutil.copy(f"{prefix}.index", tmp_path / "alone.index")
    with pytest.raises(UserError, match=r"alone\.data-00000-of-00001"):
        kind(tmp_path / "alone.index")
    shutil.copy(models[Kind.SAVED_MODEL] / "saved_model.pb", tmp_path / "renamed.pb")
    with pytest.raises(UserError, match=r"name it saved_model\.pb"):
        kind(tmp_path / "renamed.pb")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="a folder that is neither"):
        kind(tmp_path / "empty")
    (tmp_path / "cut.index").write_bytes(Path(f"{prefix}.index").read_bytes()[:-1])
    with pytest.raises(UserError, match="of a checkpoint, cut off"):
        kind(tmp_path / "cut.index")
    with pytest.raises(UserError, match="No such file"):
        kind(tmp_path / "gone")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["graph", "meta", "onnx", "random"]),
    data=st.binary(min_size=1, max_size=40),
    at=st.integers(0),
)
def test_damage_gives_a_kind_or_one_line(models, tmp_path, name, data, at):
    whole = b"" if name == "random" else models[Kind.ONNX].with_name(name).read_bytes()
    at %= len(whole) + 1
    path = tmp_path / "model"
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    try:
        assert kind(path) in Kind
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
