"""Frozen graphs: read whole, and gated before TensorFlow sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from detect_faces.errors import UserError
from detect_faces.model_gate import TENSORFLOW_OPS, TRUST, refuse, refuse_other_ops, shown

if TYPE_CHECKING:  # TensorFlow is imported where it is used: this package does without it until a graph is read
    import tensorflow as tf
    from tensorflow.core.framework import attr_value_pb2


def read(path: str | Path, *, trust: bool = False, way_out: str = TRUST) -> tf.compat.v1.GraphDef:
    """A GraphDef from its file. Nothing of it has been run.

    Args:
        path: a frozen graph (.pb).
        trust: lets operations through that the gate refuses.
        way_out: end of the message where it does refuse: what the user can do.

    Raises:
        UserError: no such file, not a graph, not a whole one, or refused by the gate.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

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
                raise UserError(
                    f"{path}: not a whole graph: {shown(node.name)} reads {shown(source)}, which is not there"
                )
    if not trust:
        gate(graph_def, path, way_out)
    return graph_def


def gate(graph_def: tf.compat.v1.GraphDef, path: object, way_out: str = TRUST) -> None:
    """Raises UserError where a graph, or any function of it, does what the gate does not let through.

    To be called before `tf.import_graph_def`: that alone runs operations whose inputs are constants.
    """
    check_functions(graph_def, path, way_out)
    functions = {function.signature.name for function in graph_def.library.function}
    nodes = [(node, node.name) for node in graph_def.node]
    for function in graph_def.library.function:
        nodes += [(node, f"{function.signature.name}/{node.name}") for node in function.node_def]
    others = ((node.op, name) for node, name in nodes if node.op not in functions)
    refuse_other_ops(path, others, TENSORFLOW_OPS, way_out)


def check_functions(graph_def: tf.compat.v1.GraphDef, path: object, way_out: str = TRUST) -> None:
    """Raises UserError where a function of the library could be taken for something that the gate has not looked at.

    Those are two functions of one name, a function with the name of an operation, and an attribute that names a
    function which is not in the library: TensorFlow might find it elsewhere, among the operations for one.
    """
    from tensorflow.python.framework import op_def_registry

    functions = set()
    for function in graph_def.library.function:
        name = function.signature.name
        if name in functions:
            refuse(path, f"two functions are called {shown(name)}", way_out)
        if name in TENSORFLOW_OPS or op_def_registry.get(name) is not None:
            refuse(path, f"a function is called {shown(name)}, as an operation is", way_out)
        functions.add(name)
    for name in sorted(functions_named(graph_def) - functions):
        refuse(path, f"it calls the function {shown(name)}, which it does not contain", way_out)


def functions_named(graph_def: tf.compat.v1.GraphDef) -> set[str]:
    """The functions that a graph refers to, in whatever place; calls by a node's operation are not among them."""
    library = graph_def.library
    named = {name for node in graph_def.node for name in called(node.attr.values())}
    for function in library.function:
        named.update(called(function.attr.values()))
        named.update(name for arguments in function.arg_attr.values() for name in called(arguments.attr.values()))
        named.update(name for node in function.node_def for name in called(node.attr.values()))
    for gradient in library.gradient:
        named |= {gradient.function_name, gradient.gradient_func}
    return named | {gradient.gradient_func for gradient in library.registered_gradients}


def called(attributes: Iterable[attr_value_pb2.AttrValue]) -> Iterator[str]:
    """The names of functions in attributes, such as both branches of an If, and in these functions' own attributes."""
    for attribute in attributes:
        kind = attribute.WhichOneof("value")
        for function in [attribute.func] if kind == "func" else attribute.list.func if kind == "list" else ():
            yield function.name
            yield from called(function.attr.values())


def node_name(tensor: str) -> str:
    """The node of a tensor or of a node's input: "scope/Split:1", "^scope/Split" and "scope/Split" are scope/Split.

    >>> node_name("^a/b"), node_name("a/b:1")
    ('a/b', 'a/b')
    """
    return tensor.removeprefix("^").partition(":")[0]
