"""Batch norm folded into weights and put back: what the network computes, with stored and with batch statistics."""

import numpy as np
import pytest

from detect_faces.errors import UserError
from training.unfold_batch_norm import calibrate, unfold


def fold(variables):
    """What TensorFlow.js's converter makes of the network's variables, by its own definition of batch norm."""
    folded = {"Postprocessor/ExpandDims": np.zeros((1, 1917, 4), np.float32)}
    for name, value in variables.items():
        scope, _, leaf = name.rpartition("/")
        if not name.startswith("FeatureExtractor/"):
            folded[name] = value
        elif leaf in ("weights", "depthwise_weights"):
            norm = {part: variables[f"{scope}/BatchNorm/{part}"] for part in ("gamma", "beta", "moving_mean")}
            mul = norm["gamma"] / np.sqrt(variables[f"{scope}/BatchNorm/moving_variance"] + 1e-3)
            folded[f"{scope}/BatchNorm/batchnorm/sub"] = norm["beta"] - norm["moving_mean"] * mul
            if leaf == "weights":
                folded[f"{scope}/Conv2D/merged_input"] = value * mul
            else:
                folded |= {name: value, f"{scope}/BatchNorm/batchnorm/mul": mul}
    return {name: value.astype(np.float32) for name, value in folded.items()}


def photograph(seed=0):
    import cv2

    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(noise, (320, 240))


@pytest.fixture
def tf1_name():
    from training.od_api import tf1_names

    return tf1_names.tf1_name


@pytest.fixture
def lively(face_model, tf1_name):
    """The face model with weights under which signals neither die nor explode, and with batch norm that does much."""
    random = np.random.default_rng(0)
    for variable in face_model.variables:
        shape, leaf = tuple(variable.shape), tf1_name(variable.name).rpartition("/")[2]
        if leaf in ("weights", "depthwise_weights"):
            inputs = np.prod(shape[:2]) * (shape[2] if leaf == "weights" else 1)
            variable.assign(random.normal(0, 1 / np.sqrt(inputs), shape))
        elif leaf in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, shape))
        else:
            variable.assign(random.normal(0, 0.3, shape))
    return face_model


def feature_maps(model, image, training=False):
    import tensorflow as tf

    from training.od_api import model as detection_model

    inputs = model.preprocess(tf.cast(image[None], tf.float32))
    detection_model.set_training(training)
    try:
        return [feature_map.numpy() for feature_map in model.predict(*inputs)["feature_maps"]]
    finally:
        detection_model.set_training(False)


def difference(some, others):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(some, others, strict=True))


def load(model, tf1_name, variables):
    for variable in model.variables:
        variable.assign(variables[tf1_name(variable.name)])


def test_a_folded_network_comes_back(lively, tf1_name):
    image = photograph()
    original = {tf1_name(variable.name): variable.numpy() for variable in lively.variables}
    before = feature_maps(lively, image)
    unfolded = unfold(fold(original))
    assert {name: value.shape for name, value in unfolded.items()} == {k: v.shape for k, v in original.items()}
    load(lively, tf1_name, unfolded)
    assert difference(feature_maps(lively, image), before) < 1e-4
    with_batch_statistics = difference(feature_maps(lively, image, training=True), before)

    calibrated, said = calibrate(unfolded, lively, tf1_name, [image])
    assert said < 1e-4
    for name in original:
        if name.startswith("BoxPredictor_"):
            np.testing.assert_array_equal(calibrated[name], original[name])
    load(lively, tf1_name, calibrated)
    assert difference(feature_maps(lively, image), before) < 1e-4
    # Calibrated on one photograph, the stored statistics are those of the batch that it makes: training computes the
    # same as inference. (It would not with mean 0 and variance 1, or the test would say nothing.)
    assert difference(feature_maps(lively, image, training=True), before) < 1e-2 < with_batch_statistics


def test_statistics_of_several_photographs_are_pooled(lively, tf1_name):
    """Mean and variance of the first convolution's output over both photographs together, computed by hand."""
    import tensorflow as tf

    images = [photograph(0), photograph(1)]
    unfolded = unfold(fold({tf1_name(variable.name): variable.numpy() for variable in lively.variables}))
    calibrated, _ = calibrate(unfolded, lively, tf1_name, iter(images))
    inputs = np.concatenate([lively.preprocess(tf.cast(image[None], tf.float32))[0] for image in images])
    stem = "FeatureExtractor/MobilenetV2/Conv"
    outputs = tf.nn.conv2d(inputs, unfolded[f"{stem}/weights"], 2, "SAME").numpy()
    mean, variance = outputs.mean(axis=(0, 1, 2)), outputs.var(axis=(0, 1, 2))
    np.testing.assert_allclose(calibrated[f"{stem}/BatchNorm/moving_mean"], mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(calibrated[f"{stem}/BatchNorm/moving_variance"], variance, rtol=1e-3)


def test_without_photographs(lively, tf1_name):
    unfolded = unfold(fold({tf1_name(variable.name): variable.numpy() for variable in lively.variables}))
    with pytest.raises(UserError, match="not one photograph"):
        calibrate(unfolded, lively, tf1_name, [])


def test_weights_of_other_networks(face_model, tf1_name):
    assert unfold({}) == {}
    with pytest.raises(UserError, match="of another model"):
        calibrate({}, face_model, tf1_name, [photograph()])
    stem = "FeatureExtractor/MobilenetV2/Conv"
    with pytest.raises(UserError, match="BatchNorm/batchnorm/sub"):
        unfold({f"{stem}/Conv2D/merged_input": np.ones((3, 3, 3, 32), np.float32)})
    wrong = unfold(fold({tf1_name(variable.name): variable.numpy() for variable in face_model.variables}))
    wrong[f"{stem}/weights"] = np.ones((3, 3, 3, 16), np.float32)
    with pytest.raises(UserError, match=f"{stem}/weights of shape"):
        calibrate(wrong, face_model, tf1_name, [photograph()])
