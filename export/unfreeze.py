"""Unfreeze: a frozen graph or TensorFlow.js graph model in, a checkpoint to go on training from out.

    python -m export.unfreeze frozen_inference_graph.pb --output checkpoints/mine/model.ckpt
    python -m export.unfreeze frozen_inference_graph.pb --output checkpoints/mine/model.ckpt \\
        --pipeline ssdlite_mobilenet_v2_300_zoo
    make train PIPELINE=ssdlite_mobilenet_v2_300_zoo CHECKPOINT=checkpoints/mine/model.ckpt RUN=mine

The checkpoint has the variable names of the graph, which for the OD API's graphs are those of the TF1 model zoo. Batch
norm that was folded into weights is put back, with statistics measured on photographs. With --pipeline the variables go
into the pipeline's model, too, and where none of it starts anew the folder becomes a run of 0 steps, which
training.detect and export take.

Every time the graph is run on a photograph, as it is and with variables restored from the checkpoint: without folded
batch norm the two agree to the last bit, with it to 1e-4 of the largest value, or nothing is written. So it is with the
pipeline's model, whose raw output on the same input has to agree to 1e-3 of the largest value.

Exit codes: 0 done; 1 done, but some photographs were bad and left out; 2 nothing is written.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from detect_faces import graph_file
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.quiet import keep_stderr_for_python
from export import fused_ops, graph_run, graph_settings, model_file, tfjs_graph
from export.frozen_graph import OUTPUTS
from export.graph_variables import Graph, Layer, find_layers
from export.unfold import Unfrozen, calibrated, unfold
from tools import sample_set
from tools.report import Report
from training import restore
from training.console import say
from training.photographs import photographs

PHOTOGRAPHS = 200  # to measure batch norm on; of a larger set, evenly
FOLDED_TOLERANCE = 1e-4  # of the largest value: float32 through some sixty layers, with batch norm computed otherwise
PIPELINE_TOLERANCE = 1e-3
DETECTIONS_FROM = 0.01  # scores that detections are compared from
SHOWN = 4  # variables at the beginning and at the end of the table


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    prefix = Path(str(options.output).removesuffix(".index"))
    folder = prefix.parent
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: there is something already; give --output FOLDER/{prefix.name} with a new folder")

    # ---- The graph and its layers ---------------------------------------------------------------------------------
    graph = Graph(read(options.graph, trust=options.trust))
    layers = find_layers(graph)
    if not layers:
        raise UserError(f"{options.graph}: no variables to be found: no convolution in it has constant weights")
    settings = graph_settings.read(graph, layers)
    say(f"{options.graph}: {settings}")
    model = _pipeline_model(options.pipeline, layers)

    # ---- The variables, and batch norm put back ---------------------------------------------------------------------
    unfrozen = unfold(graph, layers, model.named, model.known, model.epsilons) if model else unfold(graph, layers)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = _photographs(options.photographs, report)
    first = next(images)
    if unfrozen.folded:
        progress = tqdm(chain([first], images), desc="calibrating", unit=" photographs", disable=None, leave=False)
        folded = [folded.layer for folded in unfrozen.folded]
        unfrozen = calibrated(unfrozen, graph_run.moments(graph, folded, progress))
        say(f"batch norm of {len(folded)} layers put back, measured on {report.images} photographs")

    # ---- Written beside its place, compared, and moved there ---------------------------------------------------------
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfreeze-") as work:
        made = Path(work, "checkpoint")
        made.mkdir(mode=0o755)
        checkpoint = str(made / prefix.name)
        try:
            restore.save_tf1(unfrozen.variables, checkpoint)
            lines = [*table(unfrozen, all_of_them=options.variables), ""]
            lines += compare_graph(graph, layers, unfrozen, checkpoint, first)
            if model:
                restored = model.take_over(checkpoint)
                lines.append(f"{options.pipeline}: restored {restored} of {len(model.known)} variables")
                lines += compare_model(graph, layers, unfrozen, model, settings, first)
                if model.anew:
                    lines.append("  no run of 0 steps is made of it, as long as the class predictors know nothing")
                else:
                    model.save(made)
        except tf.errors.OpError as error:
            raise UserError(f"{folder}: cannot be written ({error.message.splitlines()[0]})") from error
        os.rename(made, folder)

    print("\n".join(lines))
    say(f"{prefix}: {len(unfrozen.variables)} variables")
    pipeline = options.pipeline or "NAME"
    say(f"next: make train PIPELINE={pipeline} CHECKPOINT={prefix} RUN=..., with the records of your DATASET=")
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def read(path: Path, *, trust: bool) -> tf.compat.v1.GraphDef:
    """The graph of a .pb or model.json, without fused operations. Raises UserError, also where the gate refuses it."""
    match model_file.kind(path):
        case model_file.Kind.FROZEN_GRAPH:
            graph_def = graph_file.read(path, trust=True)  # fused operations come apart before the gate sees them
        case model_file.Kind.TFJS:
            graph_def = tfjs_graph.read(path)
        case other:
            raise UserError(f"{path}: a model of the kind {other}; unfrozen are frozen graphs (.pb) and model.json")
    graph_def = fused_ops.take_apart(graph_def, path)
    if not trust:
        graph_file.gate(graph_def, path)
    return graph_def


def _pipeline_model(pipeline: str | None, layers: list[Layer]):
    if pipeline is None:
        return None
    from export.pipeline_model import PipelineModel  # the OD API takes seconds to import

    model = PipelineModel(pipeline)
    model.check_epsilons(layers)
    return model


def _photographs(folder: Path | None, report: Report) -> Iterator[np.ndarray]:
    """Photographs, one at least."""
    if folder is None:
        sample_set.main()
        folder = sample_set.SAMPLE / "images"
    images = photographs(folder, PHOTOGRAPHS, report)
    first = next(images, None)
    if first is None:
        raise UserError(f"{folder}: not one good photograph in it to run the graph on; give another --photographs")
    return chain([first], images)


def table(unfrozen: Unfrozen, *, all_of_them: bool) -> list[str]:
    """Lines of a table of the variables by name."""
    sizes = {name: value.size for name, value in unfrozen.variables.items()}
    names = sorted(sizes)
    shown = names if all_of_them or len(names) <= 2 * SHOWN + 1 else [*names[:SHOWN], None, *names[-SHOWN:]]
    width = max(len(name) for name in shown if name)
    lines = []
    for name in shown:
        if name is None:
            lines.append(f"... {len(names) - 2 * SHOWN} more; all with --variables")
        else:
            value = unfrozen.variables[name]
            lines.append(f"{name:<{width}}  {value.dtype.name} {' x '.join(map(str, value.shape)) or 'scalar'}")
    return [*lines, f"{len(names)} variables, {sum(sizes.values()):,} parameters"]


def compare_graph(
    graph: Graph, layers: list[Layer], unfrozen: Unfrozen, checkpoint: str, photograph: np.ndarray
) -> list[str]:
    """Compares the graph with itself restored. Returns what was seen; raises UserError where the two differ."""
    # What the network puts out is compared in any case. What is chosen by its scores, as suppression does, may come in
    # another order where these differ in the last bit.
    tensors = [f"{layer.output}:0" for layer in graph_run.heads(graph, layers)]
    if not unfrozen.folded:
        tensors += graph_run.outputs(graph)
    before = graph_run.PhotographSession(graph.graph_def).run(tensors, photograph)
    after = graph_run.restored(graph, unfrozen, checkpoint).run(tensors, photograph)
    difference, largest, where = _difference(zip(tensors, before, after, strict=True))
    if difference > (FOLDED_TOLERANCE * largest if unfrozen.folded else 0.0):
        raise UserError(
            f"the graph restored from the checkpoint computes something else: {where} differs by {difference:.2g} "
            f"of {largest:.4g}; nothing is written"
        )
    return [
        f"the graph restored from the checkpoint, {len(tensors)} outputs: largest difference {difference:.2g} of "
        f"{largest:.4g}" + (" (to the last bit the same)" if difference == 0 else "")
    ]


def compare_model(
    graph: Graph,
    layers: list[Layer],
    unfrozen: Unfrozen,
    model,
    settings: graph_settings.Settings,
    photograph: np.ndarray,
) -> list[str]:
    """Compares the graph with the pipeline's model. Returns what was seen; raises UserError as `compare_graph`."""
    from export.pipeline_model import raw_heads

    running = graph_run.PhotographSession(graph.graph_def)
    lines = [f"  starts anew, being of another number of classes: {name}" for name in model.anew]
    raw = raw_heads(unfrozen, graph_run.heads(graph, layers))
    size = graph_run.network_input(graph, layers)
    images, *values = running.run([size, *(f"{layer.output}:0" for some in raw.values() for layer in some)], photograph)
    ours = model.raw(images) if all(raw.values()) else {}
    for what, some in raw.items():
        theirs, values = values[: len(some)], values[len(some) :]
        if what not in ours or (what == "class logits" and model.anew):
            lines.append(f"  {what}: not compared")
            continue
        columns = ours[what].shape[-1]
        theirs = np.concatenate([value.reshape(-1, columns) for value in theirs])
        if theirs.shape != ours[what].shape:
            raise UserError(f"{len(theirs)} {what} in the graph, {len(ours[what])} in the pipeline: other anchors")
        difference, largest, _ = _difference([(what, theirs, ours[what])])
        if difference > PIPELINE_TOLERANCE * largest:
            raise UserError(
                f"the pipeline's model computes something else than the graph: {what} differ by {difference:.2g} of "
                f"{largest:.4g}; nothing is written"
            )
        lines.append(f"  {what} on the same input: largest difference {difference:.2g} of {largest:.4g}")
    return lines + _compare_detections(graph, model, settings, images, running, photograph)


