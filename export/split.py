"""python -m export.split FILE --at TENSOR... --output DIR

Makes two graphs of one: before.pb up to the named tensors, after.pb behind them, which run one after the other to the
same result. split.json says what goes between them. FILE is a frozen graph, the folder of a SavedModel, or a TF1
MetaGraph (model.ckpt.meta) with its checkpoint.

    python -m export.split frozen_inference_graph.pb --before BoxPredictor --output split
    python -m export.split frozen_inference_graph.pb --at FeatureExtractor/MobilenetV2/Conv_1/Relu6 --output split

Both are proved on a photograph against the whole graph; nothing is written when one bit differs. `python -m
export.run_part` runs them on folders.
"""

import argparse
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.images import read_image
from detect_faces.quiet import keep_stderr_for_python
from export import graph_cut, split_source
from export.graph_cut import Cut
from export.graph_session import GraphSession
from export.inseparable import VARIABLES
from export.split_source import Source
from tools.sample_set import SAMPLE
from training.console import say

DESCRIPTION = "split.json"
BEFORE, AFTER = "before.pb", "after.pb"
FORMAT = 1
PHOTOGRAPH = SAMPLE / "images/faceapi-sample5.jpg"


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse(argv)
    refuse_other_folder(options.output)
    image = read_image(options.image)
    source = split_source.read(options.file, options.checkpoint, trust=options.trust)
    at = [graph_cut.tensor_name(source.graph_def, name) for name in options.at or ()]
    at += graph_cut.read_by(source.graph_def, options.before) if options.before else []
    outputs = chosen_outputs(source, options.outputs)
    whole = graph_cut.needed(source.graph_def, outputs)
    split_source.gate_part(source, whole, trust=options.trust)
    parts = graph_cut.cut(whole, at, outputs)

    before = source.frozen(parts.before, [handover.output for handover in parts.handovers])
    after = source.frozen(parts.after, [*outputs, *(handover.placeholder for handover in parts.handovers)])
    variables = {name: _variables(part) for name, part in (("before", parts.before), ("after", parts.after))}
    description = describe(source, parts, before, after, variables)

    options.output.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there when it is proved: the folder never holds parts of two graphs.
    with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=".split-") as folder:
        made = Path(folder, "parts")
        made.mkdir(mode=0o755)
        (made / BEFORE).write_bytes(before.SerializeToString(deterministic=True))
        (made / AFTER).write_bytes(after.SerializeToString(deterministic=True))
        say(talk(source, parts, description, whole))
        say(f"proof on {options.image}: the whole graph, and {BEFORE} followed by {AFTER}, operation by operation")
        try:
            differences, sizes = prove(source.frozen(whole, outputs), made, parts, image)
        except UserError as error:
            raise UserError(
                f"{options.output}: not written, as there is no proof on {options.image}: {error}"
            ) from error
        print("\n".join(as_text(differences)))
        if not all(row["identical"] for row in differences):
            raise UserError(f"{options.output}: not written, as the two parts do not give what {options.file} gives")
        description["proof"] = {"image": options.image.name, "outputs": differences, "handed_over": sizes}
        description["before"]["sha256"] = split_source.sha256(made / BEFORE)
        description["after"]["sha256"] = split_source.sha256(made / AFTER)
        (made / DESCRIPTION).write_text(as_json(description), encoding="utf-8")
        if options.output.exists():
            os.rename(options.output, made.parent / "earlier")
        os.rename(made, options.output)
    say(f"{options.output}: {BEFORE}, {AFTER}, {DESCRIPTION}")
    say(f"next: python -m export.run_part {options.output / BEFORE} --images FOLDER --output FEATURES")
    return EXIT_OK


def chosen_outputs(source: Source, names: list[str] | None) -> list[str]:
    """The tensors at the end: those named, the signature's, or the usual ones. Raises UserError where there is none."""
    if names:
        return list(dict.fromkeys(graph_cut.tensor_name(source.graph_def, name) for name in names))
    outputs = source.outputs or graph_cut.usual_outputs(source.graph_def)
    if not outputs:
        raise UserError(f"{source.path}: no output depends on an input; name some with --outputs")
    return outputs


