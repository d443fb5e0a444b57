"""What the variables of an OD API Keras model are called in a checkpoint of the TF1 model zoo.

The two describe the same network one to one; only the names differ. Source of the TF1 names: the OD API's slim models
(object_detection.nets.mobilenet.mobilenet_v2, nets.inception_resnet_v2, models.feature_map_generators,
predictors.convolutional_box_predictor, predictors.mask_rcnn_box_predictor).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from detect_faces.errors import UserError
from training.od_api.pipeline import meta_architecture, meta_config

# Keras leaf -> slim leaf; the four of batch norm keep their names and move into a scope "BatchNorm".
_LEAVES = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}
_BATCH_NORM = {"gamma", "beta", "moving_mean", "moving_variance"}


def naming(pipeline, model) -> dict[str, str]:
    """{name of a variable of `model`: its name in the zoo}, without the variables that no model of the zoo has.

    Args:
        pipeline: the TrainEvalPipelineConfig of the model.
        model: as `training.od_api.model.build` makes it.

    Raises:
        UserError: the TF1 names of this architecture are not known here.
    """
    check(pipeline)
    if pipeline.model.WhichOneof("model") == "faster_rcnn":
        scopes = _inception_resnet_v2(model)
    else:
        scopes = {}
    names = {variable.name: tf1_name(variable.name, scopes) for variable in model.variables}
    return {keras_name: name for keras_name, name in names.items() if name}


def known(pipeline) -> bool:
    """Whether the TF1 names of an architecture are known here."""
    return (meta_architecture(pipeline), meta_config(pipeline).feature_extractor.type) in _KNOWN


def check(pipeline) -> None:
    """Raises UserError where `naming` would."""
    if not known(pipeline):
        extractor = meta_config(pipeline).feature_extractor.type
        names = ", ".join(name for _, name in _KNOWN)
        raise UserError(
            f"TF1 checkpoints can be restored into {names}, not into {extractor}; "
            "CHECKPOINT=none starts this model from random values"
        )


_KNOWN = (
    ("ssd", "ssd_mobilenet_v2_keras"),
    ("ssd", "ssd_mobilenet_v2_fpn_keras"),  # the backbone; the zoo has no feature pyramid on it
    ("faster_rcnn", "faster_rcnn_inception_resnet_v2_keras"),
)


def tf1_name(keras_name: str, scopes: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The zoo's name of a variable, or None where no model of the zoo has it.

    Args:
        keras_name: of the variable.
        scopes: {layer: slim scope} of layers that Keras only numbers.

    >>> tf1_name("block_3_expand_BN/gamma:0")
    'FeatureExtractor/MobilenetV2/expanded_conv_3/expand/BatchNorm/gamma'
    """
    path, _, leaf = keras_name.partition(":")[0].rpartition("/")
    scope = scopes.get(path) or _scope(path)
    if scope is None:
        return None
    return f"{scope}/BatchNorm/{leaf}" if leaf in _BATCH_NORM else f"{scope}/{_LEAVES.get(leaf, leaf)}"


# ---- Layers that have a name of their own ----------------------------------------------------------------------------

_MOBILENET = "FeatureExtractor/MobilenetV2/"
_FIRST, _SECOND = (f"{stage}StageFeatureExtractor/InceptionResnetV2/" for stage in ("First", "Second"))

