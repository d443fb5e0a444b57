"""A TFLite model with float16 weights, from a one-stage model: the network and its box decoding, without suppression.

Non-maximum suppression stays outside, so that whoever runs the model chooses its thresholds and the number of boxes.
"""

import tempfile

import tensorflow as tf

from training.od_api.model import DetectionModel, raw_detections

SIGNATURE = "detect"


def convert(model: DetectionModel, height: int, width: int) -> bytes:
    """The model as a TFLite flatbuffer with one signature, `detect`.

    Input `image` float32 (1, height, width, 3), preprocessed. Outputs `boxes` (1, N, 4) yxyx in 0..1 of the input, not
    clipped, and `scores` (1, N), for every anchor.
    """

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.float32, name="image")])
    def detect(image):
        boxes, scores = raw_detections(model, image)
        return {"boxes": boxes, "scores": scores}

    module = tf.Module()
    module.model, module.detect = model, detect
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={SIGNATURE: detect})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
