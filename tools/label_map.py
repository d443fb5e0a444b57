"""The label map: class names to ids, in the OD API's label_map.pbtxt, without the OD API.

    item { id: 1 name: "face" display_name: "Human face" }

The format is the text form of object_detection.protos.StringIntLabelMap. Ids begin at 1; 0 is the background. Only id,
name and display_name are read; what else an item may hold (keypoints, hierarchy) is passed over.
"""

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole

# A pool of its own: the OD API registers the same message names in the default one.
_FILE = text_format.Parse(
    """
    name: "label_map.proto" package: "object_detection.protos"
    message_type {
      name: "StringIntLabelMapItem"
      field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "id" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
      field { name: "display_name" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
    }
    message_type {
      name: "StringIntLabelMap"
      field { name: "item" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: "StringIntLabelMapItem" }
    }
    """,
    descriptor_pb2.FileDescriptorProto(),
)
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_FILE)
_LabelMap = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("object_detection.protos.StringIntLabelMap"))


def read(path: str | Path) -> dict[str, int]:
    """{name: id} in the order of the file. Raises UserError with the line (or item) that is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a label_map.pbtxt") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not a label map") from error
    try:
        message = text_format.Parse(text, _LabelMap(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise UserError(f"{path}, line {error.GetLine()}: not a label map ({_reason(error)})") from error
    label_map: dict[str, int] = {}
    for number, item in enumerate(message.item, 1):
        if not item.name:
            raise UserError(f"{path}, item {number}: has no name")
        if item.id < 1:
            raise UserError(f"{path}, item {number} ({item.name!r}): id must be 1 or more; 0 is the background")
        if item.name in label_map:
            raise UserError(f"{path}, item {number}: the name {item.name!r} is there twice")
        if item.id in label_map.values():
            raise UserError(f"{path}, item {number} ({item.name!r}): the id {item.id} is there twice")
        label_map[item.name] = item.id
    if not label_map:
        raise UserError(f'{path}: no item; a label map has one `item {{ id: 1 name: "face" }}` for each class')
    return label_map


def write(path: str | Path, label_map: Mapping[str, int], display_names: Mapping[str, str] | None = None) -> None:
    """Writes {name: id}, whole or not at all."""
    display_names = display_names or {}
    items = [
        {"name": name, "id": number} | ({"display_name": display_names[name]} if name in display_names else {})
        for name, number in label_map.items()
    ]
    write_whole(Path(path), text_format.MessageToString(_LabelMap(item=items), as_utf8=True).encode())


def _reason(error: text_format.ParseError) -> str:
    """The message without the position that protobuf puts before it."""
    return str(error).partition(" : ")[2] or str(error)
