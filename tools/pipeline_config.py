"""pipeline.config: the parts that say how a model sees a face, read without TensorFlow and the OD API.

These are the image resizer, the feature extractor's type and levels, the anchor generator and the matcher, of SSD and
Faster R-CNN. The format is the text form of object_detection.protos.TrainEvalPipelineConfig:
https://github.com/tensorflow/models/tree/master/research/object_detection/protos. All other parts are passed over. In
those that are read a field that does not exist is an error: it is a misspelt one, whose default would be taken.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from detect_faces.errors import UserError
from tools import text_proto

PIPELINES = Path(__file__).parents[1] / "pipelines"

# A pool of its own: the OD API registers the same message names in the default one.
_FILE = text_format.Parse(
    """
    name: "pipeline.proto" package: "object_detection.protos"
    message_type {
      name: "TrainEvalPipelineConfig"
      extension_range { start: 1000 end: 536870912 }
      field { name: "model" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "DetectionModel" }
    }
    message_type {
      name: "DetectionModel"
      oneof_decl { name: "model" }
      field {
        name: "faster_rcnn" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "FasterRcnn" oneof_index: 0
      }
      field { name: "ssd" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "Ssd" oneof_index: 0 }
    }
    message_type {
      name: "Ssd"
      field { name: "image_resizer" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "ImageResizer" }
      field {
        name: "feature_extractor" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "SsdFeatureExtractor"
      }
      field { name: "matcher" number: 5 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "Matcher" }
      field { name: "anchor_generator" number: 8 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "AnchorGenerator" }
    }
    message_type {
      name: "FasterRcnn"
      field { name: "image_resizer" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "ImageResizer" }
      field {
        name: "feature_extractor" number: 5 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "FasterRcnnFeatureExtractor"
      }
      field {
        name: "first_stage_anchor_generator" number: 6 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "AnchorGenerator"
      }
      field {
        name: "clip_anchors_to_image" number: 32 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false"
      }
    }
    message_type {
      name: "SsdFeatureExtractor"
      oneof_decl { name: "feature_pyramid_oneof" }
      field { name: "type" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "pad_to_multiple" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "1" }
      field {
        name: "fpn" number: 10 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "FeaturePyramidNetworks"
        oneof_index: 0
      }
      field { name: "num_layers" number: 12 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "6" }
      field {
        name: "bifpn" number: 19 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "BidirectionalFeaturePyramidNetworks" oneof_index: 0
      }
    }
    message_type {
      name: "FasterRcnnFeatureExtractor"
      field { name: "type" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "first_stage_features_stride" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "16" }
      field { name: "fpn" number: 7 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "FeaturePyramidNetworks" }
    }
    message_type {
      name: "FeaturePyramidNetworks"
      field { name: "min_level" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "3" }
      field { name: "max_level" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "7" }
      field { name: "additional_layer_depth" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "256" }
    }
    message_type {
      name: "BidirectionalFeaturePyramidNetworks"
      field { name: "min_level" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "3" }
      field { name: "max_level" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "7" }
      field { name: "num_iterations" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL }
      field { name: "num_filters" number: 4 type: TYPE_INT32 label: LABEL_OPTIONAL }
      field { name: "combine_method" number: 5 type: TYPE_STRING label: LABEL_OPTIONAL default_value: "fast_attention" }
    }
    message_type {
      name: "ImageResizer"
      oneof_decl { name: "image_resizer_oneof" }
      field {
        name: "keep_aspect_ratio_resizer" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "KeepAspectRatioResizer" oneof_index: 0
      }
      field {
        name: "fixed_shape_resizer" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "FixedShapeResizer"
        oneof_index: 0
      }
      field {
        name: "identity_resizer" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "IdentityResizer"
        oneof_index: 0
      }
      field {
        name: "conditional_shape_resizer" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "ConditionalShapeResizer" oneof_index: 0
      }
      field {
        name: "pad_to_multiple_resizer" number: 5 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "PadToMultipleResizer" oneof_index: 0
      }
    }
    enum_type {
      name: "ResizeType"
      value { name: "BILINEAR" number: 0 }
      value { name: "NEAREST_NEIGHBOR" number: 1 }
      value { name: "BICUBIC" number: 2 }
      value { name: "AREA" number: 3 }
    }
    message_type {
      name: "KeepAspectRatioResizer"
      field { name: "min_dimension" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "600" }
      field { name: "max_dimension" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "1024" }
      field { name: "resize_method" number: 3 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: "ResizeType" }
      field { name: "pad_to_max_dimension" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
      field { name: "convert_to_grayscale" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
      field { name: "per_channel_pad_value" number: 6 type: TYPE_FLOAT label: LABEL_REPEATED }
    }
    message_type {
      name: "FixedShapeResizer"
      field { name: "height" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "300" }
      field { name: "width" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "300" }
      field { name: "resize_method" number: 3 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: "ResizeType" }
      field { name: "convert_to_grayscale" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
    }
    message_type { name: "IdentityResizer" }
    message_type {
      name: "ConditionalShapeResizer"
      enum_type {
        name: "ResizeCondition"
        value { name: "INVALID" number: 0 }
        value { name: "GREATER" number: 1 }
        value { name: "SMALLER" number: 2 }
      }
      field {
        name: "condition" number: 1 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: "ResizeCondition"
        default_value: "GREATER"
      }
      field { name: "size_threshold" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "300" }
      field { name: "resize_method" number: 3 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: "ResizeType" }
      field { name: "convert_to_grayscale" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
    }
    message_type {
      name: "PadToMultipleResizer"
      field { name: "multiple" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "1" }
      field { name: "convert_to_grayscale" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
    }
    message_type {
      name: "AnchorGenerator"
      oneof_decl { name: "anchor_generator_oneof" }
      field {
        name: "grid_anchor_generator" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "GridAnchorGenerator" oneof_index: 0
      }
      field {
        name: "ssd_anchor_generator" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "SsdAnchorGenerator"
        oneof_index: 0
      }
      field {
        name: "multiscale_anchor_generator" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "MultiscaleAnchorGenerator" oneof_index: 0
      }
      field {
        name: "flexible_grid_anchor_generator" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL
        type_name: "FlexibleGridAnchorGenerator" oneof_index: 0
      }
    }
    message_type {
      name: "GridAnchorGenerator"
      field { name: "height" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "256" }
      field { name: "width" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "256" }
      field { name: "height_stride" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "16" }
      field { name: "width_stride" number: 4 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "16" }
      field { name: "height_offset" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "0" }
      field { name: "width_offset" number: 6 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "0" }
      field { name: "scales" number: 7 type: TYPE_FLOAT label: LABEL_REPEATED }
      field { name: "aspect_ratios" number: 8 type: TYPE_FLOAT label: LABEL_REPEATED }
    }
    message_type {
      name: "SsdAnchorGenerator"
      field { name: "num_layers" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "6" }
      field { name: "min_scale" number: 2 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "0.2" }
      field { name: "max_scale" number: 3 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "0.95" }
      field { name: "scales" number: 12 type: TYPE_FLOAT label: LABEL_REPEATED }
      field { name: "aspect_ratios" number: 4 type: TYPE_FLOAT label: LABEL_REPEATED }
      field {
        name: "interpolated_scale_aspect_ratio" number: 13 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "1.0"
      }
      field {
        name: "reduce_boxes_in_lowest_layer" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "true"
      }
      field { name: "base_anchor_height" number: 6 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "1.0" }
      field { name: "base_anchor_width" number: 7 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "1.0" }
      field { name: "height_stride" number: 8 type: TYPE_INT32 label: LABEL_REPEATED }
      field { name: "width_stride" number: 9 type: TYPE_INT32 label: LABEL_REPEATED }
      field { name: "height_offset" number: 10 type: TYPE_INT32 label: LABEL_REPEATED }
      field { name: "width_offset" number: 11 type: TYPE_INT32 label: LABEL_REPEATED }
    }
    message_type {
      name: "MultiscaleAnchorGenerator"
      field { name: "min_level" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "3" }
      field { name: "max_level" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "7" }
      field { name: "anchor_scale" number: 3 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "4.0" }
      field { name: "aspect_ratios" number: 4 type: TYPE_FLOAT label: LABEL_REPEATED }
      field { name: "scales_per_octave" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL default_value: "2" }
      field { name: "normalize_coordinates" number: 6 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "true" }
    }
    message_type {
      name: "FlexibleGridAnchorGenerator"
      field { name: "anchor_grid" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: "AnchorGrid" }
      field { name: "normalize_coordinates" number: 2 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "true" }
    }
    message_type {
      name: "AnchorGrid"
      field { name: "base_sizes" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED }
      field { name: "aspect_ratios" number: 2 type: TYPE_FLOAT label: LABEL_REPEATED }
      field { name: "height_stride" number: 3 type: TYPE_UINT32 label: LABEL_OPTIONAL }
      field { name: "width_stride" number: 4 type: TYPE_UINT32 label: LABEL_OPTIONAL }
      field { name: "height_offset" number: 5 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "0" }
      field { name: "width_offset" number: 6 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "0" }
    }
    message_type {
      name: "Matcher"
      oneof_decl { name: "matcher_oneof" }
      field {
        name: "argmax_matcher" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "ArgMaxMatcher"
        oneof_index: 0
      }
      field {
        name: "bipartite_matcher" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "BipartiteMatcher"
        oneof_index: 0
      }
    }
    message_type {
      name: "ArgMaxMatcher"
      field { name: "matched_threshold" number: 1 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "0.5" }
      field { name: "unmatched_threshold" number: 2 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "0.5" }
      field { name: "ignore_thresholds" number: 3 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
      field {
        name: "negatives_lower_than_unmatched" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "true"
      }
      field { name: "force_match_for_each_row" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
      field { name: "use_matmul_gather" number: 6 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
    }
    message_type {
      name: "BipartiteMatcher"
      field { name: "use_matmul_gather" number: 6 type: TYPE_BOOL label: LABEL_OPTIONAL default_value: "false" }
    }
    """,
    descriptor_pb2.FileDescriptorProto(),
)
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_FILE)
# Messages of which only some fields are given above: what else they hold is passed over.
_PARTIAL = {
    "TrainEvalPipelineConfig",
    "DetectionModel",
    "Ssd",
    "FasterRcnn",
    "SsdFeatureExtractor",
    "FasterRcnnFeatureExtractor",
}
# matched_threshold and force_match of Faster R-CNN's region proposals, whatever the config says:
# create_target_assigner("FasterRCNN", "proposal") in object_detection/core/target_assigner.py.
_PROPOSALS = 0.7, True


def message_class(name: str) -> type[Message]:
    """The class of one of the messages, such as KeepAspectRatioResizer."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"object_detection.protos.{name}"))


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What a pipeline.config says of resizing, feature maps, anchors and matching.

    Attributes:
        path: the file.
        architecture: "ssd" or "faster_rcnn".
        image_resizer: KeepAspectRatioResizer, FixedShapeResizer, IdentityResizer, ConditionalShapeResizer or
            PadToMultipleResizer.
        feature_extractor: SsdFeatureExtractor or FasterRcnnFeatureExtractor.
        anchor_generator: GridAnchorGenerator, SsdAnchorGenerator, MultiscaleAnchorGenerator or
            FlexibleGridAnchorGenerator; for Faster R-CNN that of the first stage.
        matched_threshold: from this IoU on an anchor is matched with a face; None where the matcher has no threshold.
        force_match: each face is matched with its best anchor, too, whatever their IoU.
        outside: what training does with anchors that cross the edge of the input: "keep", "drop" or "clip".
        lines: of each message in the file, by the names that lead to it, where it first appears.
    """

    path: Path
    architecture: str
    image_resizer: Message
    feature_extractor: Message
    anchor_generator: Message
    matched_threshold: float | None
    force_match: bool
    outside: str
    lines: Mapping[tuple[str, ...], int] = field(repr=False, default_factory=dict)

    def error(self, part: str, reason: str) -> UserError:
        """The error to raise for what is wrong in a message, such as image_resizer."""
        line = next((line for names, line in self.lines.items() if names[-1] == part), None)
        return UserError(f"{self.path}{f', line {line}' if line else ''}: {part}: {reason}")


def read(pipeline: str | Path) -> Pipeline:
    """Reads a config by its path, or by its name in pipelines/ (with or without .config).

    Raises:
        UserError: there is no such file, it is no pipeline.config (the message says in which line), or no model with
            anchors can be built from it.
    """
    path = _find(pipeline)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not a pipeline.config") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a pipeline.config") from error
    config = message_class("TrainEvalPipelineConfig")()
    try:
        text_format.Parse(text, config, allow_unknown_field=True, allow_unknown_extension=True)
        lines = dict(reversed(list(_messages(text, config.DESCRIPTOR))))
    except text_format.ParseError as error:
        reason = re.sub(r"^\d+(:\d+)? : ", "", str(error)).replace("\n", " ")
        raise UserError(f"{path}, line {error.GetLine()}: not a pipeline.config ({reason})") from error
    architecture = config.model.WhichOneof("model")
    if architecture is None:
        raise UserError(
            f"{path}: no model {{ ssd {{ ... }} }} or {{ faster_rcnn {{ ... }} }}, so no anchors to look at"
        )
    model = getattr(config.model, architecture)
    is_ssd = architecture == "ssd"
    generator = model.anchor_generator if is_ssd else model.first_stage_anchor_generator
    threshold, force_match = _matching(_chosen(path, architecture, model.matcher)) if is_ssd else _PROPOSALS
    found = Pipeline(
        path,
        architecture,
        _chosen(path, architecture, model.image_resizer),
        model.feature_extractor,
        _chosen(path, architecture, generator),
        threshold,
        force_match,
        "keep" if is_ssd else "clip" if model.clip_anchors_to_image else "drop",
        lines,
    )
    for part, reason in [*_faults(found), *_matcher_faults(model.matcher if is_ssd else None)]:
        raise found.error(part, reason)
    return found


def _find(pipeline: str | Path) -> Path:
    path = Path(pipeline)
    if path.is_file():
        return path
    named = PIPELINES / f"{str(pipeline).removesuffix('.config')}.config"
    if not named.is_file():
        known = ", ".join(sorted(config.stem for config in PIPELINES.glob("*.config")))
        raise UserError(f"{pipeline}: no such pipeline; give the path of a pipeline.config or one of: {known}")
    return named


def _messages(text: str, descriptor: Descriptor) -> Iterator[tuple[tuple[str, ...], int]]:
    """The names that lead to each message of a well-formed text, and its line. Raises ParseError for unknown fields."""
    for place in text_proto.places(text, descriptor):
        if place.field is None and place.parent and place.parent.name not in _PARTIAL:
            reason = text_proto.unknown_field(place.parent, place.names[-1])
            raise text_format.ParseError(reason, place.line)
        if place.holds_message:
            yield place.names, place.line


def _chosen(path: Path, architecture: str, message: Message) -> Message:
    """The message that is set in an image resizer, anchor generator or matcher, which hold one of several."""
    (choice,) = message.DESCRIPTOR.oneofs
    name = message.WhichOneof(choice.name)
    if name is None:
        known = ", ".join(each.name for each in choice.fields)
        raise UserError(f"{path}: {architecture} has no {field_name(message)}; it takes one of {known}")
    return getattr(message, name)


def _matching(matcher: Message) -> tuple[float | None, bool]:
    """The threshold from which on an anchor is matched, and whether each face gets its best anchor."""
    if matcher.DESCRIPTOR.name == "BipartiteMatcher":
        return None, True
    return None if matcher.ignore_thresholds else matcher.matched_threshold, matcher.force_match_for_each_row


def _faults(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """What keeps the OD API from building the anchors, or makes them useless: (message, reason)."""
    resizer, generator, extractor = pipeline.image_resizer, pipeline.anchor_generator, pipeline.feature_extractor
    for part, message in [("image_resizer", resizer), (field_name(generator), generator)]:
        for each in [message, *getattr(message, "anchor_grid", [])]:
            yield from ((part, reason) for reason in _not_positive(each))
    match resizer.DESCRIPTOR.name:
        case "KeepAspectRatioResizer" if resizer.min_dimension > resizer.max_dimension:
            yield "image_resizer", f"min_dimension {resizer.min_dimension} is above {resizer.max_dimension}, the max"
        case "ConditionalShapeResizer" if not resizer.condition:
            yield "image_resizer", "condition is INVALID; give GREATER or SMALLER"
    if not extractor.type:
        yield "feature_extractor", "has no type"
    part = field_name(generator)
    match generator.DESCRIPTOR.name:
        case "GridAnchorGenerator":
            if pipeline.architecture == "ssd":
                yield part, "is for faster_rcnn only"
            if not (generator.scales and generator.aspect_ratios):
                yield part, "needs scales and aspect_ratios"
        case "SsdAnchorGenerator":
            if pipeline.architecture != "ssd":
                yield part, "is for ssd only"
            yield from ((part, reason) for reason in _ssd_faults(generator))
        case "MultiscaleAnchorGenerator":
            if not generator.aspect_ratios:
                yield part, "needs aspect_ratios"
            if not 0 <= generator.min_level <= generator.max_level <= 30:
                yield part, f"levels {generator.min_level} to {generator.max_level} are none"
        case "FlexibleGridAnchorGenerator":
            for number, grid in enumerate(generator.anchor_grid, 1):
                if not grid.base_sizes or len(grid.base_sizes) != len(grid.aspect_ratios):
                    sizes, ratios = len(grid.base_sizes), len(grid.aspect_ratios)
                    yield part, f"anchor_grid {number} has {sizes} base_sizes and {ratios} aspect_ratios"
                if not (grid.height_stride and grid.width_stride):
                    yield part, f"anchor_grid {number} needs height_stride and width_stride"
    if (normalized := getattr(generator, "normalize_coordinates", None)) is not None:
        if normalized != (pipeline.architecture == "ssd"):
            yield part, f"needs normalize_coordinates: {str(not normalized).lower()} in {pipeline.architecture}"


def _matcher_faults(matcher: Message | None) -> Iterator[tuple[str, str]]:
    if matcher is None:
        return
    if matcher.HasField("bipartite_matcher"):
        yield "bipartite_matcher", "works in TensorFlow 1 only; give argmax_matcher"
    argmax = matcher.argmax_matcher
    if not argmax.ignore_thresholds and argmax.unmatched_threshold > argmax.matched_threshold:
        low, high = argmax.matched_threshold, argmax.unmatched_threshold
        yield "argmax_matcher", f"unmatched_threshold {high:g} is above matched_threshold {low:g}"


def _ssd_faults(generator: Message) -> Iterator[str]:
    layers = generator.num_layers
    if generator.scales and len(generator.scales) < layers:
        yield f"has {len(generator.scales)} scales for {layers} layers"
    if layers == 1 and not generator.scales:
        yield "with one layer it needs scales, as min_scale and max_scale then mean nothing"
    for lists in (("height_stride", "width_stride"), ("height_offset", "width_offset")):
        lengths = [len(getattr(generator, name)) for name in lists]
        if lengths[0] and lengths != [layers, layers]:
            yield f"has {lengths[0]} {lists[0]} and {lengths[1]} {lists[1]} for {layers} layers"
    if not (generator.aspect_ratios or generator.interpolated_scale_aspect_ratio > 0):
        yield "needs aspect_ratios"


def _not_positive(message: Message) -> Iterator[str]:
    """The numbers of a message that must be above zero and are not."""
    for each in message.DESCRIPTOR.fields:
        if each.type not in (each.TYPE_INT32, each.TYPE_FLOAT) or each.name in _ANY_NUMBER:
            continue
        value = getattr(message, each.name)
        for number in value if each.is_repeated else [value]:
            if not 0 < number < float("inf"):
                yield f"{each.name} must be above 0, not {number:g}"


_ANY_NUMBER = {
    "height_offset",
    "width_offset",
    "per_channel_pad_value",
    "interpolated_scale_aspect_ratio",
    "min_level",
    "max_level",
}


def field_name(message: Message) -> str:
    """SsdAnchorGenerator: ssd_anchor_generator."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", message.DESCRIPTOR.name).lower()
