"""What is wrong or doubtful in a pipeline config, found before training, with the line that it stands in.

Errors are what training could not do; warnings are traps, in training.od_api.config_traps.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import Message
from object_detection.builders import (
    anchor_generator_builder,
    box_coder_builder,
    hyperparams_builder,
    image_resizer_builder,
    losses_builder,
    matcher_builder,
    model_builder,
    optimizer_builder,
    post_processing_builder,
    preprocessor_builder,
    region_similarity_calculator_builder,
)
from object_detection.protos.input_reader_pb2 import InputReader
from object_detection.protos.pipeline_pb2 import TrainEvalPipelineConfig

from detect_faces.errors import UserError
from tools import label_map, text_proto, tfrecord_file
from training.od_api import config_traps, overrides, pipeline, trainer_settings

PLACEHOLDER = "PATH_TO_BE_CONFIGURED"  # in the OD API's sample configs

Fault = tuple[str, str]  # the field, as tools.text_proto names it, and what is wrong with it

# The parts of a model that the OD API builds each by itself, and with what.
_PARTS: dict[str, dict[str, Callable[[Message], object]]] = {
    "ssd": {
        "image_resizer": image_resizer_builder.build,
        "feature_extractor.conv_hyperparams": hyperparams_builder.KerasLayerHyperparams,
        "box_coder": box_coder_builder.build,
        "matcher": matcher_builder.build,
        "similarity_calculator": region_similarity_calculator_builder.build,
        "anchor_generator": anchor_generator_builder.build,
        "post_processing": post_processing_builder.build,
        "loss": losses_builder.build,
    },
    "faster_rcnn": {
        "image_resizer": image_resizer_builder.build,
        "first_stage_anchor_generator": anchor_generator_builder.build,
        "first_stage_box_predictor_conv_hyperparams": hyperparams_builder.KerasLayerHyperparams,
        "second_stage_post_processing": post_processing_builder.build,
    },
}
# What records of faces have not, or the trainer cannot do: fields of a reader that must keep their defaults.
_BOXES_ONLY = (
    "num_keypoints",
    "keypoint_type_weight",
    "use_keypoint_label_map",
    "load_keypoint_depth_features",
    "load_instance_masks",
    "load_dense_pose",
    "load_track_id",
    "load_multiclass_scores",
    "load_context_features",
    "load_context_image_ids",
    "num_additional_channels",
)


@dataclass(frozen=True)
class Finding:
    """Something to say of a field.

    Attributes:
        level: "error" or "warning".
        place: the file and line it comes from, or the --set.
        field: as tools.text_proto names it.
        reason: what is wrong, and what to do.
    """

    level: str
    place: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {' '.join(self.reason.split())}"


def check(config: TrainEvalPipelineConfig, source: str | Path, changes: Iterable[str] = ()) -> list[str]:
    """The warnings for a config that is about to be trained with, a line each.

    Args:
        config: as training will use it, with records and all that comes from the command line.
        source: where `pipeline.load` read it; its lines are what the messages name.
        changes: the FIELD=VALUE of --set that are applied in `config`.

    Raises:
        UserError: training could not do what the config asks for. The first error, and how many more there are.
    """
    found = findings(config, source, changes)
    if errors := [finding for finding in found if finding.level == "error"]:
        more = f" (and {len(errors) - 1} more: python -m training.config {source})" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{more}")
    return [str(finding) for finding in found]


def findings(config: TrainEvalPipelineConfig, source: str | Path, changes: Iterable[str] = ()) -> list[Finding]:
    """All errors and warnings, errors first; see `check` for the arguments."""
    path = pipeline.find(source)
    lines = text_proto.lines(pipeline.read(path), config.DESCRIPTOR)
    set_fields = [overrides.field_of(change) for change in changes]

    def finding(level: str, fault: Fault) -> Finding:
        field, reason = fault
        for changed in set_fields:
            if re.match(rf"{re.escape(changed)}(\W|$)", field) or re.match(rf"{re.escape(field)}(\W|$)", changed):
                return Finding(level, f"--set {changed}", field, reason)
        line = text_proto.line_of(field, lines)
        return Finding(level, f"{path}, line {line}" if line else str(path), field, reason)

    found = [finding("error", fault) for fault in _errors(config)]
    if pipeline.meta_architecture(config) in _PARTS:
        found += [finding("warning", fault) for fault in config_traps.traps(config)]
    return list(dict.fromkeys(found))  # two readers with one label map have the same to say


def _errors(config: TrainEvalPipelineConfig) -> Iterator[Fault]:
    for missing in config.FindInitializationErrors():
        field, _, name = missing.rpartition(".")
        yield field or name, f"{name} is missing"
    architecture = pipeline.meta_architecture(config)
    if architecture not in _PARTS:
        yield "model", f"{architecture} cannot be trained here; give ssd or faster_rcnn"
        return
    yield from _model_errors(f"model.{architecture}", architecture, pipeline.meta_config(config))
    yield from _train_errors(config.train_config)
    yield from _trainer_errors(trainer_settings.settings(config))
    readers = {"train_input_reader": config.train_input_reader}
    readers |= {f"eval_input_reader[{index}]": reader for index, reader in enumerate(config.eval_input_reader)}
    for field, reader in readers.items():
        yield from _reader_errors(field, reader)
        yield from _label_map_errors(field, reader, architecture, pipeline.num_classes(config))


def _model_errors(prefix: str, architecture: str, model: Message) -> Iterator[Fault]:
    if model.num_classes < 1:
        yield f"{prefix}.num_classes", f"is {model.num_classes}; it has to be 1 or more, as many as the label map has"
    yield from _feature_extractor_errors(f"{prefix}.feature_extractor.type", architecture, model.feature_extractor.type)
    parts = {name: (build, _part(model, name)) for name, build in _PARTS[architecture].items()}
    name = "box_predictor" if architecture == "ssd" else "second_stage_box_predictor"
    predictor = getattr(model, name)
    chosen = predictor.WhichOneof("box_predictor_oneof")
    if chosen is None:
        yield f"{prefix}.{name}", "is missing"
    else:
        for field, part in getattr(predictor, chosen).ListFields():
            if field.name in ("conv_hyperparams", "fc_hyperparams"):
                parts[f"{name}.{chosen}.{field.name}"] = hyperparams_builder.KerasLayerHyperparams, part
    for name, (build, part) in parts.items():
        yield from _build_errors(f"{prefix}.{name}", build, part)
    if architecture == "faster_rcnn" and model.second_stage_batch_size > model.first_stage_max_proposals:
        most = model.first_stage_max_proposals
        reason = f"is {model.second_stage_batch_size}, more than first_stage_max_proposals, {most}"
        yield f"{prefix}.second_stage_batch_size", reason
    if architecture == "ssd" and model.loss.localization_loss.HasField("weighted_giou"):
        if model.box_coder.WhichOneof("box_coder_oneof") != "faster_rcnn_box_coder":
            yield f"{prefix}.loss.localization_loss.weighted_giou", "needs a faster_rcnn_box_coder"
    if architecture == "ssd" and model.HasField("mask_head_config"):
        yield f"{prefix}.mask_head_config", "masks cannot be trained here; remove it"


def _feature_extractor_errors(field: str, architecture: str, name: str) -> Iterator[Fault]:
    known = {
        "ssd": model_builder.SSD_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
        "faster_rcnn": model_builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
    }[architecture]
    if not name:
        yield field, f"is missing; there are {', '.join(known)}"
    elif f"{name}_keras" in known:
        yield field, f"{name} is TensorFlow 1's; give {name}_keras"
    elif name not in known:
        yield field, f"there is no {name!r}; {text_proto.near(name, known)}"


def _part(message: Message, path: str) -> Message:
    for name in path.split("."):
        message = getattr(message, name)
    return message


def _build_errors(field: str, build: Callable[[Message], object], part: Message) -> Iterator[Fault]:
    """What the OD API's own builder has against a part of the config."""
    try:
        build(part)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, tf.errors.OpError) as error:
        reason = str(error) or type(error).__name__
        yield field, f"is missing ({reason})" if not part.ByteSize() else f"cannot be built: {reason}"


