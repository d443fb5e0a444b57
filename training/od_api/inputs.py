"""Training batches: the OD API's own reader, augmentation and resizing, as the pipeline config says."""

import tensorflow as tf
from object_detection import inputs
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.protos.input_reader_pb2 import InputReader

IMAGE = Fields.image  # (batch, H, W, 3) float32, preprocessed
TRUE_SHAPE = Fields.true_image_shape  # (batch, 3) int32, without the padding

# Faces smaller than this at the model's input get weight 0, whatever the pipeline: the anchors matched to them train
# nothing. (Anchors that overlap them too little to be matched still count as background.)
SMALLEST_FACE = 8.0  # pixels, square root of the area


def training_batches(pipeline, model, *, seed: int) -> tf.data.Dataset:
    """An endless data set of (features, labels), batched and padded as the OD API's losses take them."""
    tf.random.set_seed(seed)
    reader = InputReader()
    reader.CopyFrom(pipeline.train_input_reader)
    if not reader.HasField("num_parallel_batches"):
        # So many batches of decoded float photographs are held at a time; the OD API's own 8 are gigabytes.
        reader.num_parallel_batches = 1
    batches = inputs.train_input(pipeline.train_config, reader, pipeline.model, model)
    return batches.map(_ignore_tiny_faces).prefetch(2)


def _ignore_tiny_faces(features: dict, labels: dict) -> tuple[dict, dict]:
    """Gives weight 0 to boxes below SMALLEST_FACE."""
    height, width = tf.unstack(tf.cast(tf.shape(features[Fields.image])[1:3], tf.float32))
    boxes = labels[Fields.groundtruth_boxes]  # (batch, max boxes, 4) yxyx in 0..1
    areas = (boxes[..., 2] - boxes[..., 0]) * height * (boxes[..., 3] - boxes[..., 1]) * width
    large_enough = tf.cast(areas >= SMALLEST_FACE**2, tf.float32)
    return features, {**labels, Fields.groundtruth_weights: labels[Fields.groundtruth_weights] * large_enough}


def drawn(features: dict, labels: dict) -> tf.Tensor:
    """The images of a batch as the model gets them, with their boxes: (batch, H, W, 3) float32 in 0..1.

    Boxes that count are green, those of weight 0 red.
    """
    images = tf.clip_by_value(features[Fields.image] / 2 + 0.5, 0, 1)
    boxes, counts = labels[Fields.groundtruth_boxes], labels[Fields.groundtruth_weights][..., None] > 0
    for chosen, colour in ((counts, [0.0, 1.0, 0.0]), (~counts, [1.0, 0.0, 0.0])):
        images = tf.image.draw_bounding_boxes(images, tf.where(chosen, boxes, 0.0), [colour])
    return images
