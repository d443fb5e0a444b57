"""ONNX files: what is read off the model. Nothing of it is run."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, external_data_helper, shape_inference

from detect_faces.errors import UserError
from detect_faces.model_gate import shown
from export.inspect.description import Flops, ModelDescription, Tensor
from export.inspect.snippet import feeds, program

PARAMETERS = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2, 3, 4),
    "PRelu": (1,), "ConvInteger": (1,), "MatMulInteger": (0, 1), "QLinearConv": (3, 8), "QLinearMatMul": (3,),
}  # fmt: skip
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "QLinearConv")
PASSES_ON = ("Identity", "Cast", "DequantizeLinear", "Reshape", "Transpose")


def describe(path: Path, *, size: tuple[int, int] | None = None) -> ModelDescription:
    """An ONNX file.

    Args:
        path: of it.
        size: (height, width) for inputs that leave theirs open.

    Raises:
        UserError: it is damaged, or keeps its weights outside of its folder.
    """
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path}: not a whole ONNX file, or a damaged one") from error
    tensors = list(_all_tensors(model.graph))
    external = [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]
    for tensor in external:
        _check_external(path, tensor)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(_all_nodes(model.graph))
    operations = Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type for node in nodes
    )
    inputs = [_tensor(value) for value in model.graph.input if value.name not in initializers]
    outputs = [_tensor(value) for value in model.graph.output]
    weights = Counter()
    for dtype, count in _parameters(nodes, tensors).values():
        weights[dtype] += count
    described = ModelDescription(
        path=str(path),
        kind="onnx",
        inputs=inputs,
        outputs=outputs,
        parameters=sum(weights.values()),
        weights=dict(weights.most_common()),
        flops=_flops(path, model, nodes, inputs, size),
        operations=dict(operations.most_common()),
        batch_norm=_batch_norm(operations),
        quantised=_quantised(operations, weights),
        suppression=sorted(op for op in operations if "NonMaxSuppression" in op or "NMS" in op.upper()),
        notes=["opset: " + ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)],
        snippet=_snippet(path, inputs),
    )
    if external:
        described.notes.append(f"weights in other files of its folder: {len(external)} tensors")
    return described


def _all_nodes(graph: onnx.GraphProto):
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _all_nodes(inner)


def _all_tensors(graph: onnx.GraphProto):
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
        for inner in _subgraphs(node):
            yield from _all_tensors(inner)


def _subgraphs(node: onnx.NodeProto):
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _check_external(path: Path, tensor: onnx.TensorProto) -> None:
    """Raises UserError where a tensor's file is not in the model's folder, or not there."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    if not location or not (folder / location).resolve().is_relative_to(folder):
        raise UserError(
            f"{path}: refused: {shown(tensor.name)} is read from {shown(location)!r}, outside of the model's folder; "
            "save the model with its weights in it"
        )
    if not (folder / location).is_file():
        raise UserError(f"{path}: the file of its weights, {shown(location)}, does not lie beside it")


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(_size(dim) for dim in kind.shape.dim) if kind.HasField("shape") else None
    return Tensor(value.name, _dtype(kind.elem_type), shape)


def _size(dim) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _dtype(number: int) -> str:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)).name
    except (KeyError, ValueError, TypeError):
        return "?"


def _parameters(nodes: list, tensors: list) -> dict[str, tuple[str, int]]:
    constants = {tensor.name: tensor for tensor in tensors if tensor.name}
    made_by = {output: node for node in nodes for output in node.output}
    constants |= _constants(nodes)
    found = {}
    for node in nodes:
        for k in PARAMETERS.get(node.op_type, ()):
            name = node.input[k] if k < len(node.input) else ""
            for _ in range(10):
                if name in constants or name not in made_by or made_by[name].op_type not in PASSES_ON:
                    break
                name = made_by[name].input[0]
            if name in constants:
                tensor = constants[name]
                found[name] = (_dtype(tensor.data_type), int(np.prod(tensor.dims, dtype=np.int64)))
    return found


def _constants(nodes: list) -> dict[str, onnx.TensorProto]:
    """The tensors of Constant nodes."""
    values = [(node, attribute) for node in nodes if node.op_type == "Constant" for attribute in node.attribute]
    return {node.output[0]: attribute.t for node, attribute in values if attribute.name == "value"}


def _flops(path: Path, model: onnx.ModelProto, nodes: list, inputs: list[Tensor], size) -> Flops:
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    at = []
    for value in sized.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4:
            channels_first = _size(dims[3]) != 3
            fixed = {0: 1} | (dict(zip((2, 3) if channels_first else (1, 2), size, strict=True)) if size else {})
            for axis, length in fixed.items():
                if _size(dims[axis]) is None:
                    dims[axis].dim_value = length
        if value.name in {tensor.name for tensor in inputs}:
            at.append(str(_tensor(value)))
    try:
        inferred = shape_inference.infer_shapes(sized, data_prop=True).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its shapes contradict each other: {shown(str(error).splitlines()[0])}") from error
    shapes = {value.name: _tensor(value).shape for value in (*inferred.value_info, *inferred.input, *inferred.output)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    shapes |= {name: tuple(tensor.dims) for name, tensor in _constants(nodes).items()}
    counts = {node.output[0]: _layer_flops(node, shapes) for node in nodes if node.op_type in LAYERS}
    known = [count for count in counts.values() if count is not None]
    unknown = [name for name, count in counts.items() if count is None]
    return Flops(sum(known), len(known), ", ".join(at), "shapes inferred", unknown)


def _layer_flops(node: onnx.NodeProto, shapes: dict) -> int | None:
    """2 x the multiply-adds of a layer; None where a shape is open."""
    weight = shapes.get(node.input[3 if node.op_type == "QLinearConv" else 1])
    first, out = shapes.get(node.input[0]), shapes.get(node.output[0])
    if any(shape is None or None in shape for shape in (first, weight, out)):
        return None
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, height, width)
        return 2 * int(np.prod(first, dtype=np.int64) * np.prod(weight[1:], dtype=np.int64))
    elements = int(np.prod(out, dtype=np.int64))
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):  # (out, in / groups, height, width)
        return 2 * elements * int(np.prod(weight[1:], dtype=np.int64))
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * elements * first[-2 if transposed else -1]


def _batch_norm(operations: Counter) -> str:
    kept = operations["BatchNormalization"]
    return f"{kept} layers, not folded" if kept else "none, or folded without a trace"


def _quantised(operations: Counter, weights: Counter) -> str:
    if weights.keys() & {"int8", "uint8"} or any(op.startswith(("QLinear", "DequantizeLinear")) for op in operations):
        return "yes, weights of 8 bits"
    return "no" + (", float16 weights" if "float16" in weights else "")


def _snippet(path: Path, inputs: list[Tensor]) -> str:
    lines, given = feeds(inputs)
    fed = ", ".join(f'"{tensor.name}": {value}' for tensor, value in zip(inputs, given, strict=True))
    return program(
        ["import sys", "import cv2", "import numpy as np", "from onnx.reference import ReferenceEvaluator"],
        ["# Slow and exact; onnxruntime.InferenceSession takes the same file and is run in the same way.",
         f"model = ReferenceEvaluator({str(path)!r})", *lines],
        [f"results = model.run(None, {{{fed}}})",
         "for name, result in zip(model.output_names, results):",
         "    print(name, result.shape)"],
    )  # fmt: skip
