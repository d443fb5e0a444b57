"""The exported step against TensorFlow's on the same batches, and what cannot be exported."""

from pathlib import Path

import numpy as np
import pytest

from tests.training import tiny_detector
from training import step_file

pytestmark = pytest.mark.filterwarnings("ignore")

NO_DROPOUT = "model.ssd.box_predictor.convolutional_box_predictor.use_dropout=false"
STEPS = 20
BOXES = 12


@pytest.fixture(scope="module", autouse=True)
def tiny():
    tiny_detector.register()


@pytest.fixture
def tiny_config(tmp_path) -> Path:
    path = tmp_path / "tiny.config"
    path.write_text(tiny_detector.CONFIG)
    return path


def batches(count: int, batch_size: int, side: int) -> list[dict]:
    """Batches of noise with faces that are bright rectangles: 0 to 9 in an image, some of them without weight."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        images = random.integers(0, 160, (batch_size, side, side, 3)).astype(np.float32)
        boxes = np.zeros((batch_size, BOXES, 4), np.float32)
        weights = np.zeros((batch_size, BOXES), np.float32)
        counts = random.integers(0, 10, batch_size)
        for image, box, weight, faces in zip(images, boxes, weights, counts, strict=True):
            first = random.uniform(0, 0.7, (faces, 2))
            box[:faces] = np.concatenate([first, first + random.uniform(0.1, 0.3, (faces, 2))], 1)
            weight[:faces] = random.random(faces) < 0.8
            for y_min, x_min, y_max, x_max in np.rint(box[:faces] * side).astype(int):
                image[y_min:y_max, x_min:x_max] += 90
        made.append({"images": images, "boxes": boxes, "weights": weights, "counts": counts})
    return made


def of_tensorflow(config, model, given: list[dict]) -> tuple[list[dict], dict, dict]:
    """The losses of each of TensorFlow's steps, and the variables and averages behind the last, by name."""
    import tensorflow as tf

    from training.od_api import inputs, optimizer
    from training.od_api import model as detection_model
    from training.steps import Averages, Trained, TrainStep

    detection_model.set_training(True)
    side = given[0]["images"].shape[1]
    size = len(given[0]["images"])

    def batch(one):
        features = {
            inputs.IMAGE: model._feature_extractor.preprocess(tf.constant(one["images"])),
            inputs.TRUE_SHAPE: tf.constant([[side, side, 3]] * size, tf.int32),
        }
        classes = np.arange(BOXES) < one["counts"][:, None]
        labels = {
            inputs.BOXES: tf.constant(one["boxes"]),
            inputs.CLASSES: tf.constant(classes[..., None], tf.float32),
            inputs.WEIGHTS: tf.constant(one["weights"]),
            inputs.COUNTS: tf.constant(one["counts"], tf.int32),
        }
        return features, labels

    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    optimise, _ = optimizer.build(config, step, model.trainable_variables)
    averages = Averages(model.trainable_variables, optimizer.average_decay(config))
    train_step = TrainStep(
        tf.distribute.get_strategy(),
        Trained(model, model.trainable_variables, optimise, averages, step),
        tf.nest.map_structure(tf.TensorSpec.from_tensor, batch(given[0])),
        batch_size=size,
        clip=config.train_config.gradient_clipping_by_norm,
        accumulate=1,
        seed=0,
    )
    losses = [train_step(iter([batch(one)])) for one in given]
    names = [variable.name.removesuffix(":0") for variable in averages.variables]
    return (
        losses,
        {variable.name.removesuffix(":0"): variable.numpy() for variable in model.variables},
        {name: value.numpy() for name, value in zip(names, averages.values, strict=True)},
    )


def of_the_export(contents: step_file.StepFile, given: list[dict]) -> tuple[list[dict], dict]:
    """The losses of each step of the file, and the state behind the last."""
    import jax

    step = jax.jit(jax.export.deserialize(bytearray(contents.step)).call)
    schedule = np.array(contents.description.schedule(None), np.float32)
    state, losses = contents.state, []
    for one in given:
        classes = (np.arange(BOXES) < one["counts"][:, None]).astype(np.float32)[..., None]
        state, made = step(state, schedule, one["images"], one["boxes"], classes, one["weights"])
        losses.append({name: float(value) for name, value in made.items()})
    return losses, jax.tree.map(np.asarray, state)


def largest_difference(some: dict, others: dict) -> float:
    """Of the norm of each array, the largest over all."""
    assert some.keys() == others.keys()
    return max(
        float(np.linalg.norm(some[name] - others[name]) / max(np.linalg.norm(others[name]), 1e-3)) for name in some
    )


@pytest.mark.slow
def test_twenty_steps_are_those_of_tensorflow(tiny_config):
    """The proof: losses to 1e-4 of them, weights, batch norm and averages to 1e-3 of their norm."""
    compare(tiny_config, [NO_DROPOUT], batch_size=3, side=64, steps=STEPS)


def compare(pipeline_path, changes, batch_size, side, steps):
    import tensorflow as tf

    from training import export_step
    from training.od_api import model as detection_model
    from training.od_api import pipeline

    config = pipeline.complete(
        pipeline.load(pipeline_path, changes), records=[], label_map="", steps=steps, batch_size=batch_size
    )
    tf.keras.utils.set_random_seed(0)
    model = detection_model.build(config, training=True)
    contents = export_step.exported(config, model, platforms=["cpu"], boxes=BOXES)
    given = batches(steps, batch_size, side)
    losses, state = of_the_export(contents, given)
    expected, variables, averages = of_tensorflow(config, model, given)
    for number, (found, true) in enumerate(zip(losses, expected, strict=True)):
        print(number, {n: (found[n], true[n]) for n in true})
    print(largest_difference(state["variables"], variables), largest_difference(state["averages"], averages))
