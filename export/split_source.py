"""What can be split: frozen graphs, SavedModels and MetaGraphs, with the values of their variables still outside.

A graph is cut first. Each part then gets the values of the variables that it holds, and no others are read.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from detect_faces import graph_file, saved_model_file
from detect_faces.errors import UserError
from export import model_file
from export.graph_cut import needed
from export.inseparable import VARIABLES
from export.model_file import Kind

SIGNATURE = "serving_default"


@dataclass(frozen=True, eq=False)
class Source:
    """A graph that has not been run, and where its variables are.

    Attributes:
        path: as the user gave it.
        kind: "frozen graph", "SavedModel" or "MetaGraph".
        graph_def: whole.
        files: all that it was read from.
        outputs: those its signature names; None where it has none.
        value: the value of a variable by its node's name. Raises KeyError where there is none.
    """

    path: Path
    kind: str
    graph_def: tf.compat.v1.GraphDef
    files: list[Path]
    outputs: list[str] | None
    value: Callable[[str], np.ndarray]

    def hashes(self) -> list[dict]:
        """The files with their sha256."""
        return [{"file": file.name, "sha256": sha256(file)} for file in self.files]

    def frozen(self, part: tf.compat.v1.GraphDef, outputs: Iterable[str]) -> tf.compat.v1.GraphDef:
        """A part with the values of its own variables in it.

        Raises:
            UserError: a variable has no value, or one of another shape.
        """
        variables = [(node, self._value(node)) for node in part.node if node.op in VARIABLES]
        if not variables:
            return part
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            tf.import_graph_def(part, name="")
            _assign(session, graph, variables)
            nodes = list(dict.fromkeys(graph_file.node_name(output) for output in outputs))
            frozen = tf.compat.v1.graph_util.convert_variables_to_constants(session, part, nodes)
        return needed(frozen, nodes)

    def _value(self, node) -> np.ndarray:
        try:
            value = np.asarray(self.value(node.name))
        except KeyError as error:
            raise UserError(f"{self.path}: {error.args[0]}") from error
        shape = tf.TensorShape(node.attr["shape"].shape)
        if not shape.is_compatible_with(value.shape):
            raise UserError(f"{self.path}: {node.name} is {shape} in the graph and {value.shape} in its checkpoint")
        return value


def read(path: Path, checkpoint: Path | None, *, trust: bool) -> Source:
    """Reads what FILE names.

    Args:
        path: a frozen graph (.pb), the folder of a SavedModel, or a MetaGraph (.meta).
        checkpoint: prefix of the checkpoint of a MetaGraph; None for the one beside it.
        trust: lets operations through that the gate refuses. Of a MetaGraph it looks at what is run of it, in
            gate_part, when that is known: training and saving are in it, too.

    Raises:
        UserError: there is no such file, or it is none of them.
    """
    kind = model_file.kind(path)
    if kind is Kind.META_GRAPH:
        meta_graph = tf.compat.v1.MetaGraphDef.FromString(path.read_bytes())
        return _meta_graph(path, "MetaGraph", meta_graph, checkpoint or path.with_suffix(""), [path])
    if checkpoint:
        raise UserError(f"--checkpoint {checkpoint}: goes with a MetaGraph (.meta), and {path} is none")
    if kind is Kind.FROZEN_GRAPH:
        return Source(path, "frozen graph", graph_file.read(path, trust=trust), [path], None, {}.__getitem__)
    if kind is Kind.SAVED_MODEL:
        return _saved_model(saved_model_file.folder_of(path), trust=trust)
    raise UserError(f"{path}: a {kind.replace('_', ' ')}; give a frozen graph, a SavedModel, or a MetaGraph (.meta)")


def gate_part(source: Source, part: tf.compat.v1.GraphDef, *, trust: bool) -> None:
    """Raises UserError for a part with an operation that the gate does not let through."""
    if not trust:
        graph_file.gate(part, source.path)


def sha256(path: Path) -> str:
    """Of a file, as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _saved_model(path: Path, *, trust: bool) -> Source:
    file = path / "saved_model.pb"
    graphs = saved_model_file.read(path, trust=True).meta_graphs  # only read: TF1's go through gate_part
    served = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise UserError(f"{path}: a SavedModel without a graph tagged serve")
    variables = path / "variables/variables"
    if not served[0].HasField("object_graph_def"):
        return _meta_graph(path, "SavedModel", served[0], variables, [file])
    return _tf2(saved_model_file.load(path, trust=trust), path, [file, *_checkpoint_files(variables)])


