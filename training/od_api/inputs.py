"""Training batches: the OD API's own decoder and augmentation, each batch a function of seed and step.

Crops around faces, and the changes of colour of what they show, are done in OpenCV.
"""

import copy
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from unittest import mock

import tensorflow as tf
from object_detection import inputs
from object_detection.builders import decoder_builder
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import config_util

from detect_faces.errors import UserError
from detect_faces.resizing import resize_part
from training import augmentation, image_colours
from training.examples import Examples, example_at, positions
from training.face_crop import DRAWS, GREY, FaceCrop
from training.od_api import stateless_random
from training.od_api.trainer_settings import settings

IMAGE = Fields.image  # (batch, H, W, 3) float32, preprocessed
TRUE_SHAPE = Fields.true_image_shape  # (batch, 3) int32, without the padding
BOXES = Fields.groundtruth_boxes  # (batch, max boxes, 4) float32 yxyx in 0..1 of the input, padded with zeros
CLASSES = Fields.groundtruth_classes  # (batch, max boxes, classes) float32
WEIGHTS = Fields.groundtruth_weights  # (batch, max boxes) float32
COUNTS = Fields.num_groundtruth_boxes  # (batch,) int32

PREFETCHED = 2  # batches

# Of each box, what no loss asks for and is no longer so, or no longer there, after a crop.
_OF_WHOLE_IMAGES = (
    Fields.groundtruth_area,
    Fields.groundtruth_is_crowd,
    Fields.groundtruth_difficult,
    Fields.groundtruth_group_of,
)


def training_batches(
    pipeline,
    model,
    examples: Examples,
    *,
    seed: int,
    batch_size: int,
    step: int = 0,
    accumulate: int = 1,
    replicas: range = range(1),
    all_replicas: int = 1,
) -> tf.data.Dataset:
    """An endless data set of (features, labels), batched and padded as the OD API's losses take them.

    Args:
        pipeline: the TrainEvalPipelineConfig.
        model: whose preprocessing is applied.
        examples: what to train on.
        seed: decides the order of the examples and their augmentation.
        batch_size: of all replicas together.
        step: the first one.
        accumulate: batches of a step.
        replicas: those to make batches for, in turn; each gets its share of every batch.
        all_replicas: how many there are, those of other machines included.
    """

    def numbered() -> Iterator[tuple[int, int]]:
        """(position in the run, number of the example)."""
        batch = step * accumulate
        while True:
            for replica in replicas:
                for position in positions(batch, batch_size, replica, all_replicas):
                    yield position, example_at(position, len(examples), seed)
            batch += 1

    signature = (tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64))
    load = _loader(pipeline, model, examples, seed)
    return (
        tf.data.Dataset.from_generator(numbered, output_signature=signature)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size // all_replicas, drop_remainder=True)
        .prefetch(PREFETCHED)
        # Otherwise several workers ask each other before each batch whether all of them have one.
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    )


def _loader(pipeline, model, examples: Examples, seed: int):
    """A function from (position, number) of an example to its features and labels."""
    decode = decoder_builder.build(pipeline.train_input_reader).decode
    chosen = settings(pipeline)
    crop, preprocess = None, model.preprocess
    if chosen.HasField("face_crop"):
        crop, preprocess = FaceCrop(**augmentation.fields(chosen.face_crop)), _normalising(model)
        pipeline = copy.deepcopy(pipeline)
        colours = _taken_colours(pipeline)
    transform = _transform(pipeline, preprocess)
    input_size = _input_size(pipeline)
    if crop and not input_size:
        raise UserError("trainer.face_crop needs an image_resizer that gives one fixed size")

    def read(number):
        try:
            return examples.read(int(number))
        except UserError as error:
            raise ValueError(str(error)) from error

    @tf.autograph.experimental.do_not_convert  # the OD API is written for graphs; converting all of it takes long
    def load(position, number):
        data = tf.numpy_function(read, [number], tf.string, stateful=False)
        data.set_shape([])
        tensors = decode(data)
        own = tf.stack([tf.cast(seed, tf.int64), position])
        if crop:
            tensors = _crop(tensors, crop, colours, input_size, tf.random.experimental.stateless_fold_in(own, 1))
        with stateless_random.seeded(tf.random.experimental.stateless_fold_in(own, 2)):
            features, labels = transform(tensors)
        return features, _ignore_tiny_faces(features, labels, chosen.smallest_face)

    return load


def _taken_colours(pipeline) -> list[dict]:
    """Takes changes of colour out of a config, for `training.image_colours` to do.

    Those behind another change than a flip stay: what they see depends on it.
    """
    options = pipeline.train_config.data_augmentation_options
    taken, left = [], []
    for option in options:
        change = augmentation.described(option)
        first = all(one.HasField(augmentation.FLIP) for one in left)
        if first and change["name"] in augmentation.COLOURS:
            taken.append(change)
        else:
            left.append(option)
    del options[:]
    options.extend(left)
    return taken