def describe(source: Source, parts: Cut, before, after, variables: dict[str, list[dict]]) -> dict:
    """The contents of split.json, but for the proof: what each part takes, gives and holds."""
    first, second = graph_cut.imported(before), graph_cut.imported(after)
    inputs = [op.outputs[0].name for op in first.get_operations() if op.type == "Placeholder"]
    return {
        "format": FORMAT,
        "source": {"path": source.path.name, "kind": source.kind, "files": source.hashes()},
        "cut": [handover.tensor for handover in parts.handovers if handover.named],
        "around_the_cut": [
            {"tensor": handover.tensor, "read_by": list(handover.readers)}
            for handover in parts.handovers
            if not handover.named
        ],
        "before": {
            "file": BEFORE,
            "inputs": [_tensor(first, name) for name in inputs],
            "outputs": [
                {**_tensor(first, handover.output), "gives": handover.tensor, "named": handover.named}
                for handover in parts.handovers
            ],
            **_contents(before, variables["before"]),
        },
        "after": {
            "file": AFTER,
            "inputs": [
                {**_tensor(second, handover.placeholder), "stands_for": handover.tensor, "fed_from": handover.output}
                for handover in parts.handovers
            ],
            "outputs": [_tensor(second, name) for name in parts.outputs],
            **_contents(after, variables["after"]),
        },
    }


def prove(whole: tf.compat.v1.GraphDef, made: Path, parts: Cut, image: np.ndarray) -> tuple[list[dict], list[dict]]:
    """Runs the whole graph, and the two files one after the other.

    Returns:
        for each output whether it is the same to the bit, and its largest difference; for each tensor handed over its
        size on this photograph.
    """
    session = GraphSession(whole, as_written=True)
    expected = session.run(parts.outputs, session.photograph(image))
    first, second = (
        GraphSession(tf.compat.v1.GraphDef.FromString((made / name).read_bytes()), as_written=True)
        for name in (BEFORE, AFTER)
    )
    handed = first.run([handover.output for handover in parts.handovers], first.photograph(image))
    feeds = {handover.placeholder: value for handover, value in zip(parts.handovers, handed, strict=True)}
    given = second.run(parts.outputs, feeds)
    differences = [
        {"tensor": name, "shape": list(one.shape), **difference(one, other)}
        for name, one, other in zip(parts.outputs, expected, given, strict=True)
    ]
    sizes = [
        {"tensor": handover.tensor, "shape": list(np.shape(value)), "bytes": int(np.asarray(value).nbytes)}
        for handover, value in zip(parts.handovers, handed, strict=True)
    ]
    return differences, sizes


def difference(one: np.ndarray, other: np.ndarray) -> dict:
    """Whether two arrays are the same to the bit, and the largest difference; None where there is no such number."""
    one, other = np.asarray(one), np.asarray(other)
    same = (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    largest = 0.0
    if not same:
        largest = None
        if one.shape == other.shape and np.issubdtype(one.dtype, np.number):
            with np.errstate(invalid="ignore"):
                largest = float(np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))))
    return {"identical": same, "largest_difference": largest}


def as_text(differences: list[dict]) -> list[str]:
    """The proof for people, a line for each output."""
    width = max(len(row["tensor"]) for row in differences)
    return [
        f"{row['tensor']:<{width}}  {tuple(row['shape'])!s:<16}  largest difference {row['largest_difference']}"
        + (": the same bits" if row["identical"] else ": NOT the same")
        for row in differences
    ]


