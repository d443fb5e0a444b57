"""SavedModels: gated before TensorFlow loads them.

A SavedModel reads and writes files by design: its saver restores the variables when it is loaded. The gate lets the
operations of the saver through where they serve the saver and nothing else can reach them, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from detect_faces import graph_file
from detect_faces.errors import UserError
from detect_faces.model_gate import TENSORFLOW_OPS, TRUST, refuse, refuse_other_ops, shown

if TYPE_CHECKING:  # as in graph_file
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

WRITERS = frozenset({"SaveV2", "MergeV2Checkpoints"})
SAVER_OPS = WRITERS | {"RestoreV2", "ShardedFilename", "StringJoin", "RegexFullMatch", "StaticRegexFullMatch"}


def load(path: str | Path, *, trust: bool = False, way_out: str = TRUST):
    """`tf.saved_model.load` behind the gate.

    Args:
        path: the folder, or the saved_model.pb in it.
        trust: lets operations through that the gate refuses.
        way_out: end of the message where it does refuse: what the user can do.

    Raises:
        UserError: no SavedModel, not a whole one, or refused by the gate.
    """
    import tensorflow as tf

    read(path, trust=trust, way_out=way_out)
    try:
        return tf.saved_model.load(str(folder_of(path)))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: TensorFlow cannot load it: {shown(reason)}") from error


def read(path: str | Path, *, trust: bool = False, way_out: str = TRUST) -> saved_model_pb2.SavedModel:
    """The graphs of a SavedModel. Nothing of it has been run.

    Raises:
        UserError: no SavedModel, not a whole one, or refused by the gate.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    folder = folder_of(path)
    others = [name for name in ("saved_model.pbtxt", "saved_model.cpb") if (folder / name).exists()]
    if others:  # which of them is loaded differs between TensorFlow's loaders
        raise UserError(f"{folder / others[0]}: only saved_model.pb is read; load the model and save it again")
    file = folder / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; give the folder of a SavedModel") from error
    except DecodeError as error:
        raise UserError(f"{file}: not a SavedModel, or not a whole one") from error
    if not any(meta_graph.graph_def.node for meta_graph in saved_model.meta_graphs):
        raise UserError(f"{file}: not a SavedModel: it has no graph")
    if not trust:
        for meta_graph in saved_model.meta_graphs:
            gate(meta_graph, folder, way_out)
    return saved_model


def folder_of(path: str | Path) -> Path:
    """The folder of a SavedModel that is named by its folder or by the file saved_model.pb."""
    path = Path(path)
    return path.parent if path.name == "saved_model.pb" and path.is_file() else path


def gate(meta_graph: meta_graph_pb2.MetaGraphDef, path: object, way_out: str = TRUST) -> None:
    """Raises UserError where a graph of a SavedModel, or any function of it, does what the gate does not let through.

    Saver operations pass at the top level of the graph, or in functions that nodes there call directly, if
    - the saver of `saver_def` needs these nodes, and no other node takes anything from them,
    - no signature, initialiser, collection or object of the model names them,
    - the restoring part writes nothing, and reads no file but the one that the loader names.
    Loading does not run the saving part; who saves through the loaded model's own saver does.
    """
    graph = meta_graph.graph_def
    graph_file.check_functions(graph, path, way_out)
    functions = {function.signature.name: function for function in graph.library.function}
    saver_functions = {
        name: {node.op for node in function.node_def} & SAVER_OPS
        for name, function in functions.items()
        if any(node.op in SAVER_OPS for node in function.node_def)
    }

    # What an operation or a call of a saver function is, at the top level and in functions.
    def saver_ops(node) -> set[str]:
        ops = {node.op} & SAVER_OPS
        for name in {node.op, *graph_file.called(node.attr.values())} & saver_functions.keys():
            ops |= saver_functions[name]
        return ops

    saver_nodes = {node.name: ops for node in graph.node if (ops := saver_ops(node))}
    misplaced = _misplaced(meta_graph, saver_nodes, path)
    called_at_top = {name for node in graph.node for name in (node.op, *graph_file.called(node.attr.values()))}
    elsewhere = _functions_beyond_the_top(meta_graph)
    hidden = {name for name in saver_functions if name not in called_at_top or name in elsewhere}

    found = [(node, node.name, node.name in saver_nodes and node.name not in misplaced) for node in graph.node]
    for name, function in functions.items():
        served = name in saver_functions and name not in hidden
        found += [(node, f"{name}/{node.name}", served) for node in function.node_def]
    refuse_other_ops(
        path,
        (
            (node.op, name)
            for node, name, served in found
            if node.op not in functions and not (served and node.op in SAVER_OPS)
        ),
        TENSORFLOW_OPS,
        way_out,
    )
    # Allowed by what they do, but calls of saver functions in a place that is not the saver's.
    for name in sorted(misplaced):
        ops = ", ".join(sorted(saver_nodes[name]))
        refuse(path, f"node {shown(name)} does {ops}, and not for the saver", way_out)


