"""A graph in two: up to named tensors and behind them, so that one after the other gives what the whole gives.

All that the named tensors need, and all that does not depend on them, is `before`; the rest is `after`. What `after`
reads of `before`, apart from the named tensors, goes around the cut (the size of the photograph, say): it is found and
handed over as well, so that `after` needs no input of the whole graph. What depends on no input (constants,
variables) is copied into each part that reads it.
"""

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass

import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.graph_file import node_name
from export.inseparable import WRITES_OF_VARIABLES, Structure

USUAL_OUTPUTS = (
    "detection_boxes",
    "detection_scores",
    "detection_classes",
    "num_detections",
    "detection_masks",
    "raw_detection_boxes",
    "raw_detection_scores",
    "detection_multiclass_scores",
)
_INPUTS = "Placeholder"
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


@dataclass(frozen=True)
class Handover:
    """A tensor that `before` gives and `after` takes.

    Attributes:
        tensor: its name in the whole graph, and in `before`: "scope/Relu6:0".
        output: the tensor of `before` to fetch; another than `tensor` only where checks have to run first.
        placeholder: the tensor of `after` that stands for it.
        dtype: as TensorFlow names it.
        shape: None for a side that is not known, and as a whole for a rank that is not.
        named: whether the user named it; the others go around the cut.
        readers: nodes behind the cut that read it, in the graph's order.
    """

    tensor: str
    output: str
    placeholder: str
    dtype: str
    shape: tuple[int | None, ...] | None
    named: bool
    readers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """The two parts, and the tensors between them: those named first, in their order."""

    before: tf.compat.v1.GraphDef
    after: tf.compat.v1.GraphDef
    handovers: list[Handover]
    outputs: list[str]


def tensor_name(graph_def: tf.compat.v1.GraphDef, name: str) -> str:
    """The tensor "node:0" that "node" or "node:0" names.

    Raises:
        UserError: there is no such node; the message has names that are nearly the same.
    """
    node, _, index = name.removeprefix("^").partition(":")
    names = [other.name for other in graph_def.node]
    if node not in set(names):
        near = difflib.get_close_matches(node, names, 3) or [other for other in names if node.lower() in other.lower()]
        raise UserError(f"{name}: no such tensor in the graph" + (f"; near: {', '.join(near[:3])}" if near else ""))
    if index and not index.isdecimal():
        raise UserError(f"{name}: a tensor is named NODE or NODE:NUMBER, such as {node}:0")
    return f"{node}:{index or 0}"


def read_by(graph_def: tf.compat.v1.GraphDef, scope: str) -> list[str]:
    """The tensors that the convolutions of a scope read from outside of it: where its part of the network begins.

    Args:
        graph_def: the graph.
        scope: a part of the nodes' names, such as "BoxPredictor"; numbered ones (BoxPredictor_0) belong to it.

    Raises:
        UserError: no convolution of such a scope reads from outside of it.
    """
    named = re.compile(rf"(.*/)?{re.escape(scope)}(_\d+)?/.*")
    nodes = {node.name: node for node in graph_def.node}
    found = {}
    for node in graph_def.node:
        if node.op in _CONVOLUTIONS and named.fullmatch(node.name):
            source = node.input[0]
            while named.fullmatch(source) and nodes[node_name(source)].op == "Identity":
                source = nodes[node_name(source)].input[0]
            if not named.fullmatch(source):
                found[tensor_name(graph_def, source)] = None
    if not found:
        raise UserError(f"{scope}: no convolution in such a scope reads from outside; `export.inspect` lists names")
    return list(found)


def usual_outputs(graph_def: tf.compat.v1.GraphDef) -> list[str]:
    """What a detector gives, where the graph has it; otherwise the tensors that nobody reads."""
    names = {node.name for node in graph_def.node}
    if USUAL_OUTPUTS[0] in names:
        return [f"{name}:0" for name in USUAL_OUTPUTS if name in names]
    readers = defaultdict(list)
    for node in graph_def.node:
        for source in node.input:
            readers[node_name(source)].append(node.name)
    inputs = [n.name for n in graph_def.node if n.op == _INPUTS and n.attr["dtype"].type != tf.string.as_datatype_enum]
    depends = _reached(readers, inputs)
    # Loops and conditionals leave ends that nobody wants, and so does training.
    silent = {"NoOp", "Assert", "Print", "Switch", "Exit", _INPUTS, *WRITES_OF_VARIABLES}
    switches = {node.name for node in graph_def.node if node.op == "Switch"}
    ends = [
        node
        for node in graph_def.node
        if node.name in depends
        and node.name not in readers
        and node.op not in silent
        and not node.name.startswith("gradients/")
        and not (node.op == "Identity" and node_name(node.input[0]) in switches)
    ]
    return [f"{node.name}:0" for node in ends]


