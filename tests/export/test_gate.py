"""The gate on frozen graphs: hostile graphs are refused by name, before anything of them runs."""

import re
from pathlib import Path

import numpy as np
import pytest

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from detect_faces import UserError, graph_file
from detect_faces.model_gate import TENSORFLOW_OPS

tf = pytest.importorskip("tensorflow")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def hostile_op(op: str, folder: Path):
    """Adds a node "evil" of this operation to the graph or function that is being built."""
    raw, file = tf.raw_ops, str(folder / "written")
    text = tf.constant("text")
    return {
        "ReadFile": lambda: raw.ReadFile(filename=file, name="evil"),
        "WriteFile": lambda: raw.WriteFile(filename=file, contents=text, name="evil"),
        "MatchingFiles": lambda: raw.MatchingFiles(pattern=str(folder / "*"), name="evil"),
        "SaveV2": lambda: raw.SaveV2(
            prefix=file, tensor_names=["a"], shape_and_slices=[""], tensors=[text], name="evil"
        ),
        "RestoreV2": lambda: raw.RestoreV2(
            prefix=file, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32], name="evil"
        ),
        "MergeV2Checkpoints": lambda: raw.MergeV2Checkpoints(
            checkpoint_prefixes=[file], destination_prefix=file, name="evil"
        ),
        "TextLineReaderV2": lambda: raw.TextLineReaderV2(name="evil"),
        "TextLineDataset": lambda: raw.TextLineDataset(
            filenames="gs://bucket/file", compression_type="", buffer_size=0, name="evil"
        ),
        "HashTableV2": lambda: raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, name="evil"),
        "InitializeTableFromTextFileV2": lambda: raw.InitializeTableFromTextFileV2(
            table_handle=raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
            filename=file,
            key_index=-2,
            value_index=-1,
            name="evil",
        ),
        "ImmutableConst": lambda: raw.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name=file, name="evil"),
        "DataServiceDatasetV2": lambda: raw.DataServiceDatasetV2(
            dataset_id=tf.constant(0, tf.int64),
            processing_mode="",
            address="localhost:1",
            protocol="grpc",
            job_name="",
            consumer_index=tf.constant(0, tf.int64),
            num_consumers=tf.constant(1, tf.int64),
            max_outstanding_requests=tf.constant(1, tf.int64),
            iteration_counter=raw.DummyIterationCounter(),
            output_types=[tf.float32],
            output_shapes=[[]],
            name="evil",
        ),
        "PyFunc": lambda: raw.PyFunc(input=[text], token="pyfunc_0", Tout=[tf.float32], name="evil"),
        "PyFuncStateless": lambda: raw.PyFuncStateless(input=[text], token="pyfunc_0", Tout=[tf.float32], name="evil"),
        "EagerPyFunc": lambda: raw.EagerPyFunc(input=[text], token="pyfunc_0", Tout=[tf.float32], name="evil"),
        "PrintV2": lambda: raw.PrintV2(input=text, output_stream=f"file://{file}", name="evil"),
        "CreateSummaryFileWriter": lambda: raw.CreateSummaryFileWriter(
            writer=raw.SummaryWriter(),
            logdir=str(folder),
            max_queue=1,
            flush_millis=1,
            filename_suffix="",
            name="evil",
        ),
    }[op]


FILE_OPS = ("ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2", "MergeV2Checkpoints", "ImmutableConst")
OTHER_OPS = ("TextLineReaderV2", "TextLineDataset", "InitializeTableFromTextFileV2", "PyFunc")
OTHER_OPS += ("DataServiceDatasetV2", "PyFuncStateless", "EagerPyFunc", "PrintV2", "CreateSummaryFileWriter")


def saved(graph_def, folder: Path) -> Path:
    path = folder / "model.pb"
    path.write_bytes(graph_def.SerializeToString())
    return path


def refused(path: Path, op: str, node: str = "evil") -> None:
    with pytest.raises(UserError) as error:
        graph_file.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: refused: ") and "--trust" in message and "\n" not in message
    assert re.search(rf"\b{re.escape(op)}\b", message) and node in message


@pytest.mark.parametrize("op", FILE_OPS + OTHER_OPS)
def test_at_the_top_level(graph, tmp_path, op):
    hostile_op(op, tmp_path)()
    path = saved(graph.as_graph_def(), tmp_path)
    before = set(tmp_path.iterdir())
    helper = {"InitializeTableFromTextFileV2": "HashTableV2", "DataServiceDatasetV2": "DummyIterationCounter"}
    helper |= {"CreateSummaryFileWriter": "SummaryWriter"}
    # An operation that the hostile one needs comes before it, and is refused for itself.
    refused(path, helper.get(op, op), "" if op in helper else "evil")
    assert set(tmp_path.iterdir()) == before
    assert op not in TENSORFLOW_OPS
    assert len(graph_file.read(path, trust=True).node) == len(graph.as_graph_def().node)


@pytest.mark.parametrize(
    "op", ["RpcClient", "LoadLibrary", "MyCustomOp", "_Send", "read_file", "Relu\nall is well", ""]
)
def test_operations_that_python_cannot_make(tmp_path, op):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.node.add(name="evil\x1b[2J", op=op)
    refused(saved(graph_def, tmp_path), op.replace("\n", r"\n"), r"evil\x1b[2J")


