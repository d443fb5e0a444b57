"""Where a model starts: heads of other classes, runs, checkpoints of other architectures, options that do not fit."""

import argparse

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from detect_faces.errors import UserError
from training import restore, run_folder, start
from training.class_head import Heads
from training.od_api import model as detection_model
from training.od_api import pipeline, tf1_names
from training.restore_plan import Stored

SSDLITE = "ssdlite_mobilenet_v2_320_face"
FASTER_RCNN = "faster_rcnn_inception_resnet_v2_atrous_oid_face"
pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


def options(*arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    start.add_options(parser)
    return parser.parse_args(list(map(str, arguments)))


def plan(model, *arguments, config=None):
    return start.plan(config or pipeline.load(SSDLITE), model, options(*arguments))


# ---- Heads of other classes: which columns


@pytest.mark.parametrize("anchors", [1, 3, 6])
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("number", [1, 5, 90])
def test_columns_of_a_class_predictor(anchors, classes, background, number):
    """Against the form that the OD API gives a class predictor's output: (batch, anchors, slots)."""
    heads = Heads(classes, background)
    old = np.arange(2 * anchors * (90 + background)).reshape(2, -1)
    shape = [2, anchors * (classes + background)]
    slots = [number - 1 + background] * classes
    expected = old.reshape(2, anchors, -1)[..., ([0] if background else []) + slots].reshape(shape)
    for name in ("BoxPredictor_0/ClassPredictor/weights", "a/b/ClassPredictor/pointwise_kernel"):
        assert heads.shape(name, shape, 90) == list(old.shape)
        np.testing.assert_array_equal(old[:, heads.columns(name, shape, list(old.shape), 90, number)], expected)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "SecondStageBoxPredictor/BoxEncodingPredictor/weights",
        "a/mask_rcnn_box_head_1/BoxEncodingPredictor_dense/kernel",
    ],
)
def test_columns_of_a_box_predictor_with_boxes_for_each_class(name, classes):
    heads = Heads(classes)
    old = np.arange(3 * 601 * 4).reshape(3, -1)
    assert heads.shape(name, [3, 4 * classes], 601) == [3, 2404]
    expected = np.tile(old.reshape(3, 601, 4)[:, 501], classes)
    np.testing.assert_array_equal(old[:, heads.columns(name, [3, 4 * classes], [3, 2404], 601, 502)], expected)


@pytest.mark.parametrize("heads", [Heads(1), Heads(1, boxes_shared=True), Heads(3, boxes_shared=True)])
def test_a_box_predictor_of_all_classes_stays_as_it_is(heads):
    name = "a/mask_rcnn_box_head/BoxEncodingPredictor_dense/kernel"
    assert heads.columns(name, [3, 4], [3, 4], 601, 502) is None
    if heads.boxes_shared:
        assert heads.shape(name, [3, 4], 601) == [3, 4]


def test_a_background_that_the_loss_does_not_use_keeps_its_initial_values():
    heads = Heads(1, background_learns=False)
    assert heads.columns("BoxPredictor_0/ClassPredictor/biases", [4], [182], 90, 1) == [None, 1, None, 92]


@pytest.mark.parametrize(
    "name",
    [
        "BoxPredictor_0/BoxEncodingPredictor/weights",
        "BoxPredictor_0/ClassPredictor_depthwise/depthwise_weights",
        "a/ClassPredictor/depthwise_kernel",
        "FirstStageBoxPredictor/ClassPredictor/weights",
        "FirstStageBoxPredictor/ConvolutionalClassHead_0/ClassPredictor/kernel",
        "FeatureExtractor/MobilenetV2/Conv/weights",
    ],
)
def test_what_has_no_classes_is_of_no_head(name):
    assert Heads(1).shape(name, [3, 12], 90) is None
    assert Heads(1).columns(name, [3, 12], [3, 12], 90, 1) is None