def _compare_detections(
    graph: Graph, model, settings, images: np.ndarray, running, photograph: np.ndarray
) -> list[str]:
    """What is the same and what is not from the photograph to the detections, as lines."""
    other = graph_settings.differences(settings, model.settings)
    input_ours = model.preprocessed(photograph)
    if input_ours.shape != images.shape:
        other.append(f"input {_sides(images)} in the graph, {_sides(input_ours)} in the pipeline")
    elif (difference := np.abs(input_ours - images).max()) > PIPELINE_TOLERANCE:
        other.append(f"the preprocessed photograph differs by {difference:.2g} of {np.abs(images).max():.2g}")
    if other:
        return ["  detections: not those of the graph; the pipeline has others of:", *(f"    {line}" for line in other)]
    if not all(name in graph.nodes for name in OUTPUTS):
        return [f"  detections: not compared, the graph has no {OUTPUTS[0]}"]
    if model.anew:
        return ["  detections: not compared, the class predictors start anew"]
    boxes, scores, _, count = running.run([f"{name}:0" for name in OUTPUTS], photograph)
    count = int(count.ravel()[0])
    theirs = np.column_stack([boxes[0, :count], scores[0, :count]])
    ours = np.column_stack(model.detect(photograph))
    apart = max(_farthest(theirs, ours), _farthest(ours, theirs))
    if apart > PIPELINE_TOLERANCE:
        return [
            f"  detections: not those of the graph (boxes or scores {apart:.2g} apart), though the network and its "
            "input are: the anchors or the box coder of the pipeline are others"
        ]
    number = int((theirs[:, 4] >= DETECTIONS_FROM).sum())
    return [f"  detections: {number} from score {DETECTIONS_FROM:g} on, the same; largest difference {apart:.2g}"]


