"""TFLite files: the operations that one lists are looked at before LiteRT opens it.

LiteRT, as this package installs it, has no operation that touches files, and it cannot run TensorFlow's (Flex) or
custom ones: they need a library that is not here. It does look for such a library when a model asks for one. A model
of this project never does, so that it is refused before, and there is no `--trust` to run what could not run anyway.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from flatbuffers import encode, number_types
from flatbuffers.table import Table

from detect_faces.errors import UserError
from detect_faces.model_gate import TFLITE_OPS, refuse, refuse_other_ops

CUSTOM = 32  # the builtin code that says: see the custom code

# Slots in the tables of TFLite's schema (schema.fbs), where the gate looks.
MODEL_OPERATOR_CODES, MODEL_SUBGRAPHS, MODEL_EXTERNAL_BUFFER_GROUPS = 1, 2, 8
CODE_DEPRECATED_BUILTIN, CODE_CUSTOM, CODE_BUILTIN = 0, 1, 3
SUBGRAPH_TENSORS, SUBGRAPH_OPERATORS = 0, 3
OPERATOR_CODE, OPERATOR_OUTPUTS = 0, 2
TENSOR_NAME = 3


def gate(path: str | Path) -> None:
    """Raises UserError for a file that is no TFLite model, or one with an operation that the gate does not let through.

    Nothing of it is run, and of a good file only its list of operations is read.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[4:8] != b"TFL3":
                raise UserError(f"{path}: not a TFLite file")
            try:
                _gate(path, Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0)))
            except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
                raise UserError(f"{path}: not a whole TFLite file, or a damaged one") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of mmap
        raise UserError(f"{path}: the file is empty") from error


def _gate(path: Path, model: Table) -> None:
    names = [_op_name(code) for code in _tables(model, MODEL_OPERATOR_CODES)]
    allowed = frozenset(TFLITE_OPS.values())
    way_out = "export the model again, with builtin operations only"
    if any(_tables(model, MODEL_EXTERNAL_BUFFER_GROUPS)):
        refuse(path, "its weights are in other files, which it names itself", way_out)
    if not allowed.issuperset(names):
        refuse_other_ops(path, _operators(model, names), allowed, way_out)
        # Listed, and used by no operator.
        refuse_other_ops(path, ((name, f"(operator code {i})") for i, name in enumerate(names)), allowed, way_out)


def _op_name(code: Table) -> str:
    """What an entry of the list of operations is called: CONV_2D, or for custom ones their own name."""
    # Two fields, because the first had no room for more than 127; as LiteRT does, the larger one counts.
    builtin = max(
        _scalar(code, CODE_DEPRECATED_BUILTIN, number_types.Int8Flags, 0),
        _scalar(code, CODE_BUILTIN, number_types.Int32Flags, 0),
    )
    if builtin == CUSTOM:
        return f"the custom operation {_string(code, CODE_CUSTOM) or 'without a name'}"
    return TFLITE_OPS.get(builtin) or f"the builtin operation {builtin}"


def _operators(model: Table, names: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of an operation and of the node that does it: its subgraph and index, and its first output."""
    for i, subgraph in enumerate(_tables(model, MODEL_SUBGRAPHS)):
        tensors = list(_tables(subgraph, SUBGRAPH_TENSORS))
        for k, operator in enumerate(_tables(subgraph, SUBGRAPH_OPERATORS)):
            index = _scalar(operator, OPERATOR_CODE, number_types.Uint32Flags, 0)
            if index >= len(names):
                raise ValueError("an operator of no operation")
            start, count = _vector(operator, OPERATOR_OUTPUTS)
            output = operator.Get(number_types.Int32Flags, start) if count else -1
            tensor = f" ({_string(tensors[output], TENSOR_NAME)})" if 0 <= output < len(tensors) else ""
            yield names[index], f"{i}:{k}{tensor}"


# Of a flatbuffer: a table's field is found by its slot; a missing one has the default.


def _scalar(table: Table, slot: int, flags, default: int) -> int:
    offset = table.Offset(4 + 2 * slot)
    return table.Get(flags, table.Pos + offset) if offset else default


def _string(table: Table, slot: int) -> str:
    offset = table.Offset(4 + 2 * slot)
    return table.String(table.Pos + offset).decode("utf-8", "backslashreplace") if offset else ""


def _vector(table: Table, slot: int) -> tuple[int, int]:
    """Where its elements begin, and how many there are."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return 0, 0
    start, count = table.Vector(offset), table.VectorLen(offset)
    if not 0 <= start <= len(table.Bytes) - 4 * count:
        raise ValueError("a vector beyond the end of the file")
    return start, count


def _tables(table: Table, slot: int) -> Iterator[Table]:
    start, count = _vector(table, slot)
    for i in range(count):
        yield Table(table.Bytes, table.Indirect(start + 4 * i))
