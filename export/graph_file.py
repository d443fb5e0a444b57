"""Frozen graphs: read whole, gated, and run."""

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from detect_faces.errors import UserError
from detect_faces.model_gate import TENSORFLOW_OPS, refuse_other_ops


def read(path: str | Path, *, trust: bool = False) -> tf.compat.v1.GraphDef:
    """A GraphDef from its file. Nothing of it has been run.

    Args:
        path: a frozen graph (.pb).
        trust: lets operations through that the gate refuses.

    Raises:
        UserError: no such file, not a graph, not a whole one, or refused by the gate.
    """
    path = Path(path)
    try:
        graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        raise UserError(f"{path}: not a frozen graph, or not a whole one") from error
    if not graph_def.node:
        raise UserError(f"{path}: not a frozen graph: it has no nodes")
    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        for source in node.input:
            if node_name(source) not in names:
                raise UserError(f"{path}: not a whole graph: {node.name} reads {source}, which is not there")
    if not trust:
        gate(graph_def, path)
    return graph_def


def gate(graph_def: tf.compat.v1.GraphDef, path: object) -> None:
    """Raises UserError where a graph, or a function of it, does what the gate does not let through."""
    functions = {function.signature.name for function in graph_def.library.function}
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    refuse_other_ops(path, ((node.op, node.name) for node in nodes if node.op not in functions), TENSORFLOW_OPS)


def node_name(tensor: str) -> str:
    """The node of a tensor or of a node's input: "scope/Split:1", "^scope/Split" and "scope/Split" are scope/Split.

    >>> node_name("^a/b"), node_name("a/b:1")
    ('a/b', 'a/b')
    """
    return tensor.removeprefix("^").partition(":")[0]
