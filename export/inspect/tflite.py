"""TFLite files: what is read off the flatbuffer. Nothing of it is run, so that custom operations may be in it."""

import struct
from collections import Counter
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from detect_faces.errors import UserError
from detect_faces.model_gate import TFLITE_OPS, shown
from export.inspect.description import Flops, ModelDescription, Tensor
from export.inspect.snippet import feeds, program

OPS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
DTYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
PARAMETERS = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2), "TRANSPOSE_CONV": (1, 3),
              "PRELU": (1,), "MUL": (0, 1), "ADD": (0, 1), "BATCH_MATMUL": (0, 1)}  # fmt: skip


def describe(path: Path) -> ModelDescription:
    """A TFLite file. Of several signatures the first is counted: the others share its weights, at other sizes say.

    Raises:
        UserError: it is damaged.
    """
    data = path.read_bytes()
    try:
        return _describe(path, schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"{path}: not a whole TFLite file, or a damaged one") from error


def _describe(path: Path, model: schema.Model) -> ModelDescription:
    signatures = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    # Behind a signature's own subgraph others may be the bodies of its loops.
    first, *others = [signature.SubgraphIndex() for signature in signatures] or [0]
    counted = [k for k in range(model.SubgraphsLength()) if k not in others or k == first]
    operations, refused = Counter(), _refused(model)
    weights: dict[int, tuple[str, int]] = {}
    flops, layers, unknown = 0, 0, []
    for k in counted:
        subgraph = model.Subgraphs(k)
        made_by = {}
        for i in range(subgraph.OperatorsLength()):
            operator = subgraph.Operators(i)
            op = _op(model.OperatorCodes(operator.OpcodeIndex()))
            operations[op] += 1
            for out in operator.OutputsAsNumpy() if operator.OutputsLength() else ():
                made_by[int(out)] = (op, operator)
            for k_input in PARAMETERS.get(op, ()):
                of_features = op not in ("MUL", "ADD") or len(_shape(subgraph.Tensors(operator.Outputs(0)))) == 4
                if k_input < operator.InputsLength() and of_features:  # and not of boxes, whose anchors aren't trained
                    _add_constant(model, subgraph, operator.Inputs(k_input), made_by, op, weights)
            if op in LAYERS:
                count = _layer_flops(subgraph, op, operator)
                flops, layers = flops + (count or 0), layers + (count is not None)
                unknown += [] if count is not None else [_name(subgraph.Tensors(operator.Outputs(0)))]

    main = model.Subgraphs(first)
    inputs = [_tensor(main.Tensors(main.Inputs(i))) for i in range(main.InputsLength())]
    outputs = [_tensor(main.Tensors(main.Outputs(i))) for i in range(main.OutputsLength())]
    signature, names_in, names_out = _signature(signatures[0]) if signatures else ("", {}, {})
    inputs = [Tensor(names_in.get(main.Inputs(i), t.name), t.dtype, t.shape) for i, t in enumerate(inputs)]
    outputs = [Tensor(names_out.get(main.Outputs(i), t.name), t.dtype, t.shape) for i, t in enumerate(outputs)]
    by_type = Counter()
    for dtype, count in weights.values():
        by_type[dtype] += count
    notes = [f"signature: {signature}"] if signature else ["signatures: none"]
    if others:
        notes.append(f"other signatures, not counted: {', '.join(_signature(other)[0] for other in signatures[1:])}")
    if refused:
        notes.append(f"refused by detect-faces, for these operations: {', '.join(map(shown, refused))}")
    if any(size is None for tensor in inputs for size in tensor.shape or ()):
        notes.append("inputs of open size: the FLOPs hold for the sizes that the file was converted with")
    return ModelDescription(
        path=str(path),
        kind="tflite",
        inputs=inputs,
        outputs=outputs,
        parameters=sum(by_type.values()),
        weights=dict(by_type.most_common()),
        flops=Flops(
            flops,
            layers,
            ", ".join(f"{tensor.name} {_shape(main.Tensors(main.Inputs(i)))}" for i, tensor in enumerate(inputs)),
            "shapes in the file",
            unknown,
        ),
        operations=dict(operations.most_common()),
        batch_norm="no operation of its own: TFLite has none, converters fold it",
        quantised=_quantised(by_type),
        suppression=sorted(op for op in operations if "NON_MAX" in op or "PostProcess" in op),
        notes=notes,
        snippet=_snippet(path, signature, inputs),
    )


def _builtin(code: schema.OperatorCode) -> int:
    return max(code.DeprecatedBuiltinCode(), code.BuiltinCode())


def _op(code: schema.OperatorCode) -> str:
    if _builtin(code) == schema.BuiltinOperator.CUSTOM:
        return (code.CustomCode() or b"?").decode("utf-8", "backslashreplace")
    return OPS.get(_builtin(code), f"builtin {_builtin(code)}")


def _refused(model: schema.Model) -> list[str]:
    """The operations of any signature that detect-faces doesn't run."""
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return sorted({_op(code) for code in codes if _builtin(code) not in TFLITE_OPS})


