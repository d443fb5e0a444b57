"""The SSDLite face model as the OD API builds it behind the shims, and its variables' names in TF1 checkpoints."""

import numpy as np
import pytest

from detect_faces.errors import UserError
from training.od_api import model as detection_model
from training.od_api import pipeline, tf1_names

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")
SSDLITE = "ssdlite_mobilenet_v2_320_face"


def picture(batch=1, side=320):
    """(batch, side, side, 3) float32 in -1..1, smooth."""
    import tensorflow as tf

    noise = np.random.default_rng(0).uniform(-1, 1, (batch, 8, 8, 3)).astype(np.float32)
    return tf.image.resize(noise, (side, side))


def test_a_face_is_believed_with_one_percent_at_the_start(face_model):
    boxes, scores = detection_model.raw_detections(face_model, picture())
    assert boxes.shape[1] == scores.shape[1] == 3 * 20**2 + 6 * (10**2 + 5**2 + 3**2 + 2**2 + 1)
    assert np.median(scores) == pytest.approx(0.01, rel=0.1)
    assert np.all((scores > 0.003) & (scores < 0.03))


def test_anchors_lie_over_the_whole_image(face_model):
    """Fresh box predictors move anchors little: their centres fill the image evenly."""
    boxes, _ = detection_model.raw_detections(face_model, picture())
    centres = (boxes[0, :1200, :2] + boxes[0, :1200, 2:]).numpy() / 2
    steps = (np.arange(20) + 0.5) / 20
    expected = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 1, 2)
    assert np.abs(centres.reshape(400, 3, 2) - expected).max() < 0.02


@pytest.mark.parametrize("name", [SSDLITE, "ssdlite_mobilenet_v2_fpn_320_face"])
def test_the_background_can_be_left_out(name):
    model = detection_model.build(pipeline.load(name), training=False)
    for variable in model.variables:
        if "ClassPredictor" in variable.name:
            variable.assign_add(np.random.default_rng(0).normal(0, 0.1, variable.shape).astype(np.float32))

    def logits():
        return model.predict(picture(), np.array([[320, 320, 3]]))["class_predictions_with_background"].numpy()

    before = logits()
    with detection_model.without_background(model):
        assert not logits()[..., 0].any()
        np.testing.assert_allclose(logits()[..., 1], before[..., 1], atol=1e-5)
    assert before[..., 0].std() > 0.01 and np.array_equal(logits(), before)


def test_nothing_and_everything_is_found_within_the_image(face_model):
    image = np.zeros((48, 96, 3), np.uint8)
    boxes, scores = detection_model.detect(face_model, image)
    assert boxes.shape == (len(scores), 4)
    assert np.all((boxes >= 0) & (boxes <= 1))
    for variable in face_model.variables:
        if "ClassPredictor/bias" in variable.name:
            variable.assign(variable * 0 - 20)
    assert detection_model.detect(face_model, image)[1].shape == (0,)


def test_the_config_s_batch_norm_reaches_every_layer(face_model):
    layers = detection_model.batch_norm_layers(face_model)
    config = pipeline.load(SSDLITE).model.ssd.feature_extractor.conv_hyperparams.batch_norm
    assert len(layers) == len(detection_model.trained_batch_norm_layers(face_model)) == 76
    assert {layer.momentum for layer in layers} == {config.decay} == {np.float32(0.97)}
    assert {layer.epsilon for layer in layers} == {config.epsilon}


def test_frozen_layers_are_told_apart():
    """The OD API freezes by an argument of the layer, Keras by `trainable`."""
    import tensorflow as tf
    from object_detection.core.freezable_batch_norm import FreezableBatchNorm

    class Model:
        pass

    part, thawed = tf.keras.Sequential(), FreezableBatchNorm(training=True)
    for layer in (
        FreezableBatchNorm(training=False),
        thawed,
        FreezableBatchNorm(trainable=False),
        tf.keras.layers.ReLU(),
    ):
        part.add(layer)
    model = Model()
    model.network, model.again, model.number = part, part, 3
    assert len(detection_model.batch_norm_layers(model)) == 3
    assert detection_model.trained_batch_norm_layers(model) == [thawed]


def test_set_training_switches_batch_norm(face_model):
    import tensorflow as tf

    layer = detection_model.batch_norm_layers(face_model)[0]
    before = layer.moving_mean.numpy()
    images = picture(2) + 0.5

    def features():
        return tf.function(lambda x: face_model.predict(x, tf.constant([[320, 320, 3]] * 2))["box_encodings"])(
            images
        ).numpy()

    inference = features()
    assert np.array_equal(layer.moving_mean.numpy(), before)
    detection_model.set_training(True)
    training = features()
    assert not np.array_equal(layer.moving_mean.numpy(), before)
    assert np.abs(training - inference).max() > 0.01


