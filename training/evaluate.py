"""python -m training.evaluate --records PATH CHECKPOINT...

Evaluates checkpoints on annotated images and prints a table of COCO's metrics, by step, the best one marked:

    python -m training.evaluate --records data/records/sample/validation runs/demo
    python -m training.evaluate --records data/records/sample/validation runs/demo/ckpt-* --averages --reestimate 24

CHECKPOINT is the prefix of a checkpoint, a pattern of several, or the folder of a run, for all of its checkpoints. Of a
state of training (`ckpt-N` in the folder of a run) the weights of the last step are taken, or with --averages their
moving average. Batch norm's statistics are those that were saved; --reestimate measures them on training images, which
an average needs.

A checkpoint that cannot be read gets a line on stderr, the others are evaluated, and the exit code is 1.
"""

import argparse
import glob
import json
import sys
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import tfrecord_file
from tools.report import Report
from training import batch_norm, phases, run_folder
from training.console import say
from training.examples import Examples
from training.od_api import inputs, pipeline, trainer_settings
from training.od_api import model as detection_model
from training.selection import standing
from training.validation import Validation

COLUMNS = ("AP", "AP50", "AP_small", "AP_medium", "AP_large", "AR")


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))

    def tried(function, *arguments):
        """What the function returns; None where it raises UserError, which goes to the report."""
        try:
            return function(*arguments)
        except UserError as error:
            report.problem_again(f"error: {error}")

    prefixes = dict.fromkeys(prefix for name in options.checkpoints for prefix in tried(find, name) or ())
    by_config: dict[Path, list[str]] = {}
    for prefix in prefixes:
        if config := tried(config_of, prefix, options.pipeline):
            by_config.setdefault(config, []).append(prefix)

    rows = []
    with tqdm(total=len(prefixes), unit="checkpoint", disable=None) as progress:
        for path, group in by_config.items():
            evaluator = tried(Evaluator, path, options, report)
            for prefix in group if evaluator else ():
                if row := tried(evaluator.evaluate, prefix):
                    say(f"{prefix}: AP50 {_ratio(row['AP50']).strip()}, {row['seconds']:.1f} s")
                    rows.append(row)
                progress.update()
    if not rows:
        raise UserError("there is no checkpoint that could be evaluated")
    rows.sort(key=lambda row: (row["step"] is None, row["step"]))
    metric = options.metric or trainer_settings.settings(pipeline.load(next(iter(by_config)))).metric
    best = standing((index, row[metric]) for index, row in enumerate(rows)).best_step
    for index, row in enumerate(rows):
        row["best"] = index == best
    print(json.dumps(rows, indent=1) if options.json else table(rows, metric))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def find(name: str) -> list[str]:
    """The prefixes of checkpoints that a prefix, a pattern or the folder of a run stands for.

    A file of a checkpoint stands for the whole: a shell that expands `ckpt-*` gives all of them.

    Raises:
        UserError: there is no checkpoint of that name.
    """
    if Path(name).is_dir():
        return run_folder.checkpoints(Path(name))
    if Path(f"{name}.index").is_file():
        return [name]
    files = [name] if Path(name).is_file() else sorted(glob.glob(name))
    found = dict.fromkeys(
        prefix for file in files if (prefix := _prefix_of(file)) and Path(f"{prefix}.index").is_file()
    )
    if not found:
        raise UserError(f"{name}: no checkpoint here; give a prefix such as runs/demo/ckpt-100, or the folder of a run")
    return list(found)


def _prefix_of(file: str) -> str | None:
    stem, data, _ = file.rpartition(".data-")
    return stem if data else file.removesuffix(".index") if file.endswith(".index") else None


def config_of(prefix: str, chosen: str | None) -> Path:
    """The config of a checkpoint's model: of the run that it lies in, or the one given. Raises UserError."""
    if chosen:
        return pipeline.find(chosen)
    run = run_folder.run_of(prefix)
    if run is None:
        raise UserError(f"{prefix}: no {run_folder.CONFIG} beside it; give its model's config as --pipeline")
    return run_folder.config_path(run)


