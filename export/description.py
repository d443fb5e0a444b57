"""model.json: what the runtime has to know of a model.tflite, read off the pipeline and the model."""

from collections.abc import Sequence

import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.model import FORMAT
from training.od_api.model import DetectionModel, normalise
from training.od_api.pipeline import meta_architecture, meta_config


def describe(
    pipeline,
    model: DetectionModel,
    name: str,
    class_names: list[str],
    min_score: float,
    other_sizes: Sequence[tuple[int, int]] = (),
) -> dict:
    """The contents of model.json; detect_faces/model.py says what each entry means.

    Raises:
        UserError: the runtime could not do what the pipeline asks for.
    """
    if meta_architecture(pipeline) != "ssd":
        raise UserError("only one-stage (ssd) models can be exported to TFLite")
    if len(class_names) != 1:
        raise UserError(f"the TFLite runtime finds one class; the label map has {len(class_names)}")
    suppression = meta_config(pipeline).post_processing.batch_non_max_suppression
    return {
        "format": FORMAT,
        "name": name,
        "model": "model.tflite",
        "class_names": class_names,
        "input": _input(pipeline, model)
        | ({"other_sizes": [list(size) for size in other_sizes]} if other_sizes else {}),
        "postprocessing": {
            "score_threshold": round(suppression.score_threshold, 6),
            "iou_threshold": round(suppression.iou_threshold, 6),
            "max_detections": suppression.max_detections_per_class,
        },
        "min_score": min_score,
    }


def input_size(pipeline) -> tuple[int, int]:
    """(width, height) of the network's input in pixels. Raises UserError where the runtime could not make it."""
    return _resizing(pipeline)[:2]


def _resizing(pipeline) -> tuple[int, int, str]:
    """Width, height, and how an image becomes of that size: "letterbox" or "stretch"."""
    resizer = meta_config(pipeline).image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    config = getattr(resizer, kind)
    if kind == "fixed_shape_resizer":
        width, height, resize = config.width, config.height, "stretch"
    elif kind == "keep_aspect_ratio_resizer" and config.pad_to_max_dimension:
        if config.min_dimension != config.max_dimension:
            raise UserError("keep_aspect_ratio_resizer: for TFLite min_dimension and max_dimension have to be the same")
        width = height = config.max_dimension
        resize = "letterbox"
    else:
        raise UserError(
            "image_resizer: for TFLite it has to be a fixed_shape_resizer or a keep_aspect_ratio_resizer that pads to "
            f"its max_dimension, not {kind}"
        )
    if config.resize_method != 0:  # BILINEAR
        raise UserError("image_resizer: for TFLite resize_method has to be BILINEAR")
    return width, height, resize


def _input(pipeline, model: DetectionModel) -> dict:
    width, height, resize = _resizing(pipeline)
    black, white = normalise(model, tf.constant([0.0, 255.0]))
    scale = (white - black) / 255
    described = {
        "width": width,
        "height": height,
        "channels": "RGB",
        "resize": resize,
        "interpolation": "legacy_bilinear",
        "scale": scale,
        "offset": black,
    }
    if resize == "letterbox":
        pads = set(meta_config(pipeline).image_resizer.keep_aspect_ratio_resizer.per_channel_pad_value) or {0.0}
        if len(pads) != 1:
            raise UserError("image_resizer: for TFLite per_channel_pad_value has to be the same for each channel")
        described["pad_value"] = (pads.pop() - black) / scale  # the OD API pads after it normalises
    return described
