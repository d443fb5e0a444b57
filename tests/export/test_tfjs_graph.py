"""Graphs of TensorFlow.js models: written here from TensorFlow's graphs in both forms of the format, and read back."""

import base64
import json

import numpy as np
import pytest
import slim_network
import tensorflow as tf
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from export import tfjs_graph


def write(folder, graph_def, *, early: bool = False):
    """model.json and its shard, as the converter writes them: constants among the weights. Returns the path.

    Args:
        early: as converters before 1.0 did: byte strings as lists of numbers.
    """
    topology = json_format.MessageToDict(graph_def)
    entries, data = [], b""
    for node, written in zip(graph_def.node, topology["node"], strict=True):
        if node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
            entries.append({"name": node.name, "shape": list(value.shape), "dtype": value.dtype.name})
            data += value.tobytes()
            written["attr"]["value"]["tensor"].pop("tensorContent", None)
            for key in [key for key in written["attr"]["value"]["tensor"] if key.endswith("Val")]:
                del written["attr"]["value"]["tensor"][key]
    document = {
        "modelTopology": as_codes(topology) if early else topology,
        "weightsManifest": [{"paths": ["shard"], "weights": entries}],
    }
    (folder / "shard").write_bytes(data)
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def as_codes(value, repeated=False):
    """Every byte string as the list of its codes; every "list" with an empty one of each kind that it has not."""
    if isinstance(value, list):
        return [as_codes(item) for item in value]
    if not isinstance(value, dict):
        return value
    done = {key: as_codes(item, key == "list") for key, item in value.items() if key != "s"}
    if "s" in value:
        codes = [list(base64.b64decode(item)) for item in ([value["s"]] if not repeated else value["s"])]
        done["s"] = codes if repeated else codes[0]
    elif repeated:
        done["s"] = []
    return done


@pytest.mark.parametrize("early", [False, True])
def test_what_is_written_is_read(tmp_path, early):
    graph_def = slim_network.folded_by_optimiser("remap")
    read = tfjs_graph.read(write(tmp_path, graph_def, early=early))
    assert len(read.node) == len(graph_def.node)
    for node, other in zip(graph_def.node, read.node, strict=True):
        assert (node.name, node.op, list(node.input)) == (other.name, other.op, list(other.input))
        for key in node.attr:
            if node.op == "Const" and key == "value":
                one, two = tf.make_ndarray(node.attr[key].tensor), tf.make_ndarray(other.attr[key].tensor)
                np.testing.assert_array_equal(one, two, strict=True)
            else:
                assert node.attr[key] == other.attr[key], (node.name, key)


def test_models_that_are_not_whole(tmp_path):
    path = write(tmp_path, slim_network.folded_by_optimiser())
    document = json.loads(path.read_text())
    for topology, message in [
        (None, "no graph in it"),
        ({"model_config": {}}, "no graph in it"),
        ({"node": 3}, "not a whole TensorFlow"),
        ({"node": [{"name": "x", "op": "Const"}]}, "no weight for the constant x"),
        ({"node": [{"name": "x", "op": "Relu", "attr": {"T": {"s": [300]}}}]}, "not a whole TensorFlow"),
    ]:
        path.write_text(json.dumps({**document, "modelTopology": topology}))
        with pytest.raises(UserError, match=message) as error:
            tfjs_graph.read(path)
        assert str(error.value).startswith(str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_topology_is_read_or_refused(tmp_path, whole, data):
    document = json.loads(whole)
    place = document["modelTopology"]
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    (tmp_path / "model.json").write_text(json.dumps(document))
    try:
        graph_def = tfjs_graph.read(tmp_path / "model.json")
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(str(tmp_path))
    else:
        assert isinstance(graph_def, tf.compat.v1.GraphDef)


@pytest.fixture
def whole(tmp_path):
    return write(tmp_path, slim_network.folded_by_optimiser(), early=True).read_text()
