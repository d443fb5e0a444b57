"""Batch norm put back into SSDLite-MobileNetV2 weights that a converter folded it into.

TensorFlow.js's converter turns y = gamma (x - mean) / sqrt(var + eps) + beta behind a convolution into y = x mul + sub,
and multiplies the weights of a full convolution by `mul`. In the names of the model zoo's graph that leaves

    <scope>/Conv2D/merged_input, <scope>/BatchNorm/batchnorm/sub                                  a full convolution
    <scope>/depthwise_weights, <scope>/BatchNorm/batchnorm/mul, <scope>/BatchNorm/batchnorm/sub   a depthwise one

in the feature extractor. The predictors are stored unfolded.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import numpy as np
import tensorflow as tf

from detect_faces.errors import UserError
from training import batch_norm
from training.od_api.model import DetectionModel, batch_norm_layers

EPSILON = np.float32(1e-3)  # of the model zoo's config

_FEATURE_EXTRACTOR = "FeatureExtractor/"
_PREDICTOR = re.compile(
    r"BoxPredictor_\d+/(BoxEncoding|Class)Predictor"
    r"(/(weights|biases)|_depthwise/(depthwise_weights|BatchNorm/(gamma|beta|moving_mean|moving_variance)))"
)


def unfold(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of the network by their TF1 names, every folded batch norm with mean 0 and variance 1.

    Args:
        weights: of the converted graph, by name; those that are no variable's (shapes, anchors) are left out.

    Raises:
        UserError: a convolution has no batch norm.
    """
    variables = {}
    try:
        for name, value in weights.items():
            if _PREDICTOR.fullmatch(name):
                variables[name] = value
            elif scope := _scope(name, "/Conv2D/merged_input"):
                ones = np.ones(value.shape[-1], np.float32)
                variables[f"{scope}/weights"] = value
                variables |= _identity(scope, ones, weights[f"{scope}/BatchNorm/batchnorm/sub"])
            elif scope := _scope(name, "/depthwise_weights"):
                folded = f"{scope}/BatchNorm/batchnorm"
                variables[name] = value
                variables |= _identity(scope, weights[f"{folded}/mul"], weights[f"{folded}/sub"])
    except KeyError as error:
        raise UserError(f"the weights have no {error}: not a TensorFlow.js model of SSDLite-MobileNetV2") from error
    return variables


def _scope(name: str, suffix: str) -> str:
    return name.removesuffix(suffix) if name.startswith(_FEATURE_EXTRACTOR) and name.endswith(suffix) else ""


def _identity(scope: str, mul: np.ndarray, sub: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"{scope}/BatchNorm/gamma": mul * np.sqrt(1 + EPSILON),
        f"{scope}/BatchNorm/beta": sub,
        f"{scope}/BatchNorm/moving_mean": np.zeros_like(sub),
        f"{scope}/BatchNorm/moving_variance": np.ones_like(sub),
    }


def calibrate(
    variables: Mapping[str, np.ndarray],
    model: DetectionModel,
    tf1_name: Callable[[str], str | None],
    photographs: Iterable[np.ndarray],
) -> tuple[dict[str, np.ndarray], float]:
    """Gives the batch norm of `unfold` the statistics of photographs; what the network computes stays the same.

    Args:
        variables: of `unfold`.
        model: a model with the same feature extractor, whatever its classes; its weights are replaced.
        tf1_name: from a variable's name in `model` to its name in `variables`.
        photographs: each (H, W, 3) uint8 RGB.

    Returns:
        the variables with the new batch norm, and by how much the feature maps of the first photograph differ from what
        they were, as a share of their largest value.

    Raises:
        UserError: the model has a feature extractor with other variables, or there are no photographs.
    """
    extractor = {tf1_name(variable.name): variable for variable in model.variables}
    extractor = {name: variable for name, variable in extractor.items() if name.startswith(_FEATURE_EXTRACTOR)}
    for name, variable in extractor.items():
        if name not in variables or variables[name].shape != tuple(variable.shape):
            raise UserError(
                f"the weights have no {name} of shape {variable.shape.as_list()}: they are of another model"
            )
        variable.assign(variables[name])
    layers = [layer for layer in batch_norm_layers(model) if tf1_name(layer.gamma.name) in extractor]

    inputs = (model.preprocess(tf.cast(photograph[None], tf.float32)) for photograph in photographs)
    first = next(inputs, None)
    if first is None:
        raise UserError("there is not one photograph to calibrate batch norm on")
    before = _feature_maps(model, first)
    batch_norm.calibrate(model, layers, chain([first], inputs), lambda batch: model.predict(*batch))
    after = _feature_maps(model, first)
    difference = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(after, before, strict=True))
    return {**variables, **{name: variable.numpy() for name, variable in extractor.items()}}, float(difference)


def _feature_maps(model: DetectionModel, batch: tuple) -> list[np.ndarray]:
    return [feature_map.numpy() for feature_map in model.predict(*batch)["feature_maps"]]
