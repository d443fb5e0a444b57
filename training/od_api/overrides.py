"""--set FIELD=VALUE: single fields of a pipeline config, changed from the command line.

    train_config.batch_size=16
    model.ssd.post_processing.batch_non_max_suppression.iou_threshold=0.5
    train_config.data_augmentation_options[0].random_horizontal_flip.probability=0.3
    model.ssd.box_predictor.convolutional_box_predictor.conv_hyperparams.activation=SWISH
    model.ssd.similarity_calculator={ ioa_similarity {} }
    model.ssd.anchor_generator.flexible_grid_anchor_generator.anchor_grid[0].base_sizes=[12, 17, 24]
    trainer.patience=3
    train_config.gradient_clipping_by_norm=

FIELD is the names that lead to it; `trainer` stands for [face_detector.trainer]. Elements of a repeated field have
numbers from 0. VALUE is what a pipeline.config would say; quotes around text can be left away. Messages in { ... } and
lists in [ ... ] replace what was there; nothing at all clears the field (or removes the element).
"""

import argparse
import re
from collections.abc import Iterable

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from detect_faces.errors import UserError
from tools import text_proto
from training.od_api.trainer_settings import TRAINER

_STEP = re.compile(r"(\w+)(?:\[(\d+)\])?")


class _Fault(Exception):
    """What is wrong with an override, in one line."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds --set; its values are in `overrides` of the options."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="change a field of the config, such as train_config.batch_size=16; can be given several times",
    )


def apply(pipeline: Message, overrides: Iterable[str]) -> Message:
    """A copy of a config with FIELD=VALUE texts applied, in their order.

    Raises:
        UserError: there is no such field, or it takes no such value.
    """
    changed = type(pipeline)()
    changed.CopyFrom(pipeline)
    for override in overrides:
        try:
            _apply(changed, override)
        except _Fault as fault:
            raise UserError(" ".join(f"--set {override}: {fault}".split())) from fault
    return changed


def field_of(override: str) -> str:
    """The FIELD of FIELD=VALUE."""
    return override.partition("=")[0].strip()


def _apply(pipeline: Message, override: str) -> None:
    if "=" not in override:
        raise _Fault("give FIELD=VALUE, such as train_config.batch_size=16")
    *parents, (name, index) = [_step(text) for text in field_of(override).split(".")]
    value = override.partition("=")[2].strip()
    message, path, absent = pipeline, "", False
    for parent, number in parents:
        inner = _enter(message, parent, number, path)
        absent = absent or (number is None and not _is_set(message, _field(message, parent)))
        message = inner
        path += parent + (f"[{number}]" if number is not None else "") + "."
    if absent and not value:
        _field(message, name)  # there has to be such a field; to clear it would make the messages around it
    else:
        _assign(message, name, index, value, path + name)


def _step(text: str) -> tuple[str, int | None]:
    match = _STEP.fullmatch(text)
    if not match:
        raise _Fault(f"{text!r} is no field; fields are named a.b.c, elements of a repeated one c[0]")
    return match[1], None if match[2] is None else int(match[2])


def _field(message: Message, name: str) -> FieldDescriptor:
    extensions = {"trainer": TRAINER} if message.DESCRIPTOR == TRAINER.containing_type else {}
    field = message.DESCRIPTOR.fields_by_name.get(name) or extensions.get(name)
    if field is None:
        raise _Fault(text_proto.unknown_field(message.DESCRIPTOR, name, extensions))
    return field


def _value(message: Message, field: FieldDescriptor):
    return message.Extensions[field] if field.is_extension else getattr(message, field.name)


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    return message.HasExtension(field) if field.is_extension else message.HasField(field.name)


def _element(message: Message, field: FieldDescriptor, index: int, path: str):
    """The repeated field, once it is sure that it has such an element."""
    if not field.is_repeated or (field.message_type and field.message_type.GetOptions().map_entry):
        raise _Fault(f"{path} has no elements with numbers; give {path.rpartition('.')[2]} without [{index}]")
    container = _value(message, field)
    if index >= len(container):
        have = f"{len(container)}, the last is [{len(container) - 1}]" if container else "none"
        raise _Fault(f"{path} has no element [{index}]: there are {have}")
    return container


def _enter(message: Message, name: str, index: int | None, prefix: str) -> Message:
    """The message in a field."""
    field, path = _field(message, name), prefix + name
    if not field.message_type:
        raise _Fault(f"{path} has no fields in it: it takes {text_proto.expected(field)}")
    if index is not None:
        return _element(message, field, index, path)[index]
    if field.is_repeated:
        raise _Fault(f"{path} is repeated; say which of them, such as {path}[0]")
    other = field.containing_oneof and message.WhichOneof(field.containing_oneof.name)
    if other and other != name:
        # Going on would throw away all of the other without a word.
        whole = prefix.rstrip(".") or name
        raise _Fault(f"the config has {other} in place of {name}; {whole}={{ {name} {{ ... }} }} exchanges them")
    return _value(message, field)


def _assign(message: Message, name: str, index: int | None, value: str, path: str) -> None:
    field = _field(message, name)
    container = None if index is None else _element(message, field, index, path)
    if not value:
        if container is not None:
            del container[index]
        elif field.is_extension:
            message.ClearExtension(field)
        else:
            message.ClearField(name)
        return
    given = _parsed(message, field, value, whole=index is None)
    if container is None:
        if field.is_extension:
            message.ClearExtension(field)
        else:
            message.ClearField(name)
        message.MergeFrom(given)
    elif field.message_type:
        container[index].CopyFrom(_value(given, field)[0])
    else:
        container[index] = _value(given, field)[0]


def _parsed(message: Message, field: FieldDescriptor, value: str, whole: bool) -> Message:
    """A message of the type of `message` with nothing but a value in `field`; `whole`: it may be a list."""
    is_list = field.is_repeated and value.startswith("[")
    if field.message_type and not value.startswith(("{", "<")) and not is_list:
        raise _Fault(f"{field.name} takes {text_proto.expected(field)}, not {value}")
    if field.cpp_type == field.CPPTYPE_STRING and not is_list and not value.startswith(('"', "'")):
        value = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    label = f"[{field.full_name}]" if field.is_extension else field.name
    try:
        given = text_proto.parse(f"{label}: {value}", type(message)())
    except text_proto.TextError as error:
        raise _Fault(error.reason) from error
    set_fields = [each.full_name for each, _ in given.ListFields()]
    if set_fields not in ([field.full_name], [] if is_list else None):
        raise _Fault(f"give one value; another --set takes another field (there is more than {field.name})")
    if not whole and len(_value(given, field)) != 1:
        raise _Fault(f"{field.name}[...] is one element, so takes one value; {field.name}=[ ... ] takes all of them")
    return given