class Evaluator:
    """Evaluates any checkpoint of the model of one config, which is built once."""

    def __init__(self, config: Path, options: argparse.Namespace, report: Report):
        loaded, self._options = pipeline.load(config), options
        if options.reestimate:
            self._training = training_config(loaded, options.train_records, options.label_map)
            self._examples = Examples(self._training.train_input_reader.tf_record_input_reader.input_path)
        # Built for training, as batch norm is measured in that mode.
        self._model = detection_model.build(loaded, training=True)
        if options.reestimate:
            self._modes = phases.BatchNormModes(self._model)
            self._trained = phases.trained_by(loaded, self._model)
            self._head_only_steps = trainer_settings.settings(loaded).head_only_steps
        detection_model.set_training(False)
        by_means = trainer_settings.by_means(loaded)
        self._validate = Validation(options.records, self._model, by_means=by_means, pictures=0, report=report)

    def evaluate(self, prefix: str) -> dict:
        """The row of a checkpoint. Raises UserError where it cannot be restored."""
        averaged = self._options.averages and run_folder.holds_state(prefix)
        (run_folder.restore_averages if averaged else run_folder.restore_weights)(prefix, self._model)
        step = run_folder.step_of(prefix)
        if self._options.reestimate:
            # Of what was trained in the last step, as training does it: frozen layers keep their statistics.
            warming_up = step is not None and 0 < step <= self._head_only_steps
            self._modes.follow(phases.head(self._trained) if warming_up else self._trained)
            self._reestimate()
        what = "averages" if averaged else "last step" if run_folder.holds_state(prefix) else "for use"
        return {"step": step, "checkpoint": prefix, "weights": what, **self._validate()}

    def _reestimate(self) -> None:
        """Measures batch norm's statistics on some training batches, the same for each checkpoint."""
        batch_size = self._training.train_config.batch_size
        batches = inputs.training_batches(
            self._training, self._model, self._examples, seed=0, batch_size=batch_size
        ).take(self._options.reestimate)
        images = ((features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features, _ in batches)
        batch_norm.reestimate(self._model, images, lambda batch: self._model.predict(*batch))


def training_config(config, records: str | None, label_map: str | None):
    """A config with the records and the label map to train with, where given. Raises UserError where it has none."""
    reader = config.train_input_reader
    shards = tfrecord_file.find_files(records) if records else reader.tf_record_input_reader.input_path
    if not shards:
        raise UserError("--reestimate takes training images, and the config names none; give --train-records")
    return pipeline.complete(
        config, records=[str(shard) for shard in shards], label_map=label_map or reader.label_map_path
    )


def table(rows: list[dict], metric: str) -> str:
    """The rows for people."""
    width = max(len("checkpoint"), *(len(row["checkpoint"]) for row in rows))
    titles = "".join(f"  {name.removeprefix('AP_') if '_' in name else name:>6}" for name in COLUMNS)
    lines = [f"{'step':>9}  {'checkpoint':<{width}}  {'weights':<9}{titles}"]
    for row in rows:
        figures = "".join(f"  {_ratio(row[name])}" for name in COLUMNS)
        step = "-" if row["step"] is None else f"{row['step']:,}"
        mark = f"  best {metric}" if row["best"] else ""
        lines.append(f"{step:>9}  {row['checkpoint']:<{width}}  {row['weights']:<9}{figures}{mark}")
    return "\n".join([*lines, "", f"on {rows[0]['images']:,} images with {rows[0]['faces']:,} faces"])


def _ratio(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.4f}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Print COCO's metrics of checkpoints, by step."
    )
    parser.add_argument("checkpoints", nargs="*", metavar="CHECKPOINT", help="prefixes, patterns, folders of runs")
    parser.add_argument("--run", metavar="RUN", help="all checkpoints of this run, such as runs/demo")
    parser.add_argument("--records", required=True, metavar="PATH", help="TFRecord shards to evaluate on")
    parser.add_argument("--pipeline", help="the model's config; by default the one in the checkpoint's run")
    parser.add_argument("--averages", action="store_true", help="of states of training, the averaged weights")
    parser.add_argument(
        "--reestimate", type=int, default=0, metavar="N", help="measure batch norm's statistics on N training batches"
    )
    parser.add_argument(
        "--train-records", metavar="PATH", help="for --reestimate; by default those that the config names"
    )
    parser.add_argument("--label-map", help="for --reestimate; by default the one that the config names")
    parser.add_argument(
        "--metric", choices=trainer_settings.METRICS, help="the figure to mark the best by [the config's, AP50]"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    if options.run:
        options.checkpoints.append(options.run)
    if not options.checkpoints:
        parser.error("give one checkpoint or more, or --run")
    if options.reestimate < 0:
        parser.error("--reestimate has to be 0 or more")
    return options


if __name__ == "__main__":
    run_command(main)
