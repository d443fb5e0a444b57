"""SavedModels: their signatures, and the graph behind the one that serves."""

from pathlib import Path

from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from detect_faces import saved_model_file
from detect_faces.errors import UserError
from export.inspect import graph
from export.inspect.description import ModelDescription, Tensor
from export.inspect.snippet import feeds, program


def describe(path: Path, *, trust: bool = False, size: tuple[int, int] | None = None) -> ModelDescription:
    """A SavedModel's signature serving_default, or its first one; the others are named."""
    folder = saved_model_file.folder_of(path)
    loaded = saved_model_file.load(path, trust=trust)
    signatures = sorted(loaded.signatures, key=lambda key: (key != "serving_default", key))
    if not signatures:
        raise UserError(f"{folder}: a SavedModel without a signature: nothing says what to feed and to fetch")
    key = signatures[0]
    served = loaded.signatures[key]
    frozen = convert_variables_to_constants_v2(served)
    described = graph.of_graph(frozen.graph.as_graph_def(), folder, "saved_model", size)
    described.inputs = [_tensor(name, spec) for name, spec in served.structured_input_signature[1].items()]
    described.outputs = [_tensor(name, spec) for name, spec in sorted(served.structured_outputs.items())]
    described.notes = [f"signature: {key}" + (f"; others: {', '.join(signatures[1:])}" if signatures[1:] else "")]
    lines, given = feeds(described.inputs)
    fed = ", ".join(f'"{t.name}": tf.constant({value})' for t, value in zip(described.inputs, given, strict=True))
    described.snippet = program(
        ["import sys", "import cv2", "import numpy as np", "import tensorflow as tf"],
        [f"model = tf.saved_model.load({str(folder)!r})", *lines],
        [
            f'results = model.signatures["{key}"](**{{{fed}}})',
            "for name, result in sorted(results.items()):",
            "    print(name, result.shape)",
        ],
    )
    return described


def _tensor(name: str, spec) -> Tensor:
    return Tensor(name, spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape.as_list()))
