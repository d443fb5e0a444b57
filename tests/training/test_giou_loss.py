"""GIoU as the loss of one-stage models, against boxes decoded and compared by hand."""

import numpy as np
import pytest

from training.od_api import losses, overrides, pipeline
from training.od_api import model as detection_model

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")
PYRAMID = "ssdlite_mobilenet_v2_fpn_320_face"
GIOU = "model.ssd.loss.localization_loss={ weighted_giou {} }"


@pytest.fixture(scope="module")
def model():
    return detection_model.build(overrides.apply(pipeline.load(PYRAMID), [GIOU]), training=False)


def giou(first, second):
    """Of yxyx boxes (N, 4) with (N, 4), by the formula of the paper."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    common = np.where((sides > 0).all(1), sides.prod(1), 0)
    union = sum((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)) - common
    hull = (np.maximum(first[:, 2:], second[:, 2:]) - np.minimum(first[:, :2], second[:, :2])).prod(1)
    return common / union - (hull - union) / hull


def test_it_is_of_boxes_and_not_of_encodings(model):
    import tensorflow as tf
    from object_detection.core.box_list import BoxList

    random = np.random.default_rng(0)
    centres, sides = random.uniform(0, 1, (60, 2)), random.uniform(0.01, 0.5, (60, 2))
    anchors = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
    encodings = random.normal(0, 2, (2, 60, 4)).astype(np.float32)
    predicted, target = (
        model._box_coder.decode(each, BoxList(tf.constant(anchors))).get().numpy() for each in encodings
    )
    weights = random.uniform(0, 1, 60).astype(np.float32)
    found = model._localization_loss(
        *(tf.constant(each.reshape(2, 30, 4)) for each in encodings), weights=weights.reshape(2, 30)
    )
    expected = weights * (1 - giou(predicted.astype(float), target.astype(float)))
    np.testing.assert_allclose(found, expected.reshape(2, 30), atol=1e-4)


def test_training_follows_it_down(model, record, label_map, training_batches):
    """A small step against its gradient makes it smaller; it is from 0 to 2 for each matched anchor."""
    import tensorflow as tf

    config = overrides.apply(pipeline.load(PYRAMID), [GIOU])
    records = [record([[64, 96, 194, 256], [400, 200, 520, 350]], copies=2)]
    config = pipeline.complete(config, records=records, label_map=label_map, batch_size=2)
    ((features, labels),) = training_batches(config, model, 1)

    def mean():
        found = losses.loss_sums(model, features, labels)
        return found.sums["localization"] / found.count

    head = [variable for variable in model.trainable_variables if "/BoxPredictor/" in variable.name]
    with tf.GradientTape() as tape:
        before = mean()
    gradients = tape.gradient(before, head)
    for variable, gradient in zip(head, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    assert 0 < mean() < before < 2
