"""Checkpoints of the TF1 model zoo in the OD API's TF2 models, which compute what its own TF1 graph computes."""

import argparse
import io
import subprocess
import sys
import tarfile
from math import prod
from pathlib import Path

import numpy as np
import pytest

from training import checkpoint, restore, start

ROOT = Path(__file__).parents[2]
SSDLITE = "ssdlite_mobilenet_v2_320_face"
FASTER_RCNN = "faster_rcnn_inception_resnet_v2_atrous_oid_face"
OID = "faster_rcnn_inception_resnet_v2_atrous_oid"  # in checkpoints/
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*set_learning_phase")]


class Oracle:
    """What the TF1 graph of a pipeline made, and the TF2 model of the same config."""

    def __init__(self, folder: Path, pipeline_name: str, *changes: tuple[str, str]):
        """changes: to the text of the config."""
        text = (ROOT / f"pipelines/{pipeline_name}.config").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.folder, self.config_text = folder, text
        image = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)
        np.save(folder / "image.npy", image)
        (folder / "tf1.config").write_text(text.replace('_keras"', '"'))
        command = ["tests.training.tf1_oracle", *(str(folder / name) for name in ("tf1.config", "image.npy", ""))]
        with subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            self.image = image[None].astype(np.float32)
            self.config = self.load(text)
            self.model = self.build(self.config)
            _, errors = process.communicate()
        assert process.returncode == 0, errors[-4000:]
        self.said = dict(np.load(folder / "outputs.npz"))

    def load(self, text: str):
        from training.od_api import pipeline

        (self.folder / "tf2.config").write_text(text)
        return pipeline.load(self.folder / "tf2.config")

    def build(self, config):
        import tensorflow as tf

        from training.od_api import model

        tf.keras.layers.Conv2D(1, 1)  # takes a number from those that Keras gives to layers without a name
        return model.build(config, training=False)

    def restore(self, name: str, *more: str, config=None, model=None):
        """Restores a checkpoint of the oracle's folder; returns the plan."""
        planned = plan(config or self.config, model or self.model, self.folder / name, *more)
        restore.restore(planned)
        return planned

    def outputs(self, model=None) -> dict[str, np.ndarray]:
        import tensorflow as tf

        model = model or self.model
        images, true_shapes = model.preprocess(tf.constant(self.image))
        predicted = model.predict(images, true_shapes)
        found = {**predicted, **model.postprocess(predicted, true_shapes)}
        return {name: np.asarray(found[name]) for name in self.said}

    def agrees(self, outputs: dict[str, np.ndarray]) -> None:
        """Whether outputs are those of the TF1 graph, to a ten-thousandth of the largest value of each."""
        assert set(outputs) == set(self.said)
        for name, value in self.said.items():
            assert outputs[name].shape == value.shape
            difference = np.abs(outputs[name] - value).max() / np.abs(value).max()
            print(name, value.shape, np.abs(value).max(), difference)
            assert difference < 1e-4, name

    def stored(self) -> dict[str, np.ndarray]:
        names = restore.by_name(self.folder / "model.ckpt")
        return dict(zip(names, restore.read(self.folder / "model.ckpt", names), strict=True))


def plan(config, model, prefix, *more: str):
    parser = argparse.ArgumentParser()
    start.add_options(parser)
    return start.plan(config, model, parser.parse_args(["--checkpoint", str(prefix), *more]))


def spoil(model) -> None:
    """Gives every variable another value, so that one which is not restored shows."""
    for variable in model.variables:
        variable.assign(variable + 0.5)


# ---- SSDLite-MobileNetV2


@pytest.fixture(scope="module")
def ssdlite(tmp_path_factory) -> Oracle:
    return Oracle(tmp_path_factory.mktemp("ssdlite"), SSDLITE, ("num_classes: 1", "num_classes: 3"))


@pytest.mark.parametrize("name", ["model.ckpt", "averaged.ckpt"])
def test_ssdlite_computes_what_tf1_does(ssdlite, name):
    spoil(ssdlite.model)
    planned = ssdlite.restore(name)
    assert (len(planned.restored), planned.unused) == (404, {})
    ssdlite.agrees(ssdlite.outputs())