def test_the_number_of_classes_in_a_checkpoint():
    weights, biases = (f"BoxPredictor_0/ClassPredictor/{leaf}" for leaf in ("weights", "biases"))
    box = "SecondStageBoxPredictor/BoxEncodingPredictor/biases"
    shapes = {weights: [7, 6], biases: [6], box: [4]}

    def stored(*there):
        return {name: Stored(name, shape) for name, shape in zip(shapes, there, strict=False)}

    assert Heads(1).classes_of(shapes, stored([7, 273], [273], [360])) == 90
    assert Heads(1).classes_of(shapes, stored([7, 273], [273], [4])) == 90  # boxes that all classes share
    for there, message in (
        (
            [[7, 273], [546]],
            r"biases is \[546\] in the checkpoint and \[6\] in the model, which are not the same anchors",
        ),
        ([[7, 274], [274]], r"weights is \[7, 274\] in the checkpoint"),
        ([[8, 273], [273]], r"weights is \[8, 273\] in the checkpoint"),
        ([], "has no class predictor that the model has, too"),
    ):
        with pytest.raises(UserError, match=message):
            Heads(1).classes_of(shapes, stored(*there))


def test_the_heads_of_the_pipelines():
    assert Heads.of(pipeline.load(SSDLITE)) == Heads(1, background=True, background_learns=False)
    assert Heads.of(pipeline.load(FASTER_RCNN)) == Heads(1)


# ---- The start of a face detector from COCO's 90 classes and the background


