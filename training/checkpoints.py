"""Weights that were trained elsewhere become a run: for evaluation and export, and as a checkpoint to train on from.

    python -m training.checkpoints import wider.npz --records data/records/wider_face/train --output runs/wider
    make import-weights WEIGHTS=wider.npz DATASET=wider_face RUN=wider

`import` takes what `python -m training.run_step` wrote. The averages of the weights are what the run gets, with batch
norm's statistics measured for them on the training records, as training does before it saves. Pipeline and step number
are those of the file; --pipeline gives another config of the same network. (`training.checkpoint`, without s, gets the
pretrained checkpoint to start from.)

Exit codes: 0 done; 2 nothing is changed.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces.errors import EXIT_OK, UserError, run_command
from tools import tfrecord_file
from tools.files import only_writer
from training import run_folder, run_record, step_state
from training.candidate import Candidate
from training.console import say
from training.examples import Examples
from training.od_api import config_check, overrides, pipeline, to_jax
from training.od_api import model as detection_model
from training.od_api.trainer_settings import settings
from training.steps import Averages


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    state, about = step_state.load(options.weights, step_state.WEIGHTS)
    config = _config(options, about)
    examples = Examples(tfrecord_file.find_files(options.records))
    run = options.output
    if run_folder.finished_steps(run) is not None or run_folder.newest_state(run):
        raise UserError(f"{run}: there is a run here already; give another --output, or delete it")
    tf.keras.utils.set_random_seed(settings(config).seed)
    model = detection_model.build(config, training=True)
    variables = to_jax.names(model)
    _check(variables, state["variables"], options.weights)
    for name, variable in variables.items():
        variable.assign(state["variables"][name])
    averages = Averages(model.trainable_variables, decay=0.0)
    trained = [variables[name] for name in state["averages"]]
    values = {variables[name].ref(): value for name, value in state["averages"].items()}
    for variable, average in zip(averages.variables, averages.values, strict=True):
        average.assign(values.get(variable.ref(), variable))
    step = int(state["step"])
    candidate = Candidate(config, examples)
    candidate.take(step, model.variables, averages, trained)
    say(f"batch norm of {candidate.measured} layers measured on {settings(config).batch_norm_batches} batches")
    if trouble := candidate.trouble():
        say(f"warning: {trouble}")
    run.mkdir(parents=True, exist_ok=True)
    with only_writer(run):
        run_folder.write_config(run, pipeline.text(config))
        run_record.add_start(
            run,
            command=["python", "-m", "training.checkpoints", *(sys.argv[1:] if argv is None else argv)],
            step=step,
            seed=settings(config).seed,
            checkpoint=str(options.weights),
            restored=about.get("restored"),
            records={"train": examples.fingerprint(), "validation": None},
        )
        run_folder.save_weights(run / run_folder.LAST, candidate.model, step)
    print(run_folder.weights_path(run))
    say(f"next: make eval RUN={run.name}, make export RUN={run.name}")
    return EXIT_OK


def _config(options: argparse.Namespace, about: Mapping):
    """The config of the run: of --pipeline, or else the one that the step was exported from."""
    if options.pipeline:
        config = pipeline.load(options.pipeline, options.overrides)
    elif "pipeline" not in about:
        raise UserError(f"{options.weights}: does not say which pipeline it is of; give --pipeline")
    else:
        config = overrides.apply(pipeline.parse(about["pipeline"], options.weights), options.overrides)
    shards = [str(shard) for shard in tfrecord_file.find_files(options.records)]
    config = pipeline.complete(config, records=shards, label_map=options.label_map)
    if options.pipeline:
        for warning in config_check.check(config, options.pipeline, options.overrides):
            say(f"warning: {warning}")
    return config


def _check(variables: Mapping[str, tf.Variable], stored: Mapping[str, np.ndarray], path: Path) -> None:
    """Raises UserError where a file's arrays are not those of a model, or not finite."""
    for name, variable in variables.items():
        shape = variable.shape.as_list()
        there = list(stored[name].shape) if name in stored else "not there"
        if there != shape:
            raise UserError(
                f"{path}: weights of another model: {name} is {shape} in the pipeline's and {there} in the file; "
                "give the --pipeline that the step was exported from, with as many num_classes"
            )
        if not np.isfinite(stored[name]).all():
            raise UserError(f"{path}: {name} holds values that are not finite; train again")
    if more := sorted(stored.keys() - variables.keys()):
        raise UserError(f"{path}: weights of another model: the pipeline's has no {more[0]}; give another --pipeline")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.checkpoints", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="import")
    taking = commands.add_parser("import", help="make a run of an .npz of training.run_step")
    taking.add_argument("weights", type=Path, metavar="WEIGHTS.npz", help="written by python -m training.run_step")
    taking.add_argument("--output", required=True, type=Path, metavar="RUN", help="run folder, such as runs/wider")
    taking.add_argument(
        "--records", required=True, help="training records, to measure batch norm on: folder, file, glob or prefix@N"
    )
    taking.add_argument("--label-map", type=Path, default=Path("data/label_map.pbtxt"), help="[%(default)s]")
    taking.add_argument("--pipeline", help="a name in pipelines/ or a path [the one the step was exported from]")
    overrides.add_option(taking)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