def _misplaced(meta_graph: meta_graph_pb2.MetaGraphDef, saver_nodes: dict[str, set[str]], path: object) -> set[str]:
    """The names of those `saver_nodes` at the top level that something else than restoring or saving may run."""
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    sources = {node.name: {graph_file.node_name(name) for name in node.input} for node in graph.node}
    restoring = _with_sources(sources, [saver.restore_op_name])
    serving = restoring | _with_sources(sources, [saver.save_tensor_name])
    filename = graph_file.node_name(saver.filename_tensor_name)
    by_name = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}

    misplaced = set()
    others = [node.name for node in graph.node if node.name not in serving]
    for root in [*others, *_named(meta_graph), filename]:
        misplaced |= _with_sources(sources, [root]) & saver_nodes.keys()
    for name in restoring & saver_nodes.keys():
        if saver_nodes[name] & WRITERS or not _reads_only(by_name[name], filename, functions):
            misplaced.add(name)
    return misplaced


def _reads_only(node, filename: str, functions: dict) -> bool:
    """Whether the RestoreV2 of a node, or of a function that it calls, reads from the file that `filename` names."""
    if node.op == "RestoreV2":
        return bool(node.input) and graph_file.node_name(node.input[0]) == filename
    for name in {node.op, *graph_file.called(node.attr.values())} & functions.keys():
        arguments = [argument.name for argument in functions[name].signature.input_arg]
        given = {
            argument for argument, source in zip(arguments, node.input, strict=False)
            if graph_file.node_name(source) == filename
        }  # fmt: skip
        restores = [inner for inner in functions[name].node_def if inner.op == "RestoreV2"]
        if not all(inner.input and inner.input[0] in given for inner in restores):
            return False
    return True


def _with_sources(sources: dict[str, set[str]], roots: Iterable[str]) -> set[str]:
    """The nodes that `roots` (names of nodes or tensors) need, themselves included."""
    needed, waiting = set(), [graph_file.node_name(name) for name in roots]
    while waiting:
        name = waiting.pop()
        if name in sources and name not in needed:
            needed.add(name)
            waiting += sources[name]
    return needed


def _named(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """The nodes and tensors that signatures, initialisers, assets and collections name."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    named = set()
    for signature in meta_graph.signature_def.values():
        for tensor in [*signature.inputs.values(), *signature.outputs.values()]:
            named |= {tensor.name, *(part.name for part in tensor.composite_tensor.components)}
            named |= {tensor.coo_sparse.values_tensor_name, tensor.coo_sparse.indices_tensor_name}
            named.add(tensor.coo_sparse.dense_shape_tensor_name)
    named |= {asset.tensor_info.name for asset in meta_graph.asset_file_def}
    for collection in meta_graph.collection_def.values():
        named.update(collection.node_list.value)
        for value in collection.bytes_list.value:
            try:
                variable = variable_pb2.VariableDef.FromString(value)
            except DecodeError:  # a collection of something else
                continue
            named |= {variable.variable_name, variable.initializer_name, variable.initial_value_name}
            named.add(variable.snapshot_name)
    return named


def _functions_beyond_the_top(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """The functions that other functions and the model's objects name."""
    import tensorflow as tf

    graph, objects = meta_graph.graph_def, meta_graph.object_graph_def
    without_top = tf.compat.v1.GraphDef(library=graph.library)
    named = graph_file.functions_named(without_top) | set(objects.concrete_functions)
    named |= {node.op for function in graph.library.function for node in function.node_def}
    for item in objects.nodes:
        named |= {*item.function.concrete_functions, item.bare_concrete_function.concrete_function_name}
    return named