def talk(source: Source, parts: Cut, description: dict, whole: tf.compat.v1.GraphDef) -> str:
    """What goes where, for people."""
    lines = []
    total = sum(node.op in VARIABLES for node in whole.node)
    for name, part in (("before", parts.before), ("after", parts.after)):
        contents = description[name]
        held = contents["variables"] or contents["constants"]
        what = f"{len(held)} of {total} variables" if total else f"{len(held)} constants"
        size = sum(one["bytes"] for one in held)
        lines.append(f"{name}: {len(part.node)} of {len(whole.node)} nodes, {what}, {size / 1e6:.2f} MB")
        if contents["variables"]:
            names = [one["name"] for one in contents["variables"]]
            lines.append(f"  {', '.join(names[:4])}" + (f" ... {names[-1]}" if len(names) > 4 else ""))
    for handover in parts.handovers:
        how = "cut" if handover.named else "around the cut"
        readers = ", ".join(handover.readers[:2]) + (", ..." if len(handover.readers) > 2 else "")
        shape = "of any rank" if handover.shape is None else tuple(handover.shape)
        lines.append(f"{how}: {handover.tensor} {handover.dtype} {shape}, read by {readers or 'nothing'}")
    around = sum(not handover.named for handover in parts.handovers)
    if around:
        lines.append(
            f"{around} tensor{'s' if around > 1 else ''} around the cut: {AFTER} also reads what depends on the input "
            f"and not on the named tensors; {BEFORE} gives it as well"
        )
    return "\n".join(lines)


def as_json(description: dict) -> str:
    """Indented, but lists of plain values (a shape) in one line."""
    text = json.dumps(description, indent=1)
    return re.sub(r"\[([^][{}]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def refuse_other_folder(folder: Path) -> None:
    """Raises UserError where something that is no split would be replaced."""
    if folder.exists() and not (folder / DESCRIPTION).is_file():
        if not folder.is_dir() or any(folder.iterdir()):
            raise UserError(f"{folder}: there is something that is not a split graph; give another --output")


def _tensor(graph: tf.Graph, name: str) -> dict:
    tensor = graph.get_tensor_by_name(name)
    shape = None if tensor.shape.rank is None else tensor.shape.as_list()
    return {"tensor": name, "dtype": tensor.dtype.base_dtype.name, "shape": shape}


def _variables(part: tf.compat.v1.GraphDef) -> list[dict]:
    rows = []
    for node in part.node:
        if node.op in VARIABLES:
            dtype = tf.as_dtype(node.attr["dtype"].type)
            shape = tf.TensorShape(node.attr["shape"].shape)
            rows.append({"name": node.name, "dtype": dtype.name, "shape": shape})
    return rows


def _contents(part: tf.compat.v1.GraphDef, variables: list[dict]) -> dict:
    """The constants of a frozen part with their sizes, those that were variables apart."""
    names = {row["name"] for row in variables}
    held = {"variables": [], "constants": []}
    for node in part.node:
        if node.op == "Const":
            value = node.attr["value"].tensor
            dtype, shape = tf.as_dtype(value.dtype), tf.TensorShape(value.tensor_shape).as_list()
            size = int(np.prod(shape, dtype=np.int64)) * dtype.size
            row = {"name": node.name, "dtype": dtype.name, "shape": shape, "bytes": size}
            held["variables" if node.name in names else "constants"].append(row)
    return held


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export.split", description="Make two graphs of one, up to named tensors and behind them."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="frozen graph, SavedModel folder, or model.ckpt.meta")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--at", nargs="+", action="extend", metavar="TENSOR", help="cut at these: node or node:0")
    where.add_argument("--before", metavar="SCOPE", help="cut at what the network in a scope reads: BoxPredictor")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--outputs", nargs="+", metavar="TENSOR", help="the end [detection_boxes and the like, or what nobody reads]"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="PREFIX", help="of a MetaGraph [the one beside it]")
    parser.add_argument("--image", type=Path, default=PHOTOGRAPH, metavar="FILE", help="for the proof [of the sample]")
    parser.add_argument("--trust", action="store_true", help="run operations that the gate does not let through")
    return parser.parse_args(argv)


if __name__ == "__main__":
    keep_stderr_for_python()  # TensorFlow talks to it from C++
    tf.get_logger().setLevel("ERROR")  # freezing variables of TF1 is deprecated, as TF1 is
    run_command(main)