def _train_errors(train: Message) -> Iterator[Fault]:
    if train.batch_size < 1:
        yield "train_config.batch_size", "is 0; it has to be 1 or more"
    if not train.HasField("num_steps"):
        yield "train_config.num_steps", "is missing: say how many steps to train (STEPS= on the command line)"
    if not 0 <= train.gradient_clipping_by_norm < math.inf:
        yield "train_config.gradient_clipping_by_norm", "has to be 0 (none) or more"
    yield from _optimizer_errors(train.optimizer)
    for index, step in enumerate(train.data_augmentation_options):
        yield from _build_errors(f"train_config.data_augmentation_options[{index}]", preprocessor_builder.build, step)
    yield from _path_errors("train_config.fine_tune_checkpoint", train.fine_tune_checkpoint, _find_checkpoint)


def _optimizer_errors(optimizer: Message) -> Iterator[Fault]:
    name = optimizer.WhichOneof("optimizer")
    plain = type(optimizer)()
    plain.CopyFrom(optimizer)
    plain.use_moving_average = False
    field = f"train_config.optimizer.{name}.learning_rate"
    rate = getattr(optimizer, name).learning_rate
    schedule = rate.WhichOneof("learning_rate")
    if schedule is None:
        choices = ", ".join(each.name for each in rate.DESCRIPTOR.oneofs[0].fields)
        yield field, f"is missing; it takes one of {choices}"
        return
    yield from _build_errors(f"{field}.{schedule}", _first_learning_rate, plain)
    numbers = getattr(rate, schedule)
    for number in numbers.DESCRIPTOR.fields:
        if number.cpp_type == number.CPPTYPE_FLOAT and not 0 <= getattr(numbers, number.name) < math.inf:
            yield f"{field}.{schedule}.{number.name}", "has to be 0 or more, and finite"
    if optimizer.use_moving_average and not 0 <= optimizer.moving_average_decay < 1:
        yield "train_config.optimizer.moving_average_decay", "has to be from 0 to below 1"


