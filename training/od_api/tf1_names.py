"""What the variables of an OD API Keras model are called in a checkpoint of the TF1 model zoo.

The two describe the same network one to one; only the names differ. Source of the TF1 names: the OD API's slim models
(object_detection.nets.mobilenet.mobilenet_v2, models.feature_map_generators, predictors.convolutional_box_predictor).
"""

import re
from collections.abc import Callable

from detect_faces.errors import UserError

_BACKBONE = "FeatureExtractor/MobilenetV2/"

# Keras leaf -> slim leaf; the four of batch norm keep their names and move into a scope "BatchNorm".
_LEAVES = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}
_BATCH_NORM = {"gamma", "beta", "moving_mean", "moving_variance"}

# (pattern of the Keras layer's path, slim scope as a template over the pattern's groups)
_SSDLITE_MOBILENET_V2 = (
    # the stem and the last 1x1 convolution
    (r"Conv1|bn_Conv1", _BACKBONE + "Conv"),
    (r"Conv_1(_bn)?", _BACKBONE + "Conv_1"),
    # inverted residual blocks: block_3_expand, block_3_expand_BN -> expanded_conv_3/expand
    (r"expanded_conv_(?P<part>depthwise|project)(_BN)?", _BACKBONE + "expanded_conv/{part}"),
    (r"block_(?P<block>\d+)_(?P<part>expand|depthwise|project)(_BN)?", _BACKBONE + "expanded_conv_{block}/{part}"),
    # the extra feature maps: a depthwise separable convolution is a depthwise and a pointwise one under one name
    (r".*FeatureMaps/(?P<map>layer_19_\w+?)_depthwise(_conv|_batchnorm)", _BACKBONE + "{map}_depthwise"),
    (r".*FeatureMaps/(?P<map>layer_19_\w+?)(_conv|_batchnorm)", _BACKBONE + "{map}"),
    # the predictors
    (
        r".*Convolutional(Box|Class)Head_(?P<layer>\d+)/(?P<what>BoxEncodingPredictor|ClassPredictor)"
        r"(?P<depthwise>(_depthwise)?)(_batchnorm)?",
        "BoxPredictor_{layer}/{what}{depthwise}",
    ),
)


def ssdlite_mobilenet_v2(keras_name: str) -> str | None:
    """The zoo's name of a variable of SSDLite-MobileNetV2, or None where the network has no such variable.

    >>> ssdlite_mobilenet_v2("block_3_expand_BN/gamma:0")
    'FeatureExtractor/MobilenetV2/expanded_conv_3/expand/BatchNorm/gamma'
    """
    path, _, leaf = keras_name.partition(":")[0].rpartition("/")
    for pattern, scope in _SSDLITE_MOBILENET_V2:
        # a backbone layer is known by its own name; what is above it depends on where the model was built
        if match := re.fullmatch(pattern, path) or re.fullmatch(pattern, path.rpartition("/")[2]):
            scope = scope.format(**match.groupdict())
            return f"{scope}/BatchNorm/{leaf}" if leaf in _BATCH_NORM else f"{scope}/{_LEAVES.get(leaf, leaf)}"
    return None


def naming(pipeline) -> Callable[[str], str | None]:
    """The naming for the model of a pipeline config. Raises UserError where its names are not known yet."""
    extractor = pipeline.model.ssd.feature_extractor
    if pipeline.model.WhichOneof("model") == "ssd" and extractor.type == "ssd_mobilenet_v2_keras":
        return ssdlite_mobilenet_v2
    raise UserError(
        "TF1 checkpoints can be restored into ssd_mobilenet_v2_keras only, so far; "
        "CHECKPOINT=none starts this model from random values"
    )