@pytest.mark.parametrize(
    "keras, tf1",
    [
        ("Conv1/kernel:0", "FeatureExtractor/MobilenetV2/Conv/weights"),
        ("bn_Conv1/moving_mean:0", "FeatureExtractor/MobilenetV2/Conv/BatchNorm/moving_mean"),
        (
            "expanded_conv_depthwise/depthwise_kernel:0",
            "FeatureExtractor/MobilenetV2/expanded_conv/depthwise/depthwise_weights",
        ),
        ("block_13_project_BN/gamma:0", "FeatureExtractor/MobilenetV2/expanded_conv_13/project/BatchNorm/gamma"),
        ("Conv_1_bn/beta:0", "FeatureExtractor/MobilenetV2/Conv_1/BatchNorm/beta"),
        (
            "anything/FeatureMaps/layer_19_2_Conv2d_2_3x3_s2_512_depthwise_conv/depthwise_kernel:0",
            "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512_depthwise/depthwise_weights",
        ),
        (
            "anything/FeatureMaps/layer_19_2_Conv2d_2_3x3_s2_512_batchnorm/gamma:0",
            "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512/BatchNorm/gamma",
        ),
        (
            "BoxPredictor/ConvolutionalBoxHead_0/BoxEncodingPredictor/bias:0",
            "BoxPredictor_0/BoxEncodingPredictor/biases",
        ),
        (
            "BoxPredictor/ConvolutionalClassHead_5/ClassPredictor_depthwise_batchnorm/beta:0",
            "BoxPredictor_5/ClassPredictor_depthwise/BatchNorm/beta",
        ),
        ("RPNConv/kernel:0", "Conv/weights"),
        (
            "FirstStageBoxPredictor/ConvolutionalClassHead_0/ClassPredictor/bias:0",
            "FirstStageBoxPredictor/ClassPredictor/biases",
        ),
        (
            "mask_rcnn_keras_box_predictor_1/mask_rcnn_box_head_1/BoxEncodingPredictor_dense/kernel:0",
            "SecondStageBoxPredictor/BoxEncodingPredictor/weights",
        ),
        (
            "block17_20_conv/bias:0",
            "FirstStageFeatureExtractor/InceptionResnetV2/Repeat_1/block17_20/Conv2d_1x1/biases",
        ),
        ("block8_9_conv/kernel:0", "SecondStageFeatureExtractor/InceptionResnetV2/Repeat/block8_9/Conv2d_1x1/weights"),
        ("block8_10_conv/kernel:0", "SecondStageFeatureExtractor/InceptionResnetV2/Block8/Conv2d_1x1/weights"),
        ("conv_7b_bn/beta:0", "SecondStageFeatureExtractor/InceptionResnetV2/Conv2d_7b_1x1/BatchNorm/beta"),
        ("conv2d_17/kernel:0", None),
        ("dense/kernel:0", None),
        ("block_3_pad/kernel:0", None),
        ("", None),
    ],
)
def test_tf1_names_of_a_few_variables(keras, tf1):
    assert tf1_names.tf1_name(keras) == tf1


def test_every_variable_has_a_tf1_name_of_its_own(face_model):
    names = [tf1_names.tf1_name(variable.name) for variable in face_model.variables]
    assert None not in names
    assert len(names) == len(set(names)) == 404


def test_the_names_are_those_of_the_coco_checkpoint(face_model, coco_checkpoint):
    import tensorflow as tf

    shapes = tf.train.load_checkpoint(coco_checkpoint).get_variable_to_shape_map()
    ours = {tf1_names.tf1_name(variable.name): variable.shape.as_list() for variable in face_model.variables}
    assert set(ours) <= set(shapes)
    assert len(ours) == 404
    differing = {name for name, shape in ours.items() if shapes[name] != shape}
    assert differing == {f"BoxPredictor_{i}/ClassPredictor/{what}" for i in range(6) for what in ("weights", "biases")}


def test_naming_of_a_model(face_model):
    config = pipeline.load(SSDLITE)
    names = tf1_names.naming(config, face_model)
    assert names == {variable.name: tf1_names.tf1_name(variable.name) for variable in face_model.variables}
    config.model.ssd.feature_extractor.type = "ssd_resnet50_v1_fpn_keras"
    with pytest.raises(UserError, match="not into ssd_resnet50_v1_fpn_keras; CHECKPOINT=none"):
        tf1_names.naming(config, face_model)