def needed(graph_def: tf.compat.v1.GraphDef, outputs: list[str]) -> tf.compat.v1.GraphDef:
    """The graph without the nodes that its outputs don't need, and without the wish of any to be beside another one."""
    sources = {node.name: [node_name(source) for source in node.input] for node in graph_def.node}
    kept = _reached(sources, [node_name(output) for output in outputs])
    part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in kept)
    for node in part.node:
        node.attr.pop("_class", None)  # the device of a node that may be gone
    return part


def cut(graph_def: tf.compat.v1.GraphDef, at: list[str], outputs: list[str]) -> Cut:
    """Cuts a graph at tensors.

    Args:
        graph_def: with constants or variables, and TF1 control flow.
        at: the tensors to cut at, as tensor_name gives them; where one leads to another, both end in `before`.
        outputs: the tensors at the end.

    Raises:
        UserError: a tensor is not on the way from an input to an output, or cannot be handed from graph to graph.
    """
    graph_def = needed(graph_def, outputs)
    graph = imported(graph_def)
    ends = [_tensor(graph, name) for name in outputs]
    names = {node.name for node in graph_def.node}
    for name in at:
        if node_name(name) not in names:
            raise UserError(f"{name}: none of the outputs ({', '.join(outputs)}) depends on it; cut at another tensor")
    structure = Structure(graph)
    for op in structure.ops:
        if op.type in WRITES_OF_VARIABLES:
            raise UserError(f"{op.name} writes a variable, which two graphs cannot share; --outputs may leave it out")
    inputs = [op for op in structure.ops if op.type == _INPUTS]
    live = structure.live(inputs)
    graph_def = _without_idle_waits(graph_def, structure, structure.reached(live, forward=True), outputs)
    named = [_tensor(graph, name) for name in dict.fromkeys(at)]
    for tensor in named:
        _refuse_useless(tensor, structure, live, inputs, ends)

    readers = [op for tensor in named for op in tensor.consumers()]
    behind = structure.reached(readers, forward=True)
    behind -= structure.reached([tensor.op for tensor in named], forward=False)
    if not behind:
        raise UserError(f"{', '.join(at)}: nothing comes behind it; cut at a tensor further from the end")

    read_by = {tensor.name: [] for tensor in named}
    checks = []  # operations of `before` that something behind the cut waits for
    for op in structure.ops:
        if op in behind:
            for tensor in op.inputs:
                if tensor.name in read_by or (tensor.op in live and tensor.op not in behind):
                    read_by.setdefault(tensor.name, []).append(op.name)
        if op in behind or op not in live:
            checks += [other for other in op.control_inputs if other in live and other not in behind]
    for tensor in ends:
        if tensor.op in live and tensor.op not in behind:
            read_by.setdefault(tensor.name, [])
    for name in read_by:
        if reason := structure.reason_against(graph.get_tensor_by_name(name)):
            raise UserError(f"cannot be cut there: {name} would go around the cut, and it {reason}")

    kept = {op.name for op in structure.ops if op in behind or op not in live}
    handovers = _handovers(graph, read_by, set(at), kept, bool(checks))
    return Cut(
        before=_before_part(graph_def, handovers, checks),
        after=_after_part(graph_def, handovers, kept, outputs),
        handovers=handovers,
        outputs=list(outputs),
    )


def _without_idle_waits(graph_def, structure: Structure, tied: set, outputs) -> tf.compat.v1.GraphDef:
    """The graph without control inputs from what only reads constants and variables.

    A graph that was a TF2 function waits at its end for all its reads: each part would hold all the variables.
    """
    names = {op.name for op in tied}
    new = tf.compat.v1.GraphDef()
    new.CopyFrom(graph_def)
    for node in new.node:
        waits = [source for source in node.input if not source.startswith("^") or source[1:] in names]
        if len(waits) < len(node.input) and not structure.in_control_flow(node.name):
            del node.input[:]
            node.input.extend(waits)
    return needed(new, outputs)


