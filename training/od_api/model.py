"""The detection model of a pipeline config: built, trained and asked through the OD API's own code."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf
from object_detection import model_lib, model_lib_v2
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import DetectionResultFields

from training.od_api.pipeline import num_classes

_CLASS_HEAD = re.compile(r"ClassPredictor/((pointwise_)?kernel|bias):0$")  # in one-stage models


def build(pipeline, *, training: bool) -> DetectionModel:
    """Builds the model with all of its variables, at their initial values.

    Args:
        pipeline: a TrainEvalPipelineConfig.
        training: whether batch norm uses and updates the statistics of the batch (where the config lets it train).
    """
    set_training(training)
    model = model_builder.build(pipeline.model, is_training=training)
    # The OD API makes the variables at the first prediction. The size of the image doesn't matter: it gets resized.
    images, true_shapes = model.preprocess(tf.zeros([1, 320, 320, 3]))
    model.provide_groundtruth(  # only a two-stage model in training asks for it, to sample its proposals
        groundtruth_boxes_list=[tf.constant([[0.25, 0.25, 0.75, 0.75]])],
        groundtruth_classes_list=[tf.one_hot([0], num_classes(pipeline))],
        groundtruth_weights_list=[tf.constant([1.0])],
    )
    model.predict(images, true_shapes)
    return model


def set_training(training: bool) -> None:
    """Switches Keras between training and inference mode for the functions traced from here on.

    The OD API's layers read the global learning phase; without it batch norm runs in inference mode in training too.
    """
    tf.keras.backend.set_learning_phase(training)


def losses(model: DetectionModel, features: Mapping, labels: Mapping, *, regularized: bool = True) -> dict:
    """The losses of a batch of `inputs.training_batches`, by short name, with their sum under `total`."""
    labels = model_lib.unstack_batch(labels, unpad_groundtruth_tensors=True)
    by_name, _ = model_lib_v2._compute_losses_and_predictions_dicts(
        model, features, labels, training_step=0, add_regularization_loss=regularized
    )
    return {name.removeprefix("Loss/").removesuffix("_loss"): tf.cast(v, tf.float32) for name, v in by_name.items()}


def detect(model: DetectionModel, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The faces in one image, as the exported graphs find them.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        yxyx boxes (N, 4) in 0..1 of the image, and their scores (N,).
    """
    images, true_shapes = model.preprocess(tf.cast(image, tf.float32)[None])
    found = model.postprocess(model.predict(images, true_shapes), true_shapes)
    count = tf.cast(found[DetectionResultFields.num_detections][0], tf.int32)
    return (
        found[DetectionResultFields.detection_boxes][0, :count],
        found[DetectionResultFields.detection_scores][0, :count],
    )


def batch_norm_layers(model: DetectionModel) -> list[tf.keras.layers.Layer]:
    """Every batch norm layer. They are of the OD API's own class, which isn't one of tf.keras.layers."""
    layers: dict[int, tf.keras.layers.Layer] = {}
    for part in vars(model).values():
        for module in getattr(part, "submodules", ()):
            if "BatchNorm" in type(module).__name__:
                layers[id(module)] = module
    return list(layers.values())


def trained_batch_norm_layers(model: DetectionModel) -> list[tf.keras.layers.Layer]:
    """Those of `batch_norm_layers` that normalise by the batch in training: the config doesn't freeze them."""
    return [layer for layer in batch_norm_layers(model) if layer._training is not False and layer.trainable]


def set_batch_norm_training(layer: tf.keras.layers.Layer, training: bool) -> None:
    """Whether a layer of `trained_batch_norm_layers` follows the learning phase, or keeps to inference in training."""
    layer._training = None if training else False


def raw_detections(model: DetectionModel, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a one-stage, one-class model says before non-maximum suppression.

    Args:
        images: (1, H, W, 3) float32, preprocessed, of the size that the config asks for.

    Returns:
        yxyx boxes (1, anchors, 4) in 0..1 of the input, decoded and not clipped, and their scores (1, anchors).
    """
    shapes = tf.constant([images.shape[1:].as_list()])
    found = model.postprocess(model.predict(images, shapes), shapes)
    boxes = found[DetectionResultFields.raw_detection_boxes]
    return boxes, found[DetectionResultFields.raw_detection_scores][..., 1]  # column 0 is the background


def raw_encodings(model: DetectionModel, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What the network of a one-stage, one-class model says of its anchors, before boxes and scores are made of it.

    Args:
        images: (1, H, W, 3) float32, preprocessed, of the size that the config asks for.

    Returns:
        encodings of y, x, height, width (1, anchors, 4), as the config's box coder scales them; logits (1, anchors) of
        a face: their sigmoid is the score.
    """
    found = model.predict(images, tf.constant([images.shape[1:].as_list()]))
    logits = found["class_predictions_with_background"][..., 1]  # column 0 is the background
    return tf.reshape(found["box_encodings"], [1, -1, 4]), logits


@contextmanager
def without_background(model: DetectionModel) -> Iterator[None]:
    """While it is open, a one-class model's logits of the background are 0; those of a face are as ever.

    With sigmoid scores nobody reads the background's, and they reach far lower than a face's: where all of a layer's
    outputs share 256 steps, they take half of them.
    """
    heads = [variable for variable in model.variables if _CLASS_HEAD.search(variable.name)]
    before = [variable.numpy() for variable in heads]
    try:
        for variable, value in zip(heads, before, strict=True):
            faces = value.copy()
            faces[..., ::2] = 0  # of each anchor the background comes first
            variable.assign(faces)
        yield
    finally:
        for variable, value in zip(heads, before, strict=True):
            variable.assign(value)


def normalise(model: DetectionModel, values: tf.Tensor) -> list[float]:
    """What the model's preprocessing makes of pixel values 0..255, (N,) float32."""
    images = tf.tile(tf.reshape(values, [-1, 1, 1, 1]), [1, 1, 1, 3])
    return [float(value) for value in model._feature_extractor.preprocess(images)[:, 0, 0, 0]]