def test_why_the_gate_comes_before_the_import(graph, tmp_path):
    """TensorFlow reads a file while it only imports this graph: to infer the shape of `y`."""
    with graph.as_default():
        contents = tf.raw_ops.ReadFile(filename=str(tmp_path / "shape"), name="evil")
        x = tf.compat.v1.placeholder(tf.float32, [None])
        tf.reshape(x, tf.io.decode_raw(contents, tf.int32), name="y")
    np.array([2, 3], np.int32).tofile(tmp_path / "shape")
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph.as_graph_def(), name="")
        assert imported.get_tensor_by_name("y:0").shape == [2, 3]
    refused(saved(graph.as_graph_def(), tmp_path), "ReadFile")


def write_file_in(folder: Path):
    return lambda: tf.raw_ops.WriteFile(filename=str(folder / "written"), contents="x", name="evil")


def if_branch(x, write):
    def branch():
        with tf.control_dependencies([write()]):
            return x + 1

    return tf.cond(x > 0, branch, lambda: x)


def while_body(x, write):
    def body(y):
        with tf.control_dependencies([write()]):
            return y + 1

    return tf.while_loop(lambda y: y < 3, body, [x])


@pytest.mark.parametrize("build", [if_branch, while_body])
def test_in_a_function_that_only_control_flow_reaches(tmp_path, build):
    concrete = tf.function(lambda x: build(x, write_file_in(tmp_path))).get_concrete_function(
        tf.TensorSpec([], "float32")
    )
    graph_def = concrete.graph.as_graph_def()
    assert "WriteFile" not in {node.op for node in graph_def.node}
    path = saved(graph_def, tmp_path)
    refused(path, "WriteFile")
    # It is no harmless graph that was refused: whoever trusts it, has it run.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_file.read(path, trust=True), name="")
        assert not (tmp_path / "written").exists()
        session.run(concrete.outputs[0].name, {concrete.inputs[0].name: 1.0})
        assert (tmp_path / "written").exists()


def function_def(name: str, op: str):
    return tf.compat.v1.GraphDef.FromString(
        tf.compat.v1.GraphDef(
            library={"function": [{"signature": {"name": name}, "node_def": [{"name": "evil", "op": op}]}]}
        ).SerializeToString()
    ).library.function[0]


def harmless() -> tf.compat.v1.GraphDef:
    graph_def = tf.compat.v1.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = tf.float32.as_datatype_enum
    return graph_def


def test_in_a_function_that_nothing_reaches(tmp_path):
    graph_def = harmless()
    graph_def.library.function.append(function_def("unused", "PyFunc"))
    refused(saved(graph_def, tmp_path), "PyFunc", "unused/evil")


@pytest.mark.parametrize("name", ["Relu", "WriteFile", "PyFunc"])
def test_a_function_with_the_name_of_an_operation(tmp_path, name):
    """Whether a node of this name calls the function or does the operation cannot be told."""
    graph_def = harmless()
    graph_def.library.function.append(function_def(name, "NoOp"))
    graph_def.node.add(name="call", op=name)
    refused(saved(graph_def, tmp_path), name, "")


def test_two_functions_of_one_name(tmp_path):
    graph_def = harmless()
    graph_def.library.function.extend([function_def("same", "NoOp"), function_def("same", "NoOp")])
    refused(saved(graph_def, tmp_path), "same", "")


def test_a_call_of_what_is_not_in_the_library(tmp_path):
    for place in ("node", "list", "nested", "gradient", "registered gradient"):
        graph_def = harmless()
        function = function_def("outer", "NoOp")
        graph_def.library.function.append(function)
        call = graph_def.node.add(name="call", op="PartitionedCall")
        call.attr["f"].func.name = "outer"
        if place == "node":
            call.attr["f"].func.name = "WriteFile"
        elif place == "list":
            call.attr["branches"].list.func.add(name="WriteFile")
        elif place == "nested":
            call.attr["f"].func.attr["inner"].func.name = "WriteFile"
        elif place == "gradient":
            graph_def.library.gradient.add(function_name="outer", gradient_func="WriteFile")
        else:
            graph_def.library.registered_gradients.add(gradient_func="WriteFile", registered_op_type="Relu")
        refused(saved(graph_def, tmp_path), "WriteFile", "")


def test_every_allowed_operation_is_one_of_tensorflow_and_none_touches_the_outside():
    """Cross-check against TensorFlow's registry, from which the list was not made."""
    from tensorflow.python.framework import op_def_registry

    definitions = {name: op_def_registry.get(name) for name in TENSORFLOW_OPS}
    assert not [name for name, definition in definitions.items() if definition is None]
    words = re.compile(r"file|path|address|host|token|directory|library|url|server|device|stream|socket", re.I)
    for name, definition in definitions.items():
        arguments = [argument.name for argument in (*definition.input_arg, *definition.attr)]
        assert not [argument for argument in (name, *arguments) if words.search(argument)] or name == "VarHandleOp", (
            name
        )
    # The stateful ones, of which each was looked at: memory, control flow and random numbers.
    stateful = {name for name, definition in definitions.items() if definition.is_stateful}
    groups = r"(Assign|Read|VarHandle|VarIs|Variable|ResourceGather|TensorArray|DisableCopy|Random|Truncated).*|"
    groups += "Assert|CheckNumerics|If|While|Case|StatefulPartitionedCall"
    assert not [name for name in stateful if not re.fullmatch(groups, name)]


def test_a_real_graph_of_the_od_api_passes():
    paths = sorted(ROOT.glob("exported-models/*/frozen_inference_graph.pb"))
    if not paths:
        pytest.skip("no frozen graph of the OD API here: `make demo` makes one")
    for path in paths:
        assert graph_file.read(path).node


def test_what_is_no_graph(tmp_path):
    path = tmp_path / "model.pb"
    for data in (b"", b"\xff\xd8\xff", harmless().SerializeToString()[:-3]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"model\.pb: not a"):
            graph_file.read(path)
