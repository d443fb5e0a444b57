"""The gate on SavedModels: a saver's operations pass where they serve the saver; what is hostile passes nowhere."""

import shutil
from pathlib import Path

import pytest

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from detect_faces import UserError, saved_model_file

tf = pytest.importorskip("tensorflow")


def refused(folder: Path, *parts: str) -> None:
    for call in (saved_model_file.read, saved_model_file.load):
        with pytest.raises(UserError, match=r": refused: .*--trust") as error:
            call(folder)
        assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), error.value


@pytest.fixture(scope="module")
def tf2_model(tmp_path_factory) -> Path:
    """A SavedModel of TF2: y = x * v, with v = [1, 2]."""

    class Scale(tf.Module):
        def __init__(self):
            self.v = tf.Variable([1.0, 2.0])

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])
        def scale(self, x):
            return {"y": x * self.v}

    folder = tmp_path_factory.mktemp("tf2") / "model"
    module = Scale()
    tf.saved_model.save(module, str(folder), signatures=module.scale)
    return folder


@pytest.fixture(scope="module")
def tf1_model(tmp_path_factory) -> Path:
    """The same of TF1, with its saver in the graph and an initialiser that loading runs."""
    folder = tmp_path_factory.mktemp("tf1") / "model"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2], name="x")
        v = v1.get_variable("v", initializer=[1.0, 2.0], use_resource=False)
        y = tf.multiply(x, v, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        init = tf.group(v1.tables_initializer(), name="at_load")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=init)
        builder.save()
    return folder


@pytest.fixture
def edited(tmp_path):
    """A function that copies a SavedModel and lets an edit change its first meta graph."""

    def edit(model: Path, change) -> Path:
        folder = tmp_path / "edited"
        shutil.copytree(model, folder)
        from tensorflow.core.protobuf import saved_model_pb2

        saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        change(saved_model)
        (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        return folder

    return edit


def test_good_ones_load_and_compute(tf1_model, tf2_model):
    for model in (tf1_model, tf2_model, tf2_model / "saved_model.pb"):
        loaded = saved_model_file.load(model)
        assert loaded.signatures["serving_default"](x=tf.constant([3.0, 3.0]))["y"].numpy().tolist() == [3, 6]


def module_that_writes(file: str, where: str) -> tf.Module:
    def write():
        return tf.raw_ops.WriteFile(filename=file, contents="x", name="evil")

    class Evil(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def run(self, x):
            if where == "branch":
                return {"y": tf.cond(x > 1, lambda: [write(), x + 1.0][1], lambda: x)}
            if where == "signature":
                write()
            return {"y": x + 1.0}

    module = Evil()
    if where == "initialiser":

        class Resource(tf.saved_model.experimental.TrackableResource):
            def _create_resource(self):
                return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

            def _initialize(self):
                write()

        module.resource = Resource()
        module.resource.resource_handle  # noqa: B018  creates it
    return module


@pytest.mark.parametrize("where", ["signature", "branch", "initialiser"])
def test_functions_that_write(tmp_path, where):
    file = tmp_path / "written"
    module = module_that_writes(str(file), where)
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=module.run)
    file.unlink(missing_ok=True)
    refused(tmp_path / "evil", "WriteFile", "evil")
    assert not file.exists()
    loaded = saved_model_file.load(tmp_path / "evil", trust=True)
    assert file.exists() == (where == "initialiser")  # loading alone ran that one
    loaded.signatures["serving_default"](x=tf.constant(2.0))
    assert file.exists()


def test_python_functions(tmp_path):
    called = []

    class Evil(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def run(self, x):
            return {"y": tf.ensure_shape(tf.py_function(lambda x: called.append(1) or x, [x], tf.float32), [])}

    module = Evil()
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=module.run)
    refused(tmp_path / "evil", "EagerPyFunc")
    assert not called


def test_tables_from_files(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")

    class Evil(tf.Module):
        def __init__(self):
            words = tf.lookup.TextFileInitializer(
                str(tmp_path / "words"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            )  # fmt: skip
            self.table = tf.lookup.StaticHashTable(words, -1)

        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="x")])
        def run(self, x):
            return {"y": self.table.lookup(x)}

    module = Evil()
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=module.run)
    refused(tmp_path / "evil", "Table")


def evil_node(graph_def, op="WriteFile", inputs=()):
    return graph_def.node.add(name="evil", op=op, input=inputs)


