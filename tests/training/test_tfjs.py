"""Weights of TensorFlow.js models: written here by the format's definition, read back; torn and wrong files refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detect_faces.errors import UserError
from training.tfjs import read_weights

WEIGHTS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["<f4", "<i4", "?"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)


def write(folder, entries, data, shards=1, names=None):
    """model.json for `entries` (name, shape, dtype, ...) with `data` cut into shards. Returns its path."""
    names = names or [f"group1-shard{i + 1}of{shards}" for i in range(shards)]
    ends = np.linspace(0, len(data), len(names) + 1).astype(int)
    for name, first, last in zip(names, ends, ends[1:], strict=False):
        if "/" not in name:
            (folder / name).write_bytes(data[first:last])
    path = folder / "model.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": names, "weights": entries}]}))
    return path


def entry(name, value):
    return {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}


@given(weights=WEIGHTS, shards=st.integers(1, 4))
def test_what_is_written_is_read(tmp_path_factory, weights, shards):
    data = b"".join(value.tobytes() for value in weights.values())
    path = write(tmp_path_factory.mktemp("tfjs"), [entry(*item) for item in weights.items()], data, shards)
    read = read_weights(path)
    assert list(read) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(read[name], value, strict=True)


@pytest.mark.parametrize(
    ("stored", "quantization", "dtype", "expected"),
    [
        (np.array([0, 255], "u1"), {"dtype": "uint8", "scale": 0.5, "min": -10}, "float32", [-10, 117.5]),
        (np.array([0, 65535], "<u2"), {"dtype": "uint16", "scale": 2.0, "min": 1}, "float32", [1, 131071]),
        (np.array([0, 3], "u1"), {"dtype": "uint8", "scale": 0.9, "min": 0}, "int32", [0, 3]),
        (np.array([1.5, -2], "<f2"), {"dtype": "float16"}, "float32", [1.5, -2]),
    ],
)
def test_quantised_weights(tmp_path, stored, quantization, dtype, expected):
    entries = [{"name": "w", "shape": [2], "dtype": dtype, "quantization": quantization}]
    read = read_weights(write(tmp_path, entries, stored.tobytes()))["w"]
    np.testing.assert_array_equal(read, np.array(expected, dtype), strict=True)


W = {"name": "w", "shape": [2, 3], "dtype": "float32"}


@pytest.mark.parametrize(
    ("entries", "size", "message"),
    [
        ([W], 0, "the shards end in w"),
        ([W], 23, "the shards end in w"),
        ([W], 25, "1 bytes more"),
        ([W, W], 24, "the shards end in w"),
        ([{**W, "shape": [-2, -3]}], 24, "shape"),
        ([{**W, "shape": [2**40, 2**40]}], 24, "the shards end in w"),
        ([{**W, "shape": "23"}], 24, "shape"),
        ([{**W, "shape": None}], 24, "not a whole"),
        ([{**W, "dtype": "string"}], 24, "type string"),
        ([{"name": "w", "shape": []}], 24, "no 'dtype'"),
        (["w"], 24, "not a whole"),
        ([{**W, "quantization": {"dtype": "uint8"}}], 6, "no 'scale'"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, entries, size, message):
    path = write(tmp_path, entries, bytes(size))
    with pytest.raises(UserError, match=message) as error:
        read_weights(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weightsManifest": 3}', '{"weightsManifest": [{}]}'])
def test_no_model(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json: not a whole TensorFlow\.js model"):
        read_weights(tmp_path / "model.json")


def test_a_missing_shard_and_a_shard_elsewhere(tmp_path):
    path = write(tmp_path, [W], bytes(24), shards=2)
    (tmp_path / "group1-shard2of2").unlink()
    with pytest.raises(UserError, match="group1-shard2of2: No such file"):
        read_weights(path)
    with pytest.raises(UserError, match="not a file beside it"):
        read_weights(write(tmp_path, [W], bytes(24), names=["../secret"]))
    with pytest.raises(UserError, match="No such file"):
        read_weights(tmp_path / "other.json")
