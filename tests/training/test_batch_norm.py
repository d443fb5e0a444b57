"""Batch norm statistics against numpy, and what they are for: training and inference mode agree."""

import numpy as np
import pytest
import tensorflow as tf

from training import batch_norm
from training.od_api import inputs, pipeline
from training.od_api import model as detection_model

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


class SmallModel:
    """What the functions look at of a detection model: a part with layers.

    A 1x1 convolution, batch norm, ReLU, a second convolution and batch norm; channels 3, 5, 4.
    """

    def __init__(self, frozen=(None, None)):
        from object_detection.core.freezable_batch_norm import FreezableBatchNorm

        tf.keras.utils.set_random_seed(1)
        self.first, self.second = (FreezableBatchNorm(training=t, momentum=0.9, epsilon=1e-3) for t in frozen)
        layers = [
            tf.keras.layers.Conv2D(5, 1),
            self.first,
            tf.keras.layers.ReLU(),
            tf.keras.layers.Conv2D(4, 1),
            self.second,
        ]
        self.network = tf.keras.Sequential(layers)
        self.network(tf.zeros([1, 4, 4, 3]))

    def __call__(self, images):
        return self.network(images)


@pytest.fixture(autouse=True)
def inference_mode():
    yield
    detection_model.set_training(False)


def some_batches(count=3, size=6, seed=0):
    """[(size, 8, 7, 3)]: batches that differ in mean and spread."""
    draw = np.random.default_rng(seed)
    return [np.float32(draw.normal(i - 1, 1 + i, (size, 8, 7, 3))) for i in range(count)]


def conv(layer, images):
    """A 1x1 convolution by numpy."""
    return images @ layer.kernel.numpy()[0, 0] + layer.bias.numpy()


def pooled(batches):
    """Mean and variance per channel of all pixels of all batches."""
    pixels = np.concatenate([batch.reshape(-1, batch.shape[-1]) for batch in batches]).astype(np.float64)
    return pixels.mean(axis=0), pixels.var(axis=0)


def test_reestimated_statistics_are_those_of_the_batches():
    model, batches = SmallModel(), some_batches()
    assert batch_norm.reestimate(model, map(tf.constant, batches), model) == 2
    first = [conv(model.network.layers[0], batch) for batch in batches]
    mean, variance = pooled(first)
    # TensorFlow's fused batch norm keeps the unbiased variance of a batch: n / (n - 1), here 1.003
    assert model.first.moving_mean.numpy() == pytest.approx(mean, rel=1e-3, abs=1e-4)
    assert model.first.moving_variance.numpy() == pytest.approx(variance, rel=4e-3)

    # the second layer is measured behind a first one that normalises by the batch, as in training
    def normalised(batch):
        axes = (0, 1, 2)
        return np.maximum((batch - batch.mean(axes)) / np.sqrt(batch.var(axes) + 1e-3), 0)

    mean, variance = pooled([conv(model.network.layers[3], normalised(batch)) for batch in first])
    assert model.second.moving_mean.numpy() == pytest.approx(mean, rel=1e-3, abs=1e-3)
    assert model.second.moving_variance.numpy() == pytest.approx(variance, rel=5e-3)

    # nothing else is changed
    assert model.first.momentum == model.second.momentum == 0.9
    assert np.all(model.first.gamma == 1) and np.all(model.first.beta == 0)
    assert not tf.keras.backend.learning_phase()


def test_batches_of_several_shapes():
    model = SmallModel()
    batches = [some_batches(1, seed=0)[0], some_batches(1, seed=1)[0][:, :5, :3]]
    batch_norm.reestimate(model, map(tf.constant, batches), model)
    means = [conv(model.network.layers[0], batch).mean((0, 1, 2)) for batch in batches]
    assert model.first.moving_mean.numpy() == pytest.approx(np.mean(means, axis=0), rel=1e-3, abs=1e-4)


def test_a_function_that_is_traced_once_measures_each_time():
    model, batches = SmallModel(), some_batches()
    measure = tf.function(lambda batch: model(batch), reduce_retracing=True, autograph=False)
    batch_norm.reestimate(model, map(tf.constant, batches), measure)
    model.network.layers[0].kernel.assign(2 * model.network.layers[0].kernel)
    batch_norm.reestimate(model, map(tf.constant, batches), measure)
    mean, variance = pooled([conv(model.network.layers[0], batch) for batch in batches])
    assert model.first.moving_mean.numpy() == pytest.approx(mean, rel=1e-3, abs=1e-4)
    assert model.first.moving_variance.numpy() == pytest.approx(variance, rel=4e-3)
    assert measure.experimental_get_tracing_count() == 1


