"""One image as a serialised tf.train.Example, with the OD API's keys, without TensorFlow.

Keys as object_detection/data_decoders/tf_example_decoder.py reads them:

    image/{encoded, format, height, width, filename, source_id, key/sha256}
    image/object/bbox/{xmin, xmax, ymin, ymax}       float, 0..1 of the image
    image/object/class/{text, label}                 label: the id in the label map
    image/object/{area, weight}                      float; area in pixels; weight 0 for a box to ignore, else 1
    image/object/is_crowd                            1 where COCO metrics are to pass over the box: ignore or group_of
    image/object/{difficult, group_of, occluded, ...} the image's other flags, by their names in tools.annotations

The decoder makes booleans of difficult and group_of, where -1 (unknown) would become true: they are stored as 0.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from tools.annotations import FLAGS, AnnotatedImage
from tools.images import EncodedImage, ImageError, upright_size

# tensorflow/core/example/{example,feature}.proto in a pool of its own, so that TensorFlow can register its own.
_FILE = text_format.Parse(
    """
    name: "example.proto" package: "tensorflow" syntax: "proto3"
    message_type {
      name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
    }
    message_type {
      name: "FloatList"
      field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED options { packed: true } }
    }
    message_type {
      name: "Int64List"
      field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED options { packed: true } }
    }
    message_type {
      name: "Feature"
      oneof_decl { name: "kind" }
      field {
        name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: "BytesList" label: LABEL_OPTIONAL oneof_index: 0
      }
      field {
        name: "float_list" number: 2 type: TYPE_MESSAGE type_name: "FloatList" label: LABEL_OPTIONAL oneof_index: 0
      }
      field {
        name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: "Int64List" label: LABEL_OPTIONAL oneof_index: 0
      }
    }
    message_type {
      name: "Features"
      field { name: "feature" number: 1 type: TYPE_MESSAGE type_name: "FeatureEntry" label: LABEL_REPEATED }
      nested_type {
        name: "FeatureEntry" options { map_entry: true }
        field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
        field { name: "value" number: 2 type: TYPE_MESSAGE type_name: "Feature" label: LABEL_OPTIONAL }
      }
    }
    message_type {
      name: "Example"
      field { name: "features" number: 1 type: TYPE_MESSAGE type_name: "Features" label: LABEL_OPTIONAL }
    }
    """,
    descriptor_pb2.FileDescriptorProto(),
)
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_FILE)
Example = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("tensorflow.Example"))

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_BOOLEANS = ("difficult", "group_of")


class ExampleError(Exception):
    """What is wrong with the bytes of an example, in a few words."""


def encode(image: AnnotatedImage, encoded: EncodedImage, label_map: Mapping[str, int]) -> bytes:
    """The example of an image whose boxes are clipped to it; the same bytes every time.

    Raises KeyError with the name of a class that the label map does not have.
    """
    example = Example()
    feature = example.features.feature

    def put_bytes(key: str, values: list[bytes]) -> None:
        feature[f"image/{key}"].bytes_list.value.extend(values)

    def put_ints(key: str, values) -> None:
        numbers = feature[f"image/{key}"].int64_list
        numbers.SetInParent()  # a list without values keeps its type, as tf.io.parse_example wants it
        numbers.value.extend(np.asarray(values, np.int64).tolist())

    def put_floats(key: str, values) -> None:
        numbers = feature[f"image/{key}"].float_list
        numbers.SetInParent()
        numbers.value.extend(np.asarray(values, np.float32).tolist())

    size = np.array([encoded.width, encoded.height] * 2, np.float64)
    put_bytes("encoded", [encoded.data])
    put_bytes("format", [encoded.format.encode()])
    put_bytes("filename", [image.name.encode()])
    put_bytes("source_id", [image.name.encode()])
    put_bytes("key/sha256", [hashlib.sha256(encoded.data).hexdigest().encode()])
    put_ints("height", [encoded.height])
    put_ints("width", [encoded.width])
    for side, values in zip(_SIDES, (image.xyxy / size).T, strict=True):
        put_floats(f"object/bbox/{side}", values)
    put_ints("object/class/label", [label_map[name] for name in image.classes])
    feature["image/object/class/text"].bytes_list.SetInParent()
    put_bytes("object/class/text", [name.encode() for name in image.classes])
    put_floats("object/area", np.prod(image.xyxy[:, 2:] - image.xyxy[:, :2], axis=1))
    put_floats("object/weight", ~image.ignore)
    put_ints("object/is_crowd", image.ignore | (image.flags.get("group_of", np.zeros(len(image))) == 1))
    for name, values in image.flags.items():
        if name != "ignore":
            put_ints(f"object/{name}", np.maximum(values, 0) if name in _BOOLEANS else values)
    return example.SerializeToString(deterministic=True)


def decode(data: bytes) -> AnnotatedImage:
    """The image of an example, its encoded bytes as the source. Raises ExampleError.

    Reads what other writers leave out: a class without text gets its label's number as name, a missing size comes from
    the image, a box is to be ignored where weight is 0 or, without weights, where is_crowd is set and group_of is not.
    """
    try:
        feature = Example.FromString(data).features.feature
    except DecodeError as error:
        raise ExampleError("not a tf.train.Example") from error

    def get(key: str, kind: str) -> list:
        found = feature[f"image/{key}"].WhichOneof("kind") if f"image/{key}" in feature else None
        if found not in (None, kind):
            raise ExampleError(f"image/{key} is a {found}, not a {kind}")
        return list(getattr(feature[f"image/{key}"], kind).value) if found else []

    def get_text(key: str) -> list[str]:
        try:
            return [value.decode("utf-8") for value in get(key, "bytes_list")]
        except UnicodeDecodeError as error:
            raise ExampleError(f"image/{key} is not text") from error

    encoded = get("encoded", "bytes_list")
    if not encoded:
        raise ExampleError("has no image/encoded")
    name = "".join(get_text("filename")[:1] or get_text("source_id")[:1])
    if not name:
        raise ExampleError("has neither image/filename nor image/source_id")
    size = get("width", "int64_list") + get("height", "int64_list")
    if len(size) != 2 or min(size) < 1:
        try:
            size = upright_size(encoded[0])
        except ImageError as error:
            raise ExampleError(f"its image: {error}") from error
    classes = get_text("object/class/text") or [str(label) for label in get("object/class/label", "int64_list")]
    sides = [get(f"object/bbox/{side}", "float_list") for side in _SIDES]
    flags = {name: get(f"object/{name}", "int64_list") for name in FLAGS if f"image/object/{name}" in feature}
    crowd = get("object/is_crowd", "int64_list")
    if weights := get("object/weight", "float_list"):
        flags["ignore"] = [weight == 0 for weight in weights]
    elif crowd:
        group_of = flags.get("group_of") or [0] * len(crowd)
        flags["ignore"] = [c != 0 and g != 1 for c, g in zip(crowd, group_of, strict=False)]
    if len({len(values) for values in [*sides, classes, *flags.values()]}) > 1:
        raise ExampleError("its boxes, classes and flags differ in number")
    xyxy = np.array(sides, np.float64).T * [*size, *size]
    return AnnotatedImage(name, *size, xyxy, tuple(classes), encoded[0], flags)


def labels(data: bytes) -> list[int]:
    """The class ids of an example that decode takes."""
    return list(Example.FromString(data).features.feature["image/object/class/label"].int64_list.value)