def test_the_initialiser_of_a_tf1_model(tf1_model, edited, tmp_path):
    def change(saved_model):
        graph_def = saved_model.meta_graphs[0].graph_def
        evil_node(graph_def)
        next(node for node in graph_def.node if node.name == "at_load").input.append("^evil")

    refused(edited(tf1_model, change), "WriteFile", "evil")


def test_the_second_meta_graph(tf2_model, edited):
    def change(saved_model):
        other = saved_model.meta_graphs.add()
        other.CopyFrom(saved_model.meta_graphs[0])
        other.meta_info_def.tags[:] = ["gpu"]
        evil_node(other.graph_def, "PyFunc")

    refused(edited(tf2_model, change), "PyFunc", "evil")


@pytest.mark.parametrize("op", ["SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "StringJoin"])
def test_operations_of_savers_that_serve_no_saver(tf1_model, tf2_model, edited, op):
    refused(edited(tf1_model, lambda saved_model: evil_node(saved_model.meta_graphs[0].graph_def, op)), op, "evil")


def saver_call(saved_model, part: str):
    """The node that calls the saving or restoring function of a TF2 model, and the function."""
    graph_def = saved_model.meta_graphs[0].graph_def
    function = next(f for f in graph_def.library.function if part in f.signature.name)
    node = next(
        node for node in graph_def.node if node.attr["f"].func.name == function.signature.name
    )  # fmt: skip
    return graph_def, node, function


@pytest.mark.parametrize("part", ["traced_save", "traced_restore"])
@pytest.mark.parametrize(
    "way", ["signature", "other node", "initialiser", "object", "function", "no call", "not the saver's"]
)
def test_savers_that_something_else_can_reach(tf2_model, edited, part, way):
    def change(saved_model):
        meta_graph = saved_model.meta_graphs[0]
        graph_def, node, function = saver_call(saved_model, part)
        name = function.signature.name
        if way == "signature":
            meta_graph.signature_def["serving_default"].outputs["y"].name = f"{node.name}:0"
        elif way == "other node":
            graph_def.node.add(name="reader", op="Identity", input=[node.name])
        elif way == "initialiser":
            meta_graph.collection_def["saved_model_main_op"].node_list.value.append(node.name)
        elif way == "object":
            meta_graph.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = name
        elif way == "function":
            outer = graph_def.library.function.add()
            outer.signature.name = "outer"
            outer.node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = name
        elif way == "no call":
            node.op = "NoOp"
            del node.attr["f"], node.input[:]
        else:
            meta_graph.saver_def.Clear()

    folder = edited(tf2_model, change)
    refused(folder)
    with pytest.raises(UserError) as error:
        saved_model_file.read(folder)
    assert any(op in str(error.value) for op in saved_model_file.SAVER_OPS)


def test_restoring_that_writes_or_reads_elsewhere(tf2_model, edited, tmp_path):
    def writes(saved_model):
        _, _, function = saver_call(saved_model, "traced_restore")
        function.node_def.add(name="evil", op="SaveV2")

    refused(edited(tf2_model, writes), "SaveV2")
    shutil.rmtree(tmp_path / "edited")

    def reads(saved_model):
        _, _, function = saver_call(saved_model, "traced_restore")
        function.node_def.add(name="evil", op="Const")
        restore = next(node for node in function.node_def if node.op == "RestoreV2")
        restore.input[0] = "evil:output:0"

    refused(edited(tf2_model, reads), "RestoreV2")
    shutil.rmtree(tmp_path / "edited")

    def is_given_another(saved_model):
        graph_def, node, _ = saver_call(saved_model, "traced_restore")
        graph_def.node.add(name="evil", op="Const")
        node.input[0] = "evil"

    refused(edited(tf2_model, is_given_another), "RestoreV2")


def test_what_is_no_saved_model(tf2_model, tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(UserError, match=r"saved_model\.pb: No such file or directory; give the folder"):
        saved_model_file.load(folder)
    shutil.copytree(tf2_model, folder)
    data = (folder / "saved_model.pb").read_bytes()
    for broken in (b"", data[:1000], b"\x08\x01"):
        (folder / "saved_model.pb").write_bytes(broken)
        with pytest.raises(UserError, match=r"saved_model\.pb: not a SavedModel"):
            saved_model_file.load(folder)
    (folder / "saved_model.pb").write_bytes(data)
    weights = next(folder.glob("variables/*.data-*"))
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(UserError, match="cannot load it"):
        saved_model_file.load(folder)
    (folder / "saved_model.pbtxt").write_text("")  # TensorFlow's loaders differ in which of the two they take
    with pytest.raises(UserError, match=r"pbtxt: only saved_model\.pb is read"):
        saved_model_file.load(folder)