# (pattern of the Keras layer's path, slim scope as a template over the pattern's groups)
_SCOPES = (
    # MobileNetV2: the stem and the last 1x1 convolution
    (r"Conv1|bn_Conv1", _MOBILENET + "Conv"),
    (r"Conv_1(_bn)?", _MOBILENET + "Conv_1"),
    # inverted residual blocks: block_3_expand, block_3_expand_BN -> expanded_conv_3/expand
    (r"expanded_conv_(?P<part>depthwise|project)(_BN)?", _MOBILENET + "expanded_conv/{part}"),
    (r"block_(?P<block>\d+)_(?P<part>expand|depthwise|project)(_BN)?", _MOBILENET + "expanded_conv_{block}/{part}"),
    # SSD's extra feature maps: a depthwise separable convolution is a depthwise and a pointwise one under one name
    (r".*FeatureMaps/(?P<map>layer_19_\w+?)_depthwise(_conv|_batchnorm)", _MOBILENET + "{map}_depthwise"),
    (r".*FeatureMaps/(?P<map>layer_19_\w+?)(_conv|_batchnorm)", _MOBILENET + "{map}"),
    # Faster R-CNN: the region proposals, and the heads of the second stage
    (r"RPNConv", "Conv"),
    (
        r"FirstStageBoxPredictor/Convolutional(Box|Class)Head_0/(?P<what>BoxEncodingPredictor|ClassPredictor)",
        "FirstStageBoxPredictor/{what}",
    ),
    (
        r".*mask_rcnn_(box|class)_head(_\d+)?/(?P<what>BoxEncodingPredictor|ClassPredictor)_dense",
        "SecondStageBoxPredictor/{what}",
    ),
    # SSD's predictors
    (
        r".*Convolutional(Box|Class)Head_(?P<layer>\d+)/(?P<what>BoxEncodingPredictor|ClassPredictor)"
        r"(?P<depthwise>(_depthwise)?)(_batchnorm)?",
        "BoxPredictor_{layer}/{what}{depthwise}",
    ),
    # Inception-ResNet-v2: the convolutions at the end of its blocks, and its last one
    (r"block35_(?P<block>\d+)_conv", _FIRST + "Repeat/block35_{block}/Conv2d_1x1"),
    (r"block17_(?P<block>\d+)_conv", _FIRST + "Repeat_1/block17_{block}/Conv2d_1x1"),
    (r"block8_10_conv", _SECOND + "Block8/Conv2d_1x1"),
    (r"block8_(?P<block>\d+)_conv", _SECOND + "Repeat/block8_{block}/Conv2d_1x1"),
    (r"conv_7b(_bn)?", _SECOND + "Conv2d_7b_1x1"),
)


def _scope(path: str) -> str | None:
    for pattern, scope in _SCOPES:
        # a backbone layer is known by its own name; what is above it depends on where the model was built
        if match := re.fullmatch(pattern, path) or re.fullmatch(pattern, path.rpartition("/")[2]):
            return scope.format(**match.groupdict())
    return None


# ---- Layers that Keras numbers ---------------------------------------------------------------------------------------
# Most of Inception-ResNet-v2 is called conv2d_17 or freezable_batch_norm_17, counted from the first layer that the
# process made. Keras makes them in the order in which slim does, so that the n-th of a stage has the n-th of these.


def _branches(scope: str, *branches: str) -> list[str]:
    """Scopes of an inception block: of each branch its convolutions, separated by spaces.

    >>> _branches("Mixed", "1x1", "0a_1x1 0b_3x3")
    ['Mixed/Branch_0/Conv2d_1x1', 'Mixed/Branch_1/Conv2d_0a_1x1', 'Mixed/Branch_1/Conv2d_0b_3x3']
    """
    return [f"{scope}/Branch_{n}/Conv2d_{part}" for n, branch in enumerate(branches) for part in branch.split()]


def _repeated(scopes: list[str], *branches: str) -> list[str]:
    return [name for scope in scopes for name in _branches(scope, *branches)]


_FIRST_STAGE = [
    *(f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")),
    *_branches("Mixed_5b", "1x1", "0a_1x1 0b_5x5", "0a_1x1 0b_3x3 0c_3x3", "0b_1x1"),
    *_repeated([f"Repeat/block35_{n}" for n in range(1, 11)], "1x1", "0a_1x1 0b_3x3", "0a_1x1 0b_3x3 0c_3x3"),
    *_branches("Mixed_6a", "1a_3x3", "0a_1x1 0b_3x3 1a_3x3"),
    *_repeated([f"Repeat_1/block17_{n}" for n in range(1, 21)], "1x1", "0a_1x1 0b_1x7 0c_7x1"),
]
_SECOND_STAGE = [
    *_branches("Mixed_7a", "0a_1x1 1a_3x3", "0a_1x1 1a_3x3", "0a_1x1 0b_3x3 1a_3x3"),
    *_repeated([*(f"Repeat/block8_{n}" for n in range(1, 10)), "Block8"], "1x1", "0a_1x1 0b_1x3 0c_3x1"),
]


def _inception_resnet_v2(model) -> dict[str, str]:
    """{name of a numbered layer: slim scope} of both stages of a Faster R-CNN."""
    scopes = {}
    for network, prefix, order in (
        (model._feature_extractor_for_proposal_features, _FIRST, _FIRST_STAGE),
        (model._feature_extractor_for_box_classifier_features, _SECOND, _SECOND_STAGE),
    ):
        for kind in ("conv2d", "freezable_batch_norm"):
            numbered = (re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name) for layer in network.layers)
            layers = sorted(filter(None, numbered), key=lambda match: int(match[1] or 0))
            scopes |= {layer[0]: prefix + scope for layer, scope in zip(layers, order, strict=True)}
    return scopes
