"""Which operations of a graph have to stay together: loops, conditionals, and what shares a handle.

TF1 control flow is made of plain nodes. What flows between Enter and Exit has a value for each iteration, what comes
out of a Switch may have none, and a TensorArray is written and read through a handle that means nothing in another
session. No such tensor can be an output of one graph and an input of the next.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable

import tensorflow as tf

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
READS_OF_VARIABLES = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarIsInitializedOp"})
WRITES_OF_VARIABLES = frozenset(
    {"Assign", "AssignAdd", "AssignSub", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"}
    | {"ScatterUpdate", "ScatterAdd", "ResourceScatterUpdate", "ResourceScatterAdd"}
)
_SWITCHES = frozenset({"Switch", "RefSwitch"})
_MERGES = frozenset({"Merge", "RefMerge"})
_ENTERS = frozenset({"Enter", "RefEnter"})
_EXITS = frozenset({"Exit", "RefExit"})
_PASS_ON = _SWITCHES | _MERGES | _ENTERS | _EXITS | {"Identity", "NextIteration"}
_FLOW_OUTPUTS = {"TensorArrayV3": 1} | {f"TensorArray{what}V3": 0 for what in ("Write", "Scatter", "Split", "Grad")}
_HANDLES = (tf.resource, tf.variant)


class Structure:
    """The edges of a graph, its loops and conditionals, and the groups of operations that no cut can separate."""

    def __init__(self, graph: tf.Graph):
        self.ops = graph.get_operations()
        self.after = defaultdict(list)  # by name: the operations that read one, or wait for it
        for op in self.ops:
            for before in _before(op):
                self.after[before.name].append(op)
        self.frames = self._frames()
        self._conditional = self._maybe_without_value()
        self._conditional_names = {op.name for op in self._conditional}
        self._groups = self._grouped()

    def live(self, inputs: Iterable[tf.Operation]) -> set[tf.Operation]:
        """What has another value for other inputs, or for another run; the rest gives the same wherever it is copied.

        A constant that only waits for an operation stays a constant. What has no value but to be waited for is as live
        as what it waits for.
        """
        live, opened = set(), set()
        queue = deque([*inputs, *(op for op in self.ops if has_own_state(op))])
        while queue:
            op = queue.popleft()
            if op in live:
                continue
            live.add(op)
            queue.extend(self._group(op, opened))
            for other in self.after[op.name]:
                if not other.outputs or any(tensor.op is op for tensor in other.inputs):
                    queue.append(other)
        return live

    def reached(self, start: Iterable[tf.Operation], *, forward: bool) -> set[tf.Operation]:
        """The operations `start`, those behind them (or before them), and their groups whole."""
        reached, opened, queue = set(), set(), deque(start)
        while queue:
            op = queue.popleft()
            if op in reached:
                continue
            reached.add(op)
            queue.extend(self._group(op, opened))
            queue.extend(self.after[op.name] if forward else _before(op))
        return reached

    def in_control_flow(self, name: str) -> bool:
        """Whether an operation is in a loop or a conditional, where control inputs say when it runs."""
        return bool(self.frames[name]) or name in self._conditional_names

    def reason_against(self, tensor: tf.Tensor) -> str | None:
        """Why a tensor cannot be handed from one graph to another, as the end of a sentence; None where it can."""
        op = tensor.op
        if self.frames[op.name] and not (op.type in _EXITS and len(self.frames[op.name]) == 1):
            frame = self.frames[op.name][0]
            return f"is inside the loop {frame}, where it has another value in each iteration"
        if tensor.dtype.base_dtype in _HANDLES:
            return f"is a handle ({tensor.dtype.base_dtype.name}), which means nothing in another graph"
        if (origin := _origin(tensor)).op.type in _FLOW_OUTPUTS:
            return f"is the flow of the TensorArray operation {origin.op.name}, which holds no data"
        if op in self._conditional:
            return "is inside a conditional, where it may have no value"
        if tensor.dtype.base_dtype == tf.string:
            return "is text, which cannot be handed over"
        return None

    def nearest(self, op: tf.Operation, good: Callable[[tf.Tensor], bool], *, forward: bool, count: int = 2) -> list:
        """The nearest tensors behind (or before) an operation that are `good`, nearest first."""
        found, seen, queue = [], {op}, deque([op])
        while queue and len(found) < count:
            here = queue.popleft()
            for other in self.after[here.name] if forward else _before(here):
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
                    found += [tensor for tensor in other.outputs if good(tensor)]
        return found[:count]

    def _group(self, op: tf.Operation, opened: set[int]) -> list[tf.Operation]:
        """The group of an operation, the first time that one of it is asked for."""
        group = self._groups.get(op.name, [])
        if id(group) in opened:
            return []
        opened.add(id(group))
        return group

    def _frames(self) -> dict[str, tuple[str, ...]]:
        """By operation: the names of the loops around it, outermost first. Enter and Exit are in their loop."""
        frames = {op.name: () for op in self.ops}  # stays so where there are only cycles before it, which TF refuses
        queue = deque(op for op in self.ops if not _before(op))
        seen = set(queue)
        while queue:
            op = queue.popleft()
            outside = frames[op.name][:-1] if op.type in _EXITS else frames[op.name]
            for other in self.after[op.name]:
                if other not in seen:
                    seen.add(other)
                    name = (other.get_attr("frame_name").decode(),) if other.type in _ENTERS else ()
                    frames[other.name] = outside + name
                    queue.append(other)
        return frames

    def _maybe_without_value(self) -> set[tf.Operation]:
        """Switches outside of loops and what follows them, up to the Merge."""
        found = set()
        queue = deque(op for op in self.ops if op.type in _SWITCHES and not self.frames[op.name])
        while queue:
            op = queue.popleft()
            if op not in found and not (op.type in _MERGES and not self.frames[op.name]):
                found.add(op)
                queue.extend(self.after[op.name])
        return found

    def _grouped(self) -> dict[str, list[tf.Operation]]:
        """By operation: its group, for those that have one."""
        parent = {op.name: op.name for op in self.ops}

        def head(name: str) -> str:
            while parent[name] != name:
                parent[name] = name = parent[parent[name]]
            return name

        first_in_frame = {}
        for op in self.ops:
            if frame := self.frames[op.name][:1]:
                parent[head(op.name)] = head(first_in_frame.setdefault(frame, op.name))
            if op in self._conditional:
                for other in self.after[op.name]:
                    parent[head(other.name)] = head(op.name)
            for tensor in op.inputs:
                if tensor.dtype.base_dtype in _HANDLES and _origin(tensor).op.type not in VARIABLES:
                    parent[head(op.name)] = head(tensor.op.name)
        groups = defaultdict(list)
        for op in self.ops:
            groups[head(op.name)].append(op)
        return {op.name: group for group in groups.values() if len(group) > 1 for op in group}


def has_own_state(op: tf.Operation) -> bool:
    """Whether a second copy of an operation may give something else: a random number, a queue, an array in memory."""
    return bool(op.op_def and op.op_def.is_stateful) and op.type not in VARIABLES | READS_OF_VARIABLES


def _before(op: tf.Operation) -> list[tf.Operation]:
    return [tensor.op for tensor in op.inputs] + list(op.control_inputs)


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    """Where a tensor comes from that is only passed on by control flow and Identity."""
    seen = set()
    while tensor.op.type in _PASS_ON and tensor.op.inputs and tensor.op not in seen:
        seen.add(tensor.op)
        tensor = tensor.op.inputs[0]
    return tensor