def imported(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    """The graph, with the shapes that TensorFlow infers; raises UserError where it cannot be built."""
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise UserError(f"TensorFlow cannot build the graph: {str(error).splitlines()[0]}") from error
    return graph


def _tensor(graph: tf.Graph, name: str) -> tf.Tensor:
    try:
        return graph.get_tensor_by_name(name)
    except KeyError as error:
        count = len(graph.get_operation_by_name(node_name(name)).outputs)
        raise UserError(f"{name}: {node_name(name)} has {count} outputs, counted from 0") from error


def _refuse_useless(tensor, structure: Structure, live, inputs, ends) -> None:
    """Raises UserError for a tensor that no graph can be cut at."""
    if tensor.op in inputs:
        raise UserError(f"{tensor.name}: is the graph's input: nothing comes before it; cut at a tensor behind it")
    if tensor.op not in live:
        raise UserError(f"{tensor.name}: does not depend on the graph's input; cut at a tensor that does")
    reason = structure.reason_against(tensor)
    if reason is None:
        return

    outputs = {end.name for end in ends}  # tensors themselves have no hash and no plain ==

    def good(other: tf.Tensor) -> bool:
        usable = other.op in live and other.op not in inputs and other.name not in outputs
        return usable and other.shape.rank != 0 and structure.reason_against(other) is None

    near = structure.nearest(tensor.op, good, forward=False) + structure.nearest(tensor.op, good, forward=True)
    hint = f"; the nearest that can be cut at: {', '.join(other.name for other in near)}" if near else ""
    raise UserError(f"{tensor.name}: cannot be cut at: it {reason}{hint}")


def _handovers(
    graph: tf.Graph, read_by: dict[str, list[str]], named: set[str], kept: set[str], checks: bool
) -> list[Handover]:
    taken = set(kept)
    handovers = []
    for tensor, readers in ((graph.get_tensor_by_name(name), readers) for name, readers in read_by.items()):
        name = tensor.op.name if tensor.value_index == 0 else f"{tensor.op.name}_{tensor.value_index}"
        while name in taken:
            name += "_"
        taken.add(name)
        shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
        dtype = tensor.dtype.base_dtype.name
        # An assertion before the cut that only nodes behind it wait for would run no more: the first output waits.
        output = f"{name}/checked:0" if checks and not handovers else tensor.name
        handovers.append(
            Handover(
                tensor.name, output, f"{name}:0", dtype, shape, tensor.name in named, tuple(dict.fromkeys(readers))
            )
        )
    return handovers


def _before_part(graph_def, handovers: list[Handover], checks) -> tf.compat.v1.GraphDef:
    whole = tf.compat.v1.GraphDef()
    whole.CopyFrom(graph_def)
    first = handovers[0]
    if first.output != first.tensor:
        node = whole.node.add(op="Identity", name=node_name(first.output))
        node.attr["T"].type = tf.as_dtype(first.dtype).as_datatype_enum
        node.input.extend([first.tensor, *(f"^{op.name}" for op in dict.fromkeys(checks))])
    return needed(whole, [handover.output for handover in handovers])


def _after_part(graph_def, handovers: list[Handover], kept: set[str], outputs) -> tf.compat.v1.GraphDef:
    part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    placeholders = {}
    for handover in handovers:
        placeholders[handover.tensor] = node_name(handover.placeholder)
        node = part.node.add(op=_INPUTS, name=node_name(handover.placeholder))
        node.attr["dtype"].type = tf.as_dtype(handover.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(handover.shape).as_proto())
    for old in graph_def.node:
        if old.name not in kept:
            continue
        node = part.node.add()
        node.CopyFrom(old)
        del node.input[:]
        for source in old.input:
            if source.startswith("^"):
                if source[1:] in kept:
                    node.input.append(source)
            else:
                tensor = source if ":" in source else f"{source}:0"
                node.input.append(placeholders.get(tensor, source))
    return needed(part, [*outputs, *(handover.placeholder for handover in handovers)])


def _reached(edges: dict[str, list[str]], start: list[str]) -> set[str]:
    found, queue = set(), list(start)
    while queue:
        if (name := queue.pop()) not in found:
            found.add(name)
            queue.extend(edges.get(name, ()))
    return found