def test_a_face_starts_from_the_scores_of_a_class(ssdlite):
    config = ssdlite.load(ssdlite.config_text.replace("num_classes: 3", "num_classes: 1"))
    model = ssdlite.build(config)
    planned = ssdlite.restore("model.ckpt", "--class-from", "2", config=config, model=model)
    assert (len(planned.restored), len(planned.by_class), planned.unused) == (392, 12, {})
    found, theirs = ssdlite.outputs(model), ssdlite.said
    np.testing.assert_allclose(found["box_encodings"], theirs["box_encodings"], atol=1e-3)
    ours, theirs = found["class_predictions_with_background"], theirs["class_predictions_with_background"]
    np.testing.assert_allclose(ours[..., 1], theirs[..., 2], atol=1e-3)
    # Nothing but its initial bias: with encode_background_as_zeros the loss wants the background's score to be low.
    assert np.abs(ours[..., 0] + 4.6).max() < 1

    config.model.ssd.encode_background_as_zeros = False
    ssdlite.restore("model.ckpt", "--class-from", "2", config=config, model=model)
    ours = ssdlite.outputs(model)["class_predictions_with_background"]
    np.testing.assert_allclose(ours, theirs[..., [0, 2]], atol=1e-3)


# ---- Faster R-CNN Inception-ResNet-v2


@pytest.fixture(scope="module")
def faster_rcnn(tmp_path_factory) -> Oracle:
    return Oracle(
        tmp_path_factory.mktemp("faster_rcnn"),
        FASTER_RCNN,
        ("min_dimension: 600", "min_dimension: 128"),
        ("max_dimension: 1024", "max_dimension: 160"),
        ("first_stage_max_proposals: 300", "first_stage_max_proposals: 8"),
    )


@pytest.mark.parametrize("name", ["model.ckpt", "averaged.ckpt"])
def test_faster_rcnn_computes_what_tf1_does(faster_rcnn, name):
    spoil(faster_rcnn.model)
    planned = faster_rcnn.restore(name)
    assert (len(planned.restored), planned.unused) == (906, {})
    faster_rcnn.agrees(faster_rcnn.outputs())


@pytest.fixture(scope="module")
def zoo_archive(faster_rcnn) -> bytes:
    """The layout of the zoo's archive: 601 classes of Open Images, of which only the 502nd is not 0."""
    values = faster_rcnn.stored()
    for leaf in ("weights", "biases"):
        for head, count, at in (("Class", 602, [0, 502]), ("BoxEncoding", 4 * 601, range(4 * 501, 4 * 502))):
            name = f"SecondStageBoxPredictor/{head}Predictor/{leaf}"
            whole = np.zeros([*values[name].shape[:-1], count], np.float32)
            whole[..., at] = values[name]
            values[name] = whole
    restore.save_tf1(values, faster_rcnn.folder / "zoo" / "model.ckpt")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(faster_rcnn.folder / "zoo", f"{OID}_v4_2018_12_12")
    return out.getvalue()


def test_make_checkpoint_and_start_from_its_human_faces(faster_rcnn, zoo_archive, server, tmp_path, capsys):
    server.files = {"/zoo.tar": zoo_archive}
    assert checkpoint.main(["--output", str(tmp_path), "--model", OID, "--source", f"{server.url}/zoo.tar"]) == 0
    parameters = sum(prod(there.shape) for there in restore.by_name(faster_rcnn.folder / "zoo/model.ckpt").values())
    assert f"906 variables, {parameters:,} parameters: all of the network" in capsys.readouterr().err

    faster_rcnn.restore("model.ckpt")
    before = [variable.numpy() for variable in faster_rcnn.model.variables]
    for name in ("Human face", "/m/0dzct", "502"):
        spoil(faster_rcnn.model)
        prefix = tmp_path / OID / "model.ckpt"
        planned = plan(faster_rcnn.config, faster_rcnn.model, prefix, "--class-from", name)
        assert (len(planned.restored), len(planned.by_class), planned.unused) == (902, 4, {})
        restore.restore(planned)
        for variable, value in zip(faster_rcnn.model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