def _normalising(model):
    """Of a model's preprocessing, what is left to do for images that have its input's size already."""

    def preprocess(images):
        shapes = tf.tile(tf.shape(images)[None, 1:], [tf.shape(images)[0], 1])
        return model._feature_extractor.preprocess(images), shapes

    return preprocess


def _transform(pipeline, preprocess):
    """The OD API's augmentation and padding of one decoded example, as its train_input puts them together.

    With `preprocess` in between: from images (1, H, W, 3) to those that the model takes, and their shapes (1, 3).
    """
    taken = []

    def take(*_, transform_input_data_fn, **__):
        taken.append(transform_input_data_fn)

    with mock.patch.dict(inputs.INPUT_BUILDER_UTIL_MAP, dataset_build=take):
        inputs.train_input(
            pipeline.train_config, pipeline.train_input_reader, pipeline.model, SimpleNamespace(preprocess=preprocess)
        )
    return taken[0]


def _input_size(pipeline) -> tuple[int, int] | None:
    """(height, width) of the model's input; None where it differs from image to image."""
    size = config_util.get_spatial_image_size(config_util.get_image_resizer_config(pipeline.model))
    return tuple(size) if all(side is not None and side > 0 for side in size) else None


def _crop(tensors: dict, crop: FaceCrop, colours: Sequence[dict], input_size: tuple[int, int], seed: tf.Tensor) -> dict:
    given = tensors[IMAGE], tensors[BOXES], tensors[WEIGHTS]
    image, kept, boxes, weights = cropped(crop, *given, input_size, seed, colours)
    classes = tf.gather(tensors[CLASSES], kept)
    rest = {name: value for name, value in tensors.items() if name not in _OF_WHOLE_IMAGES}
    return {**rest, IMAGE: image, BOXES: boxes, CLASSES: classes, WEIGHTS: weights}


def cropped(
    crop: FaceCrop,
    image: tf.Tensor,
    boxes: tf.Tensor,
    weights: tf.Tensor,
    input_size: tuple[int, int],
    seed: tf.Tensor,
    colours: Sequence[dict] = (),
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The part of an image that a FaceCrop draws, and the faces in it.

    Args:
        crop: how it is drawn.
        image: (H, W, 3) uint8.
        boxes: (N, 4) float32 yxyx in 0..1.
        weights: (N,) float32; 0 for a face that does not count.
        input_size: (height, width) of the model's input.
        seed: (2,) integers that decide all.
        colours: changes of colour, as `training.augmentation` describes them; how much, is drawn, too.

    Returns:
        the crop (height, width, 3) float32 in 0..255, of the input's size; which of the N boxes are in it, (K,) int32;
        their coordinates in the crop (K, 4) yxyx, cut to it; their weights (K,).
    """

    def make(image, boxes, weights, draws):
        found = crop.place(image.shape[:2], boxes, weights, input_size, draws[:DRAWS])
        # Resized here already: the OD API would do so after it has changed colours, in all pixels of the larger image.
        pixels = resize_part(image, found.offset, found.extent, input_size, GREY)
        amounts = map(augmentation.amount, colours, draws[DRAWS:].tolist())
        return image_colours.apply(colours, pixels, list(amounts)), found.kept, found.boxes, found.weights

    draws = tf.random.stateless_uniform([DRAWS + len(colours)], seed)
    types = [tf.float32, tf.int32, tf.float32, tf.float32]
    found = tf.numpy_function(make, [image, boxes, weights, draws], types, stateful=False)
    for tensor, shape in zip(found, ([*input_size, 3], [None], [None, 4], [None]), strict=True):
        tensor.set_shape(shape)
    return tuple(found)


def _ignore_tiny_faces(features: dict, labels: dict, smallest: float) -> dict:
    """Labels that give weight 0 to boxes of one image below `smallest` pixels, square root of the area.

    The anchors matched to them train nothing. (Anchors that overlap them too little to be matched still count as
    background.)
    """
    height, width = tf.unstack(tf.cast(tf.shape(features[IMAGE])[:2], tf.float32))
    boxes = labels[BOXES]
    areas = (boxes[..., 2] - boxes[..., 0]) * height * (boxes[..., 3] - boxes[..., 1]) * width
    return {**labels, WEIGHTS: labels[WEIGHTS] * tf.cast(areas >= smallest**2, tf.float32)}


def drawn(features: dict, labels: dict) -> tf.Tensor:
    """The images of a batch as the model gets them, with their boxes: (batch, H, W, 3) float32 in 0..1.

    Boxes that count are green, those of weight 0 red.
    """
    images = tf.cast(features[IMAGE], tf.float32)
    low, high = tf.minimum(tf.reduce_min(images), -1.0), tf.maximum(tf.reduce_max(images), 1.0)
    images = (images - low) / (high - low)  # -1 to 1 with MobileNet; some extractors subtract means of channels
    boxes, counts = labels[BOXES], labels[WEIGHTS][..., None] > 0
    for chosen, colour in ((counts, [0.0, 1.0, 0.0]), (~counts, [1.0, 0.0, 0.0])):
        images = tf.image.draw_bounding_boxes(images, tf.where(chosen, boxes, 0.0), [colour])
    return images
