"""What kind of model a file or folder holds, by its content: names mislead. TensorFlow is not needed to tell."""

import glob
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from detect_faces.errors import UserError

KINDS = "a frozen graph (.pb), SavedModel (its folder), checkpoint (its prefix), TFLite or ONNX file"
SSTABLE_END = bytes.fromhex("57fb808b247547db")  # of a checkpoint's index

# How other files begin: what they are, and what to do with them.
FOREIGN = [
    (rb"\xff\xd8\xff", "a JPEG photograph, not a model"),
    (rb"\x89PNG\r\n|GIF8|RIFF....WEBP|BM....\0\0\0\0", "a picture, not a model"),
    (rb"version https://git-lfs", "a pointer of git-lfs in place of the model; run `git lfs pull` where it lies"),
    (rb"\s*(?i:<!DOCTYPE html|<html|<head|<body)", "a web page, as servers send instead of a file; download it again"),
    (rb"\x89HDF\r\n", "a Keras or HDF5 file (.h5); load it with Keras and save it as a SavedModel"),
    (rb"PK\x03\x04.{0,300}?/(data\.pkl|\.format_version|byteorder|data/)", "a PyTorch file; export it to ONNX first"),
    (rb"PK\x03\x04.{0,300}?(config\.json|metadata\.json)", "a Keras file; load it there and save it as a SavedModel"),
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive; unpack it and give the model in it"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|.{257}ustar", "an archive; unpack it, give what is in it"),
    (rb"\x80[\x02-\x05]", "a Python pickle, as PyTorch (.pth) writes: a program; export it to ONNX where it was made"),
    (rb".{8}\{\"", "a safetensors file: weights without a network; export the model to ONNX"),
    (rb"\s*(node|graph_def|meta_graphs|saved_model_schema_version|model)\s*[:{]", "text, not a binary file; save the "
     "model in its binary form"),
    (rb"\s*<\?xml", "an XML file, not a model of a kind that is read here"),
]  # fmt: skip


class Kind(StrEnum):
    """What a model is stored as."""

    FROZEN_GRAPH = "frozen_graph"
    SAVED_MODEL = "saved_model"
    CHECKPOINT = "checkpoint"
    META_GRAPH = "meta_graph"
    TFLITE = "tflite"
    ONNX = "onnx"
    TFJS = "tfjs"


def kind(path: str | Path) -> Kind:
    """The kind of model at `path`: a file, the folder of a SavedModel or of checkpoints, or a checkpoint's prefix.

    It looks at the beginning and the frame of a file, and vouches for no more than that.

    Raises:
        UserError: nothing is there, it is cut off, or something else: the message says what, and what to do.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        if path.with_name(path.name + ".index").is_file():
            return kind(path.with_name(path.name + ".index"))
        raise UserError(f"{path}: No such file or directory; give {KINDS}")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if not data:
        raise UserError(f"{path}: the file is empty; get it again")
    if data[4:8] == b"TFL3":
        return Kind.TFLITE
    if data.endswith(SSTABLE_END):
        return _checkpoint_index(path)
    if data[:100].lstrip()[:1] in (b"{", b"["):
        return _json(path, data)
    for pattern, what in FOREIGN:
        if re.match(pattern, data[:600], re.DOTALL):
            raise UserError(f"{path}: {what}")
    if found := _protobuf(path, data):
        return found
    if path.suffix == ".index":
        raise UserError(f"{path}: the index of a checkpoint, cut off or damaged; get it again")
    if ".data-" in path.name and path.with_name(path.name.partition(".data-")[0] + ".index").is_file():
        raise UserError(f"{path}: a part of a checkpoint; give {str(path).partition('.data-')[0]}")
    raise UserError(f"{path}: not a model of a kind that is known here; give {KINDS}")


def checkpoint_prefix(path: str | Path) -> Path:
    """The prefix of a checkpoint that is named by its prefix, its .index, or its folder (then the newest in it).

    Raises:
        UserError: the folder holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return path.with_suffix("") if path.suffix == ".index" else path
    state = path / "checkpoint"
    if state.is_file():
        named = re.match(r'model_checkpoint_path: "(.*)"', state.read_text(errors="replace"))
        if named and (path / named[1]).with_name(Path(named[1]).name + ".index").is_file():
            return path / named[1]
    indexes = sorted(path.glob("*.index"), key=lambda index: (index.stat().st_mtime, index.name))
    if not indexes:
        raise UserError(f"{path}: no checkpoint in it: no file ends in .index")
    return indexes[-1].with_suffix("")


