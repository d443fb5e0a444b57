"""Training and inference mode: switched for a while, and detection between the steps of training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import DetectionResultFields

from detect_faces.preprocessing import letterbox_size
from detect_faces.resizing import resize_by_means
from training.od_api.model import set_training


@contextmanager
def mode(training: bool) -> Iterator[None]:
    """Keras in training or inference mode; behind the block it is in the mode that it was in before."""
    before = tf.keras.backend.learning_phase()
    set_training(training)
    try:
        yield
    finally:
        set_training(before)


@contextmanager
def _built_for_inference(model: DetectionModel) -> Iterator[None]:
    """A model built for training behaves as one that wasn't: a two-stage one proposes boxes without the true ones."""
    before = model._is_training
    model._is_training = False
    try:
        yield
    finally:
        model._is_training = before


class BatchDetector:
    """Finds faces with a model, several images at once, with the weights that it has at the time.

    Attributes:
        batch_size: images that go through the network at once; 1 where the resizer gives them different sizes.
    """

    def __init__(self, model: DetectionModel, batch_size: int = 4, *, by_means: bool = False):
        """Traces the model, which may be one that is being trained; nothing of it is changed.

        With `by_means`, and where the input has one size, images are brought to it by means, so that the model's own
        resizing finds nothing left to do. (See trainer_settings.by_means.)

        On 2 cores, with images decoded beside it, SSDLite takes the same time with 1, 4 and 8 images at once.
        """
        self._model = model

        def prepare(image):
            return model.preprocess(tf.cast(image, tf.float32)[None])

        def detect(images, true_shapes):
            found = model.postprocess(model.predict(images, true_shapes), true_shapes)
            fields = DetectionResultFields
            return [found[name] for name in (fields.detection_boxes, fields.detection_scores, fields.num_detections)]

        with mode(training=False), _built_for_inference(model):
            image = tf.TensorSpec([None, None, 3], tf.uint8)
            self._prepare = tf.function(prepare, input_signature=[image], autograph=False)
            shape = self._prepare.get_concrete_function().output_shapes[0]  # (1, H, W, 3)
            self.batch_size = batch_size if shape.is_fully_defined() else 1
            self._by_means = by_means and shape.is_fully_defined()
            if self._by_means:
                self._height, self._width = shape[1:3]
                # The model is asked what it makes of a high, narrow image.
                _, ((_, shown, _),) = self._prepare(np.zeros((2 * self._height, self._width, 3), np.uint8))
                self._letterbox = int(shown) < self._width
            images = tf.TensorSpec([None, *shape[1:]], tf.float32)
            shapes = tf.TensorSpec([None, 3], tf.int32)
            self._detect = tf.function(detect, input_signature=[images, shapes], autograph=False)
            self._detect.get_concrete_function()

    def prepare(self, image_rgb: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """An image, (H, W, 3) uint8 RGB, as the model takes it: (1, h, w, 3) float32, (1, 3) int32 without padding."""
        if self._by_means:
            size = self._width, self._height
            if self._letterbox:
                size = letterbox_size(image_rgb.shape[1], image_rgb.shape[0], *size)
            image_rgb = resize_by_means(image_rgb, *size)
        return self._prepare(image_rgb)

    def detect(self, prepared: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The faces in up to `batch_size` images: of each yxyx boxes (N, 4) in 0..1 of the image, and scores (N,)."""
        images, true_shapes = zip(*prepared, strict=True)
        boxes, scores, counts = (
            values.numpy() for values in self._detect(tf.concat(images, 0), tf.concat(true_shapes, 0))
        )
        return [(boxes[i, :n], scores[i, :n]) for i, n in enumerate(counts.astype(int))]