def _name(tensor: schema.Tensor) -> str:
    return (tensor.Name() or b"").decode("utf-8", "backslashreplace")


def _shape(tensor: schema.Tensor) -> tuple[int, ...]:
    return tuple(tensor.ShapeAsNumpy().tolist()) if tensor.ShapeLength() else ()


def _tensor(tensor: schema.Tensor) -> Tensor:
    shape = _shape(tensor)
    if tensor.ShapeSignatureLength():
        shape = tuple(None if size < 0 else size for size in tensor.ShapeSignatureAsNumpy().tolist())
    return Tensor(_name(tensor), DTYPES.get(tensor.Type(), "?"), shape)


def _signature(signature: schema.SignatureDef) -> tuple[str, dict[int, str], dict[int, str]]:
    """Its name, and the names that it gives to tensors."""

    def names(maps) -> dict[int, str]:
        return {entry.TensorIndex(): (entry.Name() or b"").decode("utf-8", "backslashreplace") for entry in maps}

    inputs = names(signature.Inputs(i) for i in range(signature.InputsLength()))
    outputs = names(signature.Outputs(i) for i in range(signature.OutputsLength()))
    return (signature.SignatureKey() or b"").decode("utf-8", "backslashreplace"), inputs, outputs


def _add_constant(model, subgraph, index: int, made_by: dict, op: str, weights: dict) -> None:
    """Notes a tensor as parameters, by its buffer, if it is constant, also behind a DEQUANTIZE of float16 weights."""
    if index < 0:
        return
    if index in made_by and made_by[index][0] in ("DEQUANTIZE", "DENSIFY", "RESHAPE"):
        index = made_by[index][1].Inputs(0)
    tensor = subgraph.Tensors(index)
    buffer = model.Buffers(tensor.Buffer())
    if not (buffer.DataLength() or buffer.Size() > 1):
        return
    shape = _shape(tensor)
    per_channel = len(shape) > 0 and shape[-1] > 1 and np.prod(shape) == shape[-1]
    if op in ("MUL", "ADD") and not per_channel:
        return
    weights[tensor.Buffer()] = (DTYPES.get(tensor.Type(), "?"), int(np.prod(shape, dtype=np.int64)))


def _layer_flops(subgraph: schema.SubGraph, op: str, operator: schema.Operator) -> int | None:
    """2 x the multiply-adds of a layer, from the shapes in the file; None where one is not there."""
    weight = _shape(subgraph.Tensors(operator.Inputs(1)))
    out = _shape(subgraph.Tensors(operator.Outputs(0)))
    if not out or min(out) < 1 or not weight:
        return None
    elements = int(np.prod(out, dtype=np.int64))
    if op == "CONV_2D":  # weights (out, height, width, in)
        return 2 * elements * int(np.prod(weight[1:]))
    if op == "DEPTHWISE_CONV_2D":  # (1, height, width, channels)
        return 2 * elements * weight[1] * weight[2]
    if op == "FULLY_CONNECTED":  # (out, in)
        return 2 * elements * weight[-1]
    if op == "TRANSPOSE_CONV":  # (out, height, width, in), and the picture is the third input
        picture = _shape(subgraph.Tensors(operator.Inputs(2)))
        return 2 * int(np.prod(picture, dtype=np.int64)) * int(np.prod(weight[:-1])) if picture else None
    first = _shape(subgraph.Tensors(operator.Inputs(0)))
    return 2 * elements * first[-1] if first else None


def _quantised(weights: Counter) -> str:
    if weights.keys() & {"int8", "uint8", "int4"}:
        return "yes, weights of 8 bits or fewer"
    return "no" + (", float16 weights" if "float16" in weights else "")


def _snippet(path: Path, signature: str, inputs: list[Tensor]) -> str:
    lines, given = feeds(inputs)
    imports = ["import sys", "import cv2", "import numpy as np", "from ai_edge_litert.interpreter import Interpreter"]
    start = [f"interpreter = Interpreter({str(path)!r})", *lines]
    if signature:
        fed = ", ".join(f'"{tensor.name}": {value}' for tensor, value in zip(inputs, given, strict=True))
        run = [f'results = interpreter.get_signature_runner("{signature}")(**{{{fed}}})']
    else:
        run = [f"for detail, value in zip(interpreter.get_input_details(), [{', '.join(given)}]):",
               '    interpreter.resize_tensor_input(detail["index"], value.shape)',
               "interpreter.allocate_tensors()",
               f"for detail, value in zip(interpreter.get_input_details(), [{', '.join(given)}]):",
               '    interpreter.set_tensor(detail["index"], value)',
               "interpreter.invoke()",
               'results = {detail["name"]: interpreter.get_tensor(detail["index"])',
               "           for detail in interpreter.get_output_details()}"]  # fmt: skip
    return program(
        imports, start, [*run, "for name, result in sorted(results.items()):", "    print(name, result.shape)"]
    )
