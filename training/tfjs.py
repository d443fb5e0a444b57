"""The weights of a TensorFlow.js model: model.json and the files of weights ("shards") beside it.

model.json names groups of weights; the shards of a group, put together, hold its weights one after the other, little
endian, without gaps. A quantised weight is stored as uint8 or uint16, meaning value * scale + min, or as float16.
Source: WeightsManifestConfig and WeightsManifestEntry in TensorFlow.js (tfjs-core/src/io/types.ts).
"""

import json
import math
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError

_STORED = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int32": np.dtype("<i4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The weights by name, in the shapes and types that the model computes with.

    Args:
        path: model.json.

    Raises:
        UserError: not such a file, or its shards are missing or of another size than it says.
    """
    path = Path(path)
    try:
        weights = {}
        for group in json.loads(path.read_bytes())["weightsManifest"]:
            weights.update(_split(_shards(path.parent, group["paths"]), group["weights"]))
        return weights
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not a whole TensorFlow.js model ({what})") from error


def _shards(folder: Path, names: list[str]) -> bytes:
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"{name!r} is not a file beside it")
    return b"".join((folder / name).read_bytes() for name in names)


def _split(data: bytes, entries: list[dict]) -> dict[str, np.ndarray]:
    weights, offset = {}, 0
    for entry in entries:
        name, shape, quantization = entry["name"], entry["shape"], entry.get("quantization")
        stored = _dtype((quantization or entry)["dtype"])
        if any(type(side) is not int or side < 0 for side in shape):
            raise ValueError(f"{name} has the shape {shape}")
        count = math.prod(shape)
        if offset + count * stored.itemsize > len(data):
            raise ValueError(f"the shards end in {name}")
        values = np.frombuffer(data, stored, count, offset).reshape(shape)
        weights[name] = _dequantized(values, quantization, _dtype(entry["dtype"])) if quantization else values
        offset += values.nbytes
    if offset != len(data):
        raise ValueError(f"the shards have {len(data) - offset} bytes more than the weights")
    return weights


def _dtype(name: str) -> np.dtype:
    if name not in _STORED:
        raise ValueError(f"weights of the type {name} are not read here")
    return _STORED[name]


def _dequantized(values: np.ndarray, quantization: dict, dtype: np.dtype) -> np.ndarray:
    if values.dtype != _STORED["float16"]:
        values = values * np.float32(quantization["scale"]) + np.float32(quantization["min"])
        if dtype.kind != "f":
            values = np.rint(values)
    return values.astype(dtype)
