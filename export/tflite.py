"""A TFLite model with float16 weights, from a one-stage model: the network and its box decoding, without suppression.

Non-maximum suppression stays outside, so that whoever runs the model chooses its thresholds and the number of boxes.
"""

import tempfile
from collections.abc import Sequence

import tensorflow as tf

from detect_faces.model import signature
from training.od_api.model import DetectionModel, raw_detections


def convert(model: DetectionModel, sizes: Sequence[tuple[int, int]]) -> bytes:
    """The model as a TFLite flatbuffer with a signature for each size of input, which share their weights.

    Input `image` float32 (1, height, width, 3), preprocessed. Outputs `boxes` (1, N, 4) yxyx in 0..1 of the input, not
    clipped, and `scores` (1, N), for every anchor.

    Args:
        model: in inference mode.
        sizes: (width, height) in pixels; the first is the signature "detect", the others `detect_faces.model.signature`
            names.
    """
    module = tf.Module()
    module.model = model
    signatures = {}
    for number, (width, height) in enumerate(sizes):

        @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.float32, name="image")])
        def detect(image):
            boxes, scores = raw_detections(model, image)
            return {"boxes": boxes, "scores": scores}

        signatures[signature(None if number == 0 else (width, height))] = detect
    module.functions = list(signatures.values())
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
