"""model.json: what the runtime has to know of a model.tflite, read off the pipeline and the model."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.model import FORMAT
from tools import anchors, pipeline_config
from training.od_api.model import DetectionModel, normalise
from training.od_api.pipeline import meta_architecture, meta_config
from training.od_api.trainer_settings import by_means


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


def decoding(pipeline, config_path: Path, sizes: Sequence[tuple[int, int]]) -> dict:
    """The entry "decoding" of model.json, for a network that gives encodings and logits: how they become boxes.

    Args:
        pipeline: the TrainEvalPipelineConfig.
        config_path: its file.
        sizes: (width, height) of the inputs.

    Raises:
        UserError: the runtime could not do what the pipeline asks for.
    """
    meta = meta_config(pipeline)
    if meta.box_coder.WhichOneof("box_coder_oneof") != "faster_rcnn_box_coder":
        raise UserError("--int8: box_coder has to be a faster_rcnn_box_coder")
    post = meta.post_processing
    if post.score_converter != post.SIGMOID or post.logit_scale != 1 or post.HasField("calibration_config"):
        raise UserError("--int8: post_processing.score_converter has to be SIGMOID, with nothing behind it")
    config = pipeline_config.read(config_path)
    coder = meta.box_coder.faster_rcnn_box_coder
    return {
        "scales": [coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale],
        "anchors": [
            {"input": list(size), "layers": [_layer(grid) for grid in anchors.build(config, *size)]} for size in sizes
        ],
    }


def _layer(grid: anchors.Grid) -> dict:
    """In pixels of the input, all pairs (y, x)."""
    return {
        "cells": [grid.rows, grid.columns],
        "offset": list(grid.offset),
        "stride": list(grid.stride),
        "shapes": [[round(side, 4) for side in shape] for shape in grid.shapes.tolist()],
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
        "interpolation": "means" if by_means(pipeline) else "legacy_bilinear",
        "scale": scale,
        "offset": black,
    }
    if resize == "letterbox":
        pads = set(meta_config(pipeline).image_resizer.keep_aspect_ratio_resizer.per_channel_pad_value) or {0.0}
        if len(pads) != 1:
            raise UserError("image_resizer: for TFLite per_channel_pad_value has to be the same for each channel")
        described["pad_value"] = (pads.pop() - black) / scale  # the OD API pads after it normalises
    return described
