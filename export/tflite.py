"""A TFLite model from a one-stage model: the network without suppression, its weights in float16 or all of it in int8.

Non-maximum suppression stays outside, so that whoever runs the model chooses its thresholds and the number of boxes.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import tensorflow as tf

from detect_faces.model import signature
from training.od_api.model import DetectionModel, raw_detections, raw_encodings, without_background

Inputs = Callable[[], Iterator[tuple[str, Mapping[str, np.ndarray]]]]


def convert(model: DetectionModel, sizes: Sequence[tuple[int, int]], calibration: Inputs | None = None) -> bytes:
    """The model as a TFLite flatbuffer with a signature for each size of input, which share their weights.

    Input `image` float32 (1, height, width, 3), preprocessed. Outputs, for every anchor: `boxes` (1, N, 4) yxyx in 0..1
    of the input, not clipped, and `scores` (1, N). In int8 they are `encodings` (1, N, 4) and `logits` (1, N), float32:
    in the 256 steps of a whole image boxes would lose a tenth of their AP. For the same reason the background, which
    nobody asks for, is left out of the int8 network's logits.

    Args:
        model: in inference mode.
        sizes: (width, height) in pixels; the first is the signature "detect", the others `detect_faces.model.signature`
            names.
        calibration: makes it int8: gives inputs such as it will see, whose ranges are measured, and the name of the
            signature that each is for.
    """
    module = tf.Module()
    module.model = model
    signatures = {}
    for name, (width, height) in named(sizes).items():

        @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.float32, name="image")])
        def detect(image):
            if calibration:
                return dict(zip(("encodings", "logits"), raw_encodings(model, image), strict=True))
            return dict(zip(("boxes", "scores"), raw_detections(model, image), strict=True))

        signatures[name] = detect
    module.functions = list(signatures.values())
    quiet = without_background(model) if calibration else nullcontext()
    with quiet, tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibration:
            converter.representative_dataset = calibration
        else:
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def named(sizes: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Sizes (width, height) by the names of their signatures; the first is the model's own."""
    return {signature(None if number == 0 else size): size for number, size in enumerate(sizes)}