def _meta_graph(path: Path, kind: str, meta_graph, prefix: Path, files: list[Path]) -> Source:
    graph_def = meta_graph.graph_def
    keys = {
        node.name: node.attr["shared_name"].s.decode() or node.name for node in graph_def.node if node.op in VARIABLES
    }
    files = files + _checkpoint_files(prefix)
    if keys and prefix.with_name(f"{prefix.name}.index") not in files:
        raise UserError(f"{path}: has {len(keys)} variables and no checkpoint at {prefix}; give --checkpoint PREFIX")
    try:
        reader = tf.train.load_checkpoint(str(prefix)) if keys else None
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"{prefix}: not a checkpoint, or not a whole one") from error

    def value(name: str) -> np.ndarray:
        for key in (keys[name], name):
            if reader.has_tensor(key):
                try:
                    return reader.get_tensor(key)
                except tf.errors.OpError as error:
                    raise UserError(f"{prefix}: {key} cannot be read: the checkpoint is damaged") from error
        raise KeyError(f"the checkpoint {prefix} has no variable {keys[name]}; give the --checkpoint of this graph")

    signature = meta_graph.signature_def.get(SIGNATURE)
    outputs = sorted(info.name for info in signature.outputs.values()) if signature else None
    return Source(path, kind, graph_def, files, outputs or None, value)


def _tf2(loaded, path: Path, files: list[Path]) -> Source:
    """A TF2 SavedModel as a graph without functions: its signature inlined, with inputs and outputs by their keys."""
    if SIGNATURE not in loaded.signatures:
        raise UserError(f"{path}: a SavedModel without the signature {SIGNATURE}")
    served = loaded.signatures[SIGNATURE]
    # Inlining is a step of convert_variables_to_constants_v2; TensorFlow has no public name for it alone.
    inlined = convert_to_constants._run_inline_graph_optimization(
        served, lower_control_flow=True, aggressive_inlining=True
    )
    handles = {id(variable.handle): variable for variable in served.graph.variables}
    variables, renamed, constants = {}, {}, {}
    taken = {node.name for node in inlined.node}
    for captured, inside in served.graph.captures:
        name = graph_file.node_name(inside.name)
        if (variable := handles.get(id(captured))) is not None:
            new = _free(variable.name.partition(":")[0], taken)
            renamed[name], variables[new] = new, variable
        elif captured.dtype != tf.resource:
            constants[name] = captured.numpy()
    graph_def = _renamed(inlined, renamed)
    for node in graph_def.node:
        if node.name in variables:
            variable = variables[node.name]
            node.CopyFrom(_variable_node(node.name, variable))
        elif node.name in constants:
            node.CopyFrom(_constant_node(node.name, constants[node.name]))
    outputs = []
    for key, tensor in zip(sorted(served.structured_outputs), served.outputs, strict=True):
        node = graph_def.node.add(op="Identity", name=_free(key, taken), input=[tensor.name])
        node.attr["T"].type = tensor.dtype.as_datatype_enum
        outputs.append(f"{node.name}:0")

    def value(name: str, keep=loaded) -> np.ndarray:  # variables live as long as the model that was loaded
        return variables[name].numpy()

    return Source(path, "SavedModel", needed(graph_def, outputs), files, outputs, value)


def _free(name: str, taken: set[str]) -> str:
    free = name
    for number in itertools.count(1):
        if free not in taken:
            break
        free = f"{name}_{number}"
    taken.add(free)
    return free


def _renamed(graph_def: tf.compat.v1.GraphDef, names: dict[str, str]) -> tf.compat.v1.GraphDef:
    new = tf.compat.v1.GraphDef()
    new.CopyFrom(graph_def)
    for node in new.node:
        node.name = names.get(node.name, node.name)
        for place, source in enumerate(node.input):
            old = graph_file.node_name(source)
            if old in names:
                node.input[place] = source.replace(old, names[old], 1)
    return new


def _variable_node(name: str, variable: tf.Variable):
    node = tf.compat.v1.NodeDef(op="VarHandleOp", name=name)
    node.attr["dtype"].type = variable.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
    node.attr["shared_name"].s = name.encode()
    return node


def _constant_node(name: str, value: np.ndarray):
    node = tf.compat.v1.NodeDef(op="Const", name=name)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _assign(session: tf.compat.v1.Session, graph: tf.Graph, variables: list) -> None:
    """Gives variables (pairs of a node and a value) their values, in one run: each looks at the grown graph anew."""
    assigns, feeds = [], {}
    names = {op.name for op in graph.get_operations()}
    for node, value in variables:
        variable = graph.get_tensor_by_name(f"{node.name}:0")
        fed = tf.compat.v1.placeholder(tf.as_dtype(node.attr["dtype"].type), value.shape)
        if node.op == "VarHandleOp":
            assigns.append(tf.raw_ops.AssignVariableOp(resource=variable, value=fed))
            read = f"{node.name}/Read/ReadVariableOp"  # by which convert_variables_to_constants reads the value
            if read not in names:
                tf.raw_ops.ReadVariableOp(resource=variable, dtype=fed.dtype, name=read)
        else:
            assigns.append(tf.raw_ops.Assign(ref=variable, value=fed, validate_shape=False).op)
        feeds[fed.name] = value
    session.run(assigns, feeds)


def _checkpoint_files(prefix: Path) -> list[Path]:
    return sorted(prefix.parent.glob(f"{prefix.name}.index")) + sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
