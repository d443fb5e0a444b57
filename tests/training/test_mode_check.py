"""Training and inference mode compared: statistics that fit, statistics that are wrong, and a model that stays."""

import numpy as np
import pytest
import tensorflow as tf

from training import batch_norm
from training.mode_check import TOLERANCE, ModeLosses, mode_losses
from training.od_api import inputs, pipeline
from training.od_api import model as detection_model

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


@pytest.mark.parametrize(
    "training, inference, difference",
    [
        (1.0, 1.0, 0),
        (2.0, 2.5, 0.25),
        (2.0, 1.0, 0.5),
        (0.5, 5.0, 9),
        (0.0, 0.0, 0),
        (float("nan"), 1.0, float("inf")),
        (1.0, float("inf"), float("inf")),
    ],
)
def test_the_difference_is_relative_to_training(training, inference, difference):
    both = ModeLosses(training, inference)
    assert both.difference == pytest.approx(difference)
    assert both.agree() == (difference <= TOLERANCE) == (both.message() is None)


def test_the_tolerance_can_be_another():
    both = ModeLosses(2.0, 3.0)
    assert not both.agree(0.4) and both.agree(0.5)
    assert both.message(0.5) is None
    assert both.message().startswith("loss 2 in training mode, 3 in inference mode: the moving statistics")


@pytest.fixture
def batches(face_model, record, label_map, training_batches) -> list:
    """Two training batches of four; the predictors are made strong, so that the loss depends on what the model sees."""
    for variable in face_model.variables:
        if variable.name.endswith("Predictor/kernel:0"):
            variable.assign(variable * 30)
    config = pipeline.complete(
        pipeline.load("ssdlite_mobilenet_v2_320_face"),
        records=[record([[64, 96, 194, 256], [400, 200, 520, 350]], copies=8)],
        label_map=label_map,
        batch_size=4,
    )
    return training_batches(config, face_model, 2)


def test_statistics_of_a_model(face_model, batches):
    def loss(training):
        """By the functions that training itself uses."""
        statistics = [variable for variable in face_model.variables if "moving_" in variable.name]
        values = []
        for batch in batches:
            before = [variable.numpy() for variable in statistics]
            detection_model.set_training(training)
            values.append(detection_model.losses(face_model, *batch, regularized=False)["total"])
            detection_model.set_training(False)
            for variable, value in zip(statistics, before, strict=True):
                variable.assign(value)
        return np.mean(values)

    # Measured on the same batches they fit, whatever mode the check comes in.
    images = [(features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features, _ in batches]
    batch_norm.reestimate(face_model, images, lambda batch: face_model.predict(*batch))
    before = [variable.numpy() for variable in face_model.variables]
    detection_model.set_training(True)
    right = mode_losses(face_model, iter(batches))
    assert tf.keras.backend.learning_phase()
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, face_model.variables, strict=True))
    assert right.training == pytest.approx(loss(training=True), rel=1e-4)
    assert right.inference == pytest.approx(loss(training=False), rel=1e-4)
    assert right.agree() and right.message() is None

    # As where they stayed behind: the weights now make values ten times as large as the statistics say.
    for layer in detection_model.trained_batch_norm_layers(face_model):
        layer.moving_variance.assign(layer.moving_variance / 100)
    wrong = mode_losses(face_model, batches)
    assert wrong.training == pytest.approx(right.training, rel=1e-4)  # the batch's own statistics are what they were
    assert not wrong.agree() and "do not fit the weights" in wrong.message()


def test_a_model_without_trained_batch_norm(face_model):
    layers = detection_model.trained_batch_norm_layers(face_model)
    try:
        for layer in layers:
            layer.trainable = False
        assert mode_losses(face_model, iter([])) is None
    finally:
        for layer in layers:
            layer.trainable = True


def test_no_batch_is_a_mistake(face_model):
    with pytest.raises(ValueError, match="no batch"):
        mode_losses(face_model, [])


def test_an_error_on_the_way_leaves_no_trace(face_model, batches):
    before = [variable.numpy() for variable in face_model.variables]

    def torn():
        yield batches[0]
        raise OSError("gone")

    with pytest.raises(OSError):
        mode_losses(face_model, torn())
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, face_model.variables, strict=True))
    assert not tf.keras.backend.learning_phase()