@pytest.fixture
def coco(face_model, tmp_path) -> str:
    """The prefix of a checkpoint like the zoo's: of every variable the value + 1, and class predictors of 91 slots."""
    values = {}
    for variable in face_model.variables:
        name, value = tf1_names.tf1_name(variable.name), variable.numpy() + np.float32(1)
        if "/ClassPredictor/" in name:
            value = np.random.default_rng(0).random([*value.shape[:-1], value.shape[-1] // 2 * 91]).astype(np.float32)
        values[name] = value
    prefix = tmp_path / "ssdlite_mobilenet_v2_coco" / "model.ckpt"
    restore.save_tf1(values, prefix)
    return str(prefix)


def test_a_face_starts_from_the_person(face_model, coco):
    names = {tf1_names.tf1_name(variable.name): variable for variable in face_model.variables}
    before = {name: variable.numpy() for name, variable in names.items()}
    planned = plan(face_model, "--checkpoint", coco, "--class-from", "person")
    assert [len(parts) for parts in (planned.restored, planned.by_class, planned.unused)] == [392, 12, 0]
    assert "restored by columns, of class 1 (person); the background's keep their initial values" in str(planned)
    restore.restore(planned)
    for part in planned.restored:
        np.testing.assert_array_equal(part.variable, before[part.name] + np.float32(1))
    theirs = dict(zip(names, restore.read(coco, names), strict=True))
    for part in planned.by_class:
        ours = part.variable.numpy().reshape(-1, 2)
        np.testing.assert_array_equal(ours[:, 1], theirs[part.name].reshape(-1, 91)[:, 1])
        np.testing.assert_array_equal(ours[:, 0], before[part.name].reshape(-1, 2)[:, 0])


def test_the_config_says_what_to_take_of_a_checkpoint(face_model, coco, tmp_path):
    planned = plan(face_model, "--checkpoint", coco)
    assert [len(parts) for parts in (planned.restored, planned.by_class, planned.reinitialised)] == [392, 12, 0]
    planned = plan(face_model, "--checkpoint", coco, "--reinitialise", ".*/ClassPredictor/.*")
    assert [len(parts) for parts in (planned.restored, planned.by_class, planned.reinitialised)] == [392, 0, 12]
    other = restore.checkpoint_reader(coco)
    values = {name: other.get_tensor(name) for name in other.get_variable_to_shape_map()}
    restore.save_tf1(values, tmp_path / "another" / "model.ckpt")
    assert plan(face_model, "--checkpoint", tmp_path / "another" / "model.ckpt").by_class == []


def test_without_a_word_on_the_class_predictors_nothing_starts(face_model, coco):
    config = pipeline.load(SSDLITE, ["trainer.start="])
    before = [variable.numpy() for variable in face_model.variables]
    with pytest.raises(UserError, match=r"12 of 404 variables cannot be restored, such as BoxPredictor_0/ClassPredic"):
        restore.restore(plan(face_model, "--checkpoint", coco, config=config))
    for variable, value in zip(face_model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    planned = plan(face_model, "--checkpoint", coco, "--reinitialise", ".*/ClassPredictor/.*")
    restore.restore(planned)
    assert len(planned.reinitialised) == 12


def test_the_coco_checkpoint(face_model, coco_checkpoint):
    planned = plan(face_model, "--checkpoint", coco_checkpoint, "--class-from", "person")
    assert [len(parts) for parts in (planned.restored, planned.by_class, planned.unused)] == [392, 12, 0]
    assert "        392   3,063,172   98.9%  restored" in str(planned).splitlines()
    restore.restore(planned)
    for variable in face_model.variables:
        assert np.all(np.isfinite(variable))


LABEL_MAP = 'item { id: 7 name: "/m/0dzct" display_name: "Human face" } item { id: 300 name: "other" }'


@pytest.mark.parametrize("name, number", [("7", 7), ("90", 90), ("person", 1), ("/m/0dzct", 7), ("Human face", 7)])
def test_classes_by_number_and_name(face_model, coco, tmp_path, name, number):
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    more = [] if name == "person" else ["--class-names", tmp_path / "map.pbtxt"]
    planned = plan(face_model, "--checkpoint", coco, "--class-from", name, *more)
    assert {part.columns[1] for part in planned.by_class} == {number}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--class-from", "face"],
            "model.ckpt does not say which class that is; give its number, 1 to 90, or --class-na",
        ),
        (["--class-from", "person", "--class-names", "map.pbtxt"], "map.pbtxt does not say which class"),
        (["--class-from", "other", "--class-names", "map.pbtxt"], "has the classes 1 to 90, not 300"),
        (["--class-from", "x", "--class-names", "none.pbtxt"], "none.pbtxt: No such file"),
        (["--class-from", "0"], "has the classes 1 to 90, not 0"),
        (["--class-from", "91"], "has the classes 1 to 90, not 91"),
        (["--class-from", "person", "--map", "BoxPredictor=Other"], "has no class predictor that the model has, too"),
        (["--map", "Feature/=x"], "--map Feature/=x fits no name"),
        (["--reinitialise", "Box"], "--reinitialise Box: fits the whole name of no variable"),
    ],
)
def test_options_that_do_not_fit_the_checkpoint(face_model, coco, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    with pytest.raises(UserError, match=message) as caught:
        plan(face_model, "--checkpoint", coco, *arguments)
    assert "\n" not in str(caught.value)


def test_a_name_is_known_only_in_the_folder_that_make_checkpoint_makes(face_model, coco, tmp_path):
    (tmp_path / "ssdlite_mobilenet_v2_coco").rename(tmp_path / "other")
    with pytest.raises(UserError, match="does not say which class"):
        plan(face_model, "--checkpoint", tmp_path / "other/model.ckpt", "--class-from", "person")


# ---- What is refused before a model is built


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--reinitialise", "("], "not a regular expression"),
        (["--map", "a"], "not of the form REGEX=REPLACEMENT"),
        (["--map", "=b"], "not of the form"),
        (["--map", "(=b"], "not a regular expression and its replacement"),
        (["--map", r"a=\1"], "not a regular expression and its replacement"),
    ],
)
def test_options_that_say_nothing(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        options("--checkpoint", "none", *arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none", "--class-from", "person"], "--class-from says what to take of a checkpoint"),
        (["none", "--reinitialise", ".*"], "--reinitialise says what to take of a checkpoint"),
        (["none", "--map", "a=b"], "--map says what to take of a checkpoint"),
        (["none.ckpt"], "none.ckpt: no checkpoint here"),
    ],
)
def test_refused_before_the_model_is_built(monkeypatch, arguments, message):
    monkeypatch.setattr(detection_model, "build", None)
    with pytest.raises(UserError, match=message):
        start.build(pipeline.load(SSDLITE), options("--checkpoint", *arguments), seed=0, continued=False)


def test_an_architecture_without_tf1_names(monkeypatch, coco):
    monkeypatch.setattr(detection_model, "build", None)
    config = pipeline.load(SSDLITE)
    config.model.ssd.feature_extractor.type = "ssd_resnet50_v1_fpn_keras"
    with pytest.raises(UserError, match="not into ssd_resnet50_v1_fpn_keras"):
        start.build(config, options("--checkpoint", coco), seed=0, continued=False)