def test_a_frozen_layer_keeps_its_statistics():
    model = SmallModel(frozen=(False, None))
    assert batch_norm.reestimate(model, map(tf.constant, some_batches()), model) == 1
    assert np.all(model.first.moving_mean == 0) and np.all(model.first.moving_variance == 1)
    assert np.all(model.second.moving_mean != 0)


def test_where_all_is_frozen_no_batch_is_taken():
    model = SmallModel(frozen=(False, False))

    def refused():
        pytest.fail("a batch was taken")
        yield

    assert batch_norm.reestimate(model, refused(), model) == 0


def test_an_interrupted_measurement_leaves_no_trace():
    model = SmallModel()

    def torn():
        yield tf.constant(some_batches()[0])
        raise OSError("gone")

    with pytest.raises(OSError):
        batch_norm.reestimate(model, torn(), model)
    assert model.first.momentum == 0.9
    assert not tf.keras.backend.learning_phase()


def test_calibration_gives_statistics_and_keeps_the_function():
    model, batches = SmallModel(), some_batches()
    draw = np.random.default_rng(3)
    for layer in (model.first, model.second):  # as folded: mean 0, variance 1, the rest in gamma and beta
        layer.gamma.assign(draw.uniform(0.5, 2, layer.gamma.shape))
        layer.beta.assign(draw.normal(0, 1, layer.beta.shape))
    before = [model(tf.constant(batch)).numpy() for batch in batches]
    behind_first = [np.maximum(model.first(conv(model.network.layers[0], batch)).numpy(), 0) for batch in batches]

    batch_norm.calibrate(model, [model.first, model.second], map(tf.constant, batches), model)

    mean, variance = pooled([conv(model.network.layers[0], batch) for batch in batches])
    assert model.first.moving_mean.numpy() == pytest.approx(mean, rel=1e-3, abs=1e-4)
    assert model.first.moving_variance.numpy() == pytest.approx(variance, rel=1e-3)
    mean, variance = pooled([conv(model.network.layers[3], batch) for batch in behind_first])
    assert model.second.moving_mean.numpy() == pytest.approx(mean, rel=1e-3, abs=1e-4)
    assert model.second.moving_variance.numpy() == pytest.approx(variance, rel=1e-3)
    for batch, output in zip(batches, before, strict=True):
        assert model(tf.constant(batch)).numpy() == pytest.approx(output, abs=1e-4)
    # with statistics of its own, training mode now means nearly the same as inference mode
    detection_model.set_training(True)
    everything = np.concatenate(batches)
    assert model(tf.constant(everything)).numpy() == pytest.approx(np.concatenate(before), abs=1e-3)


def test_calibration_of_a_dead_channel():
    """A channel that never varies: its output stays, and no statistic becomes zero."""
    model = SmallModel()
    kernel = model.network.layers[0].kernel
    kernel.assign(kernel * [1, 1, 0, 1, 1])
    batches = some_batches()
    before = model(tf.constant(batches[0])).numpy()
    batch_norm.calibrate(model, [model.first], map(tf.constant, batches), model)
    assert model.first.moving_variance.numpy()[2] == pytest.approx(1e-6)
    assert model(tf.constant(batches[0])).numpy() == pytest.approx(before, abs=1e-4)


def test_after_reestimation_training_and_inference_agree_in_loss(face_model, record, label_map, training_batches):
    """The OD API's SSDLite, fresh: its moving statistics (0 and 1) are wrong by far.

    Its predictors are made strong, so that the loss depends on what the network sees.
    """
    for variable in face_model.variables:
        if variable.name.endswith("Predictor/kernel:0"):
            variable.assign(variable * 30)
    config = pipeline.complete(
        pipeline.load("ssdlite_mobilenet_v2_320_face"),
        records=[record([[64, 96, 194, 256], [400, 200, 520, 350]], copies=8)],
        label_map=label_map,
        batch_size=4,
    )
    batches = training_batches(config, face_model, 1)

    def loss(training):
        detection_model.set_training(training)
        return np.mean([detection_model.losses(face_model, *batch, regularized=False)["total"] for batch in batches])

    before = loss(training=False)
    images = [(features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features, _ in batches]
    assert batch_norm.reestimate(face_model, images, lambda batch: face_model.predict(*batch)) == 76
    inference = loss(training=False)
    training = loss(training=True)
    assert inference == pytest.approx(training, rel=0.1)
    assert abs(before - training) > 3 * abs(inference - training)
