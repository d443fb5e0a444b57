"""The OD API's own TF1 graph of a model, as the oracle for what its TF2 Keras model computes from the same checkpoint.

    python -m tests.training.tf1_oracle pipeline.config image.npy folder

Builds the slim graph of the config with random weights, saves them as folder/model.ckpt, and what the graph says of the
image as folder/outputs.npz. folder/averaged.ckpt holds other values under the plain names, and the same weights as
their moving averages. A process of its own, because the OD API chooses between TF1 and TF2 when it is loaded.
"""

import importlib.abc
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

OUTPUTS = (
    "box_encodings",  # of a one-stage model
    "rpn_box_encodings",  # of a two-stage model
    "rpn_objectness_predictions_with_background",
    "proposal_boxes",
    "refined_box_encodings",
    "class_predictions_with_background",  # of both
    "detection_boxes",
    "detection_scores",
)


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads `name` and all below it from where it is now; without `target`, as modules in which every name is a class.

    Why TF1 mode needs it: the slim models import `nets`, which lies in the OD API here; some import what
    tensorflow.contrib had; and tf.compat.v1.layers looks for tf_keras.legacy_tf_layers, which moved into tf_keras.src.
    """

    def __init__(self, name: str, target: str | None = None):
        self.name, self.target = name, target

    def find_spec(self, name, path, target=None):
        if name == self.name or name.startswith(f"{self.name}."):
            return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec):
        return importlib.import_module(self.target + spec.name.removeprefix(self.name)) if self.target else None

    def exec_module(self, module: ModuleType) -> None:
        if not self.target:
            module.__getattr__ = absent


def absent(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def random_value(name: str, shape: list[int], random: np.random.Generator) -> np.ndarray:
    """A value that keeps what flows through a deep network within bounds."""
    leaf = name.rpartition("/")[2]
    if leaf in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape)
    if leaf in ("beta", "biases", "moving_mean"):
        return random.normal(0, 0.1, shape)
    inputs = np.prod(shape[:2] if leaf == "depthwise_weights" else shape[:-1])
    return random.normal(0, np.sqrt(2 / inputs), shape)


def main(config: str, image: str, folder: str) -> None:
    import training.od_api  # noqa: F401  the shims that TF1 mode needs, too

    sys.meta_path[:0] = [
        Alias("nets", "object_detection.nets"),
        Alias("tensorflow.contrib"),
        Alias("tf_keras.legacy_tf_layers", "tf_keras.src.legacy_tf_layers"),
    ]
    from object_detection.utils import tf_version

    tf_version.is_tf1, tf_version.is_tf2 = lambda: True, lambda: False
    import tensorflow.compat.v1 as tf
    from object_detection.builders import model_builder

    from training import restore
    from training.od_api import pipeline

    model = model_builder.build(pipeline.load(config).model, is_training=False)
    with tf.Graph().as_default() as graph:
        images, true_shapes = model.preprocess(tf.constant(np.load(image), tf.float32)[None])
        predicted = model.predict(images, true_shapes)
        found = {**predicted, **model.postprocess(predicted, true_shapes)}
        shapes = {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}
        trained = [variable.op.name for variable in tf.trainable_variables()]
        saver = tf.train.Saver()
    random = np.random.default_rng(0)
    values = {name: np.float32(random_value(name, shape, random)) for name, shape in shapes.items()}
    checkpoint = str(Path(folder, "model.ckpt"))
    restore.save_tf1(values, checkpoint)
    with tf.Session(graph=graph) as session:
        saver.restore(session, checkpoint)
        np.savez(Path(folder, "outputs.npz"), **session.run({name: found[name] for name in OUTPUTS if name in found}))
    raw = {name: values[name] + np.float32(1) for name in trained}
    averages = {f"{name}/ExponentialMovingAverage": values[name] for name in trained}
    restore.save_tf1({**values, **raw, **averages}, Path(folder, "averaged.ckpt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