# ---- The weights of a run, and other architectures


def test_the_weights_of_a_run(face_model, tmp_path):
    prefix = run_folder.save_weights(tmp_path, face_model, 3)
    before = [variable.numpy() for variable in face_model.variables]
    for variable in face_model.variables:
        variable.assign(variable + 1)
    planned = plan(face_model, "--checkpoint", prefix)
    assert (len(planned.restored), planned.unused) == (404, {})
    restore.restore(planned)
    for variable, value in zip(face_model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
def test_the_weights_of_a_run_with_another_number_of_classes(face_model, tmp_path):
    prefix = run_folder.save_weights(tmp_path, face_model, 3)
    config = pipeline.load(SSDLITE)
    config.model.ssd.num_classes = 2
    config.model.ssd.encode_background_as_zeros = False
    model = detection_model.build(config, training=False)
    with pytest.raises(UserError, match="12 of 404"):
        plan(model, "--checkpoint", prefix, config=config).check()
    planned = plan(model, "--checkpoint", prefix, "--reinitialise", ".*/ClassPredictor/.*", config=config)
    assert len(planned.reinitialised) == 12
    planned.check()

    restore.restore(plan(model, "--checkpoint", prefix, "--class-from", "1", config=config))
    image = tf.random.stateless_uniform([1, 320, 320, 3], [0, 1], -1, 1)
    ones, twos = (
        network.predict(image, tf.constant([[320, 320, 3]]))["class_predictions_with_background"].numpy()
        for network in (face_model, model)
    )
    np.testing.assert_allclose(twos, ones[..., [0, 1, 1]], atol=1e-4)


PYRAMID = """
feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" fpn { min_level: 3 max_level: 7 additional_layer_depth: 32 } }
anchor_generator {
  multiscale_anchor_generator { min_level: 3 max_level: 7 scales_per_octave: 2 aspect_ratios: [0.8] anchor_scale: 4 }
}
box_predictor {
  weight_shared_convolutional_box_predictor {
    depth: 32 num_layers_before_predictor: 1 kernel_size: 3 use_depthwise: true
    conv_hyperparams {
      regularizer { l2_regularizer { weight: 0 } }
      initializer { random_normal_initializer { stddev: 0.01 } }
      batch_norm { decay: 0.97 }
    }
  }
}
"""


@pytest.mark.slow
def test_a_backbone_goes_into_a_feature_pyramid(face_model, coco, tmp_path):
    """From the zoo's checkpoint, from one with another prefix, and from a run: the same 260 variables."""
    config = pipeline.load(SSDLITE)
    for field in ("anchor_generator", "box_predictor"):
        config.model.ssd.ClearField(field)
    text_format.Merge(PYRAMID, config.model.ssd)
    model = detection_model.build(config, training=False)

    new = ["--reinitialise", "(WeightShared|ssd_mobile_net).*"]
    restore.restore(plan(model, "--checkpoint", coco, *new, config=config))
    backbone = {variable.name: variable.numpy() for variable in face_model.variables}
    backbone = {variable.name: backbone[variable.name] for variable in model.variables if variable.name in backbone}
    assert len(backbone) == 260

    def restored(by: float, *arguments):
        for variable in model.variables:
            if variable.name in backbone:
                np.testing.assert_array_equal(variable, backbone[variable.name] + np.float32(by))
                variable.assign(variable * 0)
        return plan(model, "--checkpoint", *arguments, *new, config=config)

    values = dict(zip(stored := restore.by_name(coco), restore.read(coco, stored), strict=True))
    renamed = {name.replace("FeatureExtractor/", "old/network/"): value for name, value in values.items()}
    restore.save_tf1(renamed, tmp_path / "renamed.ckpt")
    restore.restore(restored(1, tmp_path / "renamed.ckpt", "--map", "old/network/=FeatureExtractor/"))
    planned = restored(1, run_folder.save_weights(tmp_path, face_model, 3))
    assert (len(planned.restored), len(planned.unused)) == (260, 144)
    restore.restore(planned)
    restored(0, coco)
