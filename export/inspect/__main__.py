"""What is in a model file: inputs, outputs, how to run it, parameters, FLOPs, operations, leftovers of training.

python -m export.inspect exported-models/demo/frozen_inference_graph.pb
python -m export.inspect checkpoints/ssdlite_mobilenet_v2_coco --variables
python -m export.inspect model.onnx --input-size 320 320 --json
"""

import argparse
import json
from pathlib import Path

from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.quiet import keep_stderr_for_python
from export.model_file import Kind, kind


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    described = describe(options.file, trust=options.trust, size=options.input_size and tuple(options.input_size))
    print(json.dumps(described.to_json(), indent=1) if options.json else described.to_text(options.variables))
    return EXIT_OK


def describe(path: Path, *, trust: bool = False, size: tuple[int, int] | None = None):
    """The ModelDescription of a file of any kind.

    Args:
        path: a file, the folder of a SavedModel or of checkpoints, or a checkpoint's prefix.
        trust: lets operations through that the gate refuses.
        size: (height, width) for inputs that leave theirs open.

    Raises:
        UserError: not a model, not a whole one, or refused by the gate.
    """
    # Each brings libraries of its own that take seconds to load.
    found = kind(path)
    if found is Kind.TFLITE:
        from export.inspect import tflite

        return tflite.describe(path)
    if found is Kind.ONNX:
        from export.inspect import onnx_file

        return onnx_file.describe(path, size=size)
    if found is Kind.CHECKPOINT:
        from export.inspect import checkpoint

        return checkpoint.describe(path)
    if found is Kind.FROZEN_GRAPH:
        from export.inspect import graph

        return graph.describe(path, trust=trust, size=size)
    if found is Kind.SAVED_MODEL:
        from export.inspect import saved_model

        return saved_model.describe(path, trust=trust, size=size)
    if found is Kind.META_GRAPH:
        raise UserError(f"{path}: the graph of a checkpoint; give the checkpoint: its prefix, without .meta")
    raise UserError(f"{path}: a TensorFlow.js model, which is not inspected; make a frozen graph of it first")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export.inspect",
        description=__doc__.partition("\n")[0],
        epilog="Frozen graphs and SavedModels are looked at by the gate first; what it refuses is not loaded.",
    )
    parser.add_argument(
        "file", type=Path, help="frozen graph, SavedModel, checkpoint (prefix, .index or folder), TFLite or ONNX"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as one JSON object")
    parser.add_argument("--variables", action="store_true", help="list every variable of a checkpoint")
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=pixels,
        metavar=("H", "W"),
        help="for the FLOPs, where the model leaves its input's size open",
    )
    parser.add_argument("--trust", action="store_true", help="load it even if the gate refuses its operations")
    return parser.parse_args(argv)


def pixels(text: str) -> int:
    """A height or width on the command line."""
    if not 1 <= int(text) <= 8192:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    keep_stderr_for_python()
    run_command(main)