def _first_learning_rate(optimizer: Message) -> None:
    """Builds the optimiser and asks for a learning rate: some of the OD API's schedules look at their numbers then."""
    _, (learning_rate,) = optimizer_builder.build(optimizer, global_step=tf.Variable(0, dtype=tf.int64))
    if callable(learning_rate):
        learning_rate()


def _trainer_errors(trainer: Message) -> Iterator[Fault]:
    if trainer.metric not in trainer_settings.METRICS:
        reason = f"there is no {trainer.metric!r}; {text_proto.near(trainer.metric, trainer_settings.METRICS)}"
        yield "trainer.metric", reason
    for name in ("save_every", "accumulate"):
        if getattr(trainer, name) < 1:
            yield f"trainer.{name}", "is 0; it has to be 1 or more"
    if not 0 <= trainer.smallest_face < math.inf:
        yield "trainer.smallest_face", "has to be 0 (none is too small) or more pixels"
    for index, start in enumerate(trainer.start):
        if not start.checkpoint:
            reason = "is missing: the name of the folder that the checkpoint lies in, such as ssdlite_mobilenet_v2_coco"
            yield f"trainer.start[{index}].checkpoint", reason
        for number, pattern in enumerate(start.reinitialise):
            try:
                re.compile(pattern)
            except re.error as error:
                reason = f"{pattern!r} is not a regular expression ({error})"
                yield f"trainer.start[{index}].reinitialise[{number}]", reason
    if trainer.HasField("face_crop"):
        crop = trainer.face_crop
        if not 0 <= crop.share <= 1:
            yield "trainer.face_crop.share", f"is {crop.share:g}; a share is from 0 to 1"
        if not 0 < crop.min_size < math.inf:
            yield "trainer.face_crop.min_size", "has to be above 0 pixels"
        if not crop.min_size <= crop.max_size < math.inf:
            yield "trainer.face_crop.max_size", f"is {crop.max_size:g}, below min_size {crop.min_size:g}"
        if not 0 < crop.max_zoom < math.inf:
            yield "trainer.face_crop.max_zoom", "has to be above 0; 1 enlarges nothing"


def _reader_errors(field: str, reader: InputReader) -> Iterator[Fault]:
    for name in _BOXES_ONLY:
        if getattr(reader, name):
            yield f"{field}.{name}", "records of faces have boxes only; remove it"
    if reader.HasField("external_input_reader"):
        yield f"{field}.external_input_reader", "cannot be read here; give tf_record_input_reader"
    if reader.max_number_of_boxes < 1:
        yield f"{field}.max_number_of_boxes", "has to be 1 or more"
    for index, path in enumerate(reader.tf_record_input_reader.input_path):
        name = f"{field}.tf_record_input_reader.input_path[{index}]"
        yield from _path_errors(name, path, tfrecord_file.find_files)


def _label_map_errors(field: str, reader: InputReader, architecture: str, num_classes: int) -> Iterator[Fault]:
    path = reader.label_map_path
    faults = list(_path_errors(f"{field}.label_map_path", path, label_map.read))
    yield from faults
    if path and not faults:
        classes = label_map.read(path)
        if len(classes) != num_classes:
            reason = f"is {num_classes}, but {path} has {len(classes)}; they have to be the same"
            yield f"model.{architecture}.num_classes", reason
        elif max(classes.values()) > num_classes:
            reason = f"{path} has the id {max(classes.values())}; ids go from 1 to num_classes, {num_classes}"
            yield f"{field}.label_map_path", reason


def _path_errors(field: str, path: str, use: Callable[[str], object]) -> Iterator[Fault]:
    if not path:  # it comes from the command line
        return
    if PLACEHOLDER in path:
        yield field, "is a placeholder still; give the path, or remove the line: the command line gives it, too"
        return
    try:
        use(path)
    except UserError as error:
        yield field, str(error)


def _find_checkpoint(prefix: str) -> None:
    if not Path(prefix.removesuffix(".index") + ".index").is_file():
        raise UserError(f"{prefix}: no checkpoint here; give its path without .index")