def _folder(path: Path) -> Kind:
    if any((path / f"saved_model.{end}").exists() for end in ("pb", "pbtxt", "cpb")):
        return Kind.SAVED_MODEL
    if any(path.glob("*.index")):
        return kind(checkpoint_prefix(path))
    inside = sorted(name for name in ("model.json", "saved_model", "checkpoint") if (path / name).exists())
    inside += sorted(file.name for file in path.iterdir() if file.suffix in (".pb", ".tflite", ".onnx"))
    hint = f"give one of what is in it: {', '.join(inside)}" if inside else "give " + KINDS
    raise UserError(f"{path}: a folder that is neither a SavedModel nor holds a checkpoint; {hint}")


def _checkpoint_index(path: Path) -> Kind:
    prefix = checkpoint_prefix(path)
    if not any(path.parent.glob(glob.escape(prefix.name) + ".data-*-of-*")):
        raise UserError(
            f"{path}: the index of a checkpoint; the weights, {prefix.name}.data-00000-of-00001 or more of them, "
            "have to lie beside it"
        )
    return Kind.CHECKPOINT


def _json(path: Path, data: bytes) -> Kind:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: JSON, cut off or damaged; get it again") from error
    if isinstance(document, dict) and "weightsManifest" in document:
        if document.get("format") == "layers-model" or "node" not in (document.get("modelTopology") or {}):
            raise UserError(f"{path}: a TensorFlow.js layers model; only graph models are read")
        return Kind.TFJS
    if isinstance(document, dict) and "postprocessing" in document:
        raise UserError(f"{path}: the description of an exported detector; give the .tflite file beside it")
    raise UserError(f"{path}: JSON, but not a TensorFlow.js model; give {KINDS}")


# Protocol buffers carry no signature. Their top-level fields (number and wire type) and a look inside tell them apart.
_NUMBER, _BYTES = 0, 2
_GRAPH = {(1, _BYTES), (2, _BYTES), (3, _NUMBER), (4, _BYTES), (5, _BYTES)}
_META_GRAPH = {(number, _BYTES) for number in range(1, 8)}
_SAVED_MODEL = {(1, _NUMBER), (2, _BYTES)}
_ONNX = {(number, _BYTES) for number in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26)} | {(1, _NUMBER), (5, _NUMBER)}


def _protobuf(path: Path, data: bytes) -> Kind | None:
    fields, whole = _fields(data)
    found = None
    if _is_graph(fields):
        found = Kind.FROZEN_GRAPH
    elif _is_meta_graph(fields):
        found = Kind.META_GRAPH
    elif fields.keys() <= _SAVED_MODEL and any(
        _is_meta_graph(_fields(part)[0]) for part in fields.get((2, _BYTES), ())
    ):
        found = Kind.SAVED_MODEL
    elif fields.keys() <= _ONNX and (1, _NUMBER) in fields and {(7, _BYTES), (8, _BYTES)} & fields.keys():
        found = Kind.ONNX
    if found and not whole:
        raise UserError(f"{path}: a {found.replace('_', ' ')} that is cut off or damaged; get it again")
    if found is Kind.SAVED_MODEL and path.name != "saved_model.pb":
        raise UserError(
            f"{path}: the graph of a SavedModel; name it saved_model.pb, beside its variables/, and give both"
        )
    return found


def _is_graph(fields: dict) -> bool:
    """Whether fields are those of a GraphDef: nodes with a name and an operation."""
    if not fields.keys() <= _GRAPH or (1, _BYTES) not in fields:
        return False
    node = _fields(fields[1, _BYTES][0])[0]
    op = bytes(node.get((2, _BYTES), [b""])[0])
    return (1, _BYTES) in node and re.fullmatch(rb"[A-Za-z_][\w.>/-]*", op) is not None


def _is_meta_graph(fields: dict) -> bool:
    return fields.keys() <= _META_GRAPH and any(_is_graph(_fields(part)[0]) for part in fields.get((2, _BYTES), ()))


def _fields(data: bytes | memoryview) -> tuple[dict[tuple[int, int], list], bool]:
    """The top-level fields of a message by number and wire type, and whether it is a whole one."""
    fields: dict[tuple[int, int], list] = {}
    try:
        for number, wire, value in _walk(memoryview(data)):
            fields.setdefault((number, wire), []).append(value)
    except (ValueError, IndexError):
        return fields, False
    return fields, True


def _walk(data: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _NUMBER:
            value, at = _varint(data, at)
            yield number, wire, value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            yield number, wire, 0
        elif wire == _BYTES:
            length, at = _varint(data, at)
            yield number, wire, data[at : at + length]
            at += length
        else:
            raise ValueError("not a protocol buffer")
        if at > len(data):
            raise ValueError("cut off")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not a protocol buffer")