def _farthest(some: np.ndarray, others: np.ndarray) -> float:
    """How far the detections that count are from their nearest among others: largest difference of a box or score."""
    some = some[some[:, 4] >= DETECTIONS_FROM]
    if not len(some):
        return 0.0
    if not len(others):
        return 1.0
    return float(np.abs(some[:, None] - others[None]).max(axis=2).min(axis=1).max())


def _difference(pairs: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> tuple[float, float, str]:
    """Of named pairs of arrays, the largest difference, the largest value where that is, and the name."""
    worst = 0.0, 0.0, ""
    for name, before, after in pairs:
        before, after = np.asarray(before), np.asarray(after)
        if before.shape != after.shape:
            return float("inf"), 0.0, name
        if before.dtype.kind not in "fiub":  # text
            if np.any(before != after):
                return float("inf"), 0.0, name
            continue
        before, after = np.float64(before), np.float64(after)
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        difference = np.where(same, 0.0, np.abs(before - after)).max(initial=0.0)
        difference = float("inf") if np.isnan(difference) else float(difference)
        largest = float(np.abs(before).max(initial=0.0, where=np.isfinite(before)))
        worst = max(worst, (difference, largest, name))
    return worst


def _sides(images: np.ndarray) -> str:
    return f"{images.shape[2]} x {images.shape[1]}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export.unfreeze",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("graph", type=Path, help="frozen graph (.pb), or the model.json of a TensorFlow.js graph model")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER/model.ckpt", help="the checkpoint; FOLDER is a new one"
    )
    parser.add_argument("--pipeline", help="restore into its model: a name in pipelines/ or a pipeline.config")
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="FOLDER",
        help="of images or records: the first is run, and folded batch norm measured on all [the sample set]",
    )
    parser.add_argument("--variables", action="store_true", help="list all variables")
    parser.add_argument("--trust", action="store_true", help="load a graph that the gate refuses, whatever it does")
    return parser.parse_args(argv)


if __name__ == "__main__":
    keep_stderr_for_python()
    run_command(main)
