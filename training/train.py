"""Fine-tune a detector: a pipeline config, records and a start checkpoint in, a run folder with weights out.

    make train                                              # SSDLite on the sample set, run "demo"
    make train DATASET=wider_face RUN=wider STEPS=2000
    python -m training.train --pipeline ssdlite_mobilenet_v2_320_face --records data/records/sample/train \\
        --validation data/records/sample/validation --checkpoint checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt \\
        --class-from person --run runs/demo --steps 300 --set train_config.batch_size=16

The run folder holds

    pipeline.config     as it was run                 best/ckpt-N   the weights that evaluated best, for use
    run.json            command, versions, seed, ...  last/ckpt-N   those that the run ended with, for use
    metrics.jsonl       a line every few steps        ckpt-N        the state of training, the last two
    inputs.png          the first batch               train/, eval/ for TensorBoard

The same command goes on after a kill, from the last `ckpt-N`, to the same weights as without it. Weights for use are
the averages of those in training, with batch norm statistics measured for them.
"""

import argparse
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import EXIT_INTERRUPTED, EXIT_OK, UserError, run_command
from detect_faces.whole_file import write_whole
from tools import tfrecord_file
from tools.files import only_writer
from training import (
    agreement,
    devices,
    guards,
    malloc,
    metrics_log,
    phases,
    records_check,
    run_folder,
    run_record,
    start,
)
from training.batches import Batches
from training.candidate import Candidate
from training.console import say
from training.examples import Examples, example_at
from training.metrics_log import MetricsLog
from training.od_api import config_check, inputs, optimizer, overrides, pipeline, tf1_names
from training.od_api import model as detection_model
from training.od_api.trainer_settings import settings
from training.progress import Progress
from training.selection import standing
from training.steps import Averages, Trained, TrainStep
from training.stop_signals import StopSignals
from training.validation import Validation

LOG_EVERY = 10  # steps between points in TensorBoard and lines of metrics.jsonl
PICTURES = 8  # of the validation set, in TensorBoard
TRIED = 3  # steps, before time and memory are estimated
NO_LOSSES = ("gradient_norm", "matched")


def main(argv: list[str] | None = None) -> int:
    malloc.keep_freed_memory()
    options = parse(argv)
    with agreement.lost_workers_named(), run_folder.full_disk_named(options.run), ExitStack() as until_the_end:
        return train(options, sys.argv[1:] if argv is None else argv, until_the_end)


def train(options: argparse.Namespace, typed: list[str], until_the_end: ExitStack) -> int:
    """One run from its beginning, or from where it was, to its end; returns the exit code.

    Args:
        options: of `parse`.
        typed: the arguments that they come from.
        until_the_end: closes what is open when the run ends, however it does.
    """
    # ---- What is to be run, and on what -----------------------------------------------------------------------------
    strategy = devices.strategy(options.devices)  # first: TensorFlow takes no other devices once it is in use
    chief, workers = devices.worker() == 0, agreement.Agreement(strategy)
    shards = tfrecord_file.find_files(options.records)
    config = pipeline.complete(
        pipeline.load(options.pipeline, options.overrides),
        records=[str(shard) for shard in shards],
        label_map=options.label_map,
        checkpoint=options.checkpoint,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    for warning in config_check.check(config, options.pipeline, options.overrides):
        say(f"warning: {warning}")
    chosen, run = settings(config), options.run
    steps, batch_size = config.train_config.num_steps, config.train_config.batch_size
    images = batch_size * chosen.accumulate  # of a step
    validation_shards = tfrecord_file.find_files(options.validation) if options.validation else []
    records_check.check(shards, options.label_map, say)
    if validation_shards:
        records_check.check(validation_shards, options.label_map, say)
    else:
        say("note: without validation records no checkpoint is the best, and training does not stop early")
    examples = Examples(shards)
    records = {"train": examples.fingerprint(), "validation": None}
    if validation_shards:
        records["validation"] = Examples(validation_shards).fingerprint()
    run_folder.check_config(run, pipeline.text(config))
    if write := chief and not options.dry_run:
        run.mkdir(parents=True, exist_ok=True)
        until_the_end.enter_context(only_writer(run))
    history = run_folder.evaluations(run, chosen.metric)  # {step: figure}
    ended = run_folder.finished_steps(run)
    if ended is not None and (ended >= steps or standing(history.items()).should_stop(chosen.patience)):
        say(f"{run} ended at step {ended} and has its weights; nothing to do (more STEPS= goes on from there)")
        return EXIT_OK

    # ---- The model and where it starts ----------------------------------------------------------------------------
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    if batch_size % strategy.num_replicas_in_sync:
        raise UserError(f"a batch_size of {batch_size} cannot be shared by {strategy.num_replicas_in_sync} devices")
    # a run goes on from its own state
    continued = tf.train.latest_checkpoint(str(run))
    if (bfloat16 := config.train_config.use_bfloat16) and not devices.computes_in_bfloat16():
        say("warning: train_config.use_bfloat16: this machine emulates bfloat16, which is slower than float32")
    with strategy.scope(), devices.mixed_precision(bfloat16):
        model, restored = start.build(config, options, seed=chosen.seed, continued=bool(continued))
        only, frozen = config.train_config.update_trainable_variables, config.train_config.freeze_variables
        names = tf1_names.naming(config, model) if (only or frozen) and tf1_names.known(config) else {}
        variables = phases.trained(model, only=only, frozen=frozen, tf1_names=names)
        step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        optimise, learning_rate = optimizer.build(config, step, model.trainable_variables)
        averages = Averages(model.trainable_variables, optimizer.average_decay(config))

    def steps_made() -> int:
        return int(step.read_value())  # of several devices they are several variables

    state = tf.train.Checkpoint(step=step, model=model, optimizer=optimise, averages=averages.values)
    if continued and (prefix := run_folder.resume(state, run)):
        say(f"going on from step {steps_made()}" + ("" if prefix == continued else f"; {continued} is damaged"))
        history = {at: figure for at, figure in history.items() if at <= steps_made()}
        for warning in run_record.other_records(run, records):
            say(f"warning: {warning}")
    # Behind it all workers have read the run folder, and the chief may write there.
    if (chiefs := workers.of_chief(steps_made())) != steps_made():
        raise UserError(
            f"{run} is at step {steps_made()} here, but {chiefs:.0f} at worker 0; all of them have to share it"
        )
    say(f"{len(examples):,} images, {steps:,} steps of {images}: {steps * images / len(examples):.1f} epochs; {run}")

    # ---- Batches, in the order that seed and step decide ------------------------------------------------------------
    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * share
        return inputs.training_batches(
            config,
            model,
            examples,
            seed=chosen.seed,
            batch_size=batch_size,
            step=steps_made(),
            accumulate=chosen.accumulate,
            replicas=range(first, first + share),
            all_replicas=strategy.num_replicas_in_sync,
        )

    batches = Batches(strategy, strategy.distribute_datasets_from_function(of_worker))
    say(f"first batch: {guards.describe(*batches.peek())}")

    def places(at: int) -> list[str]:
        """Where the images of a step are."""
        taken = range(at * images, (at + 1) * images)
        return [examples.place(example_at(position, len(examples), chosen.seed)) for position in taken]

    def batches_of(at: int) -> list[tuple[dict, dict]]:
        """The batches of a step once more, of all devices."""
        again = inputs.training_batches(
            config,
            model,
            examples,
            seed=chosen.seed,
            batch_size=batch_size,
            step=at,
            accumulate=chosen.accumulate,
        )
        return list(again.take(chosen.accumulate))

    # ---- What is written of the run ---------------------------------------------------------------------------------
    if write:
        run_folder.write_config(run, pipeline.text(config))
        command = ["python", "-m", "training.train", *typed]
        run_record.add_start(
            run,
            command=command,
            step=steps_made(),
            seed=chosen.seed,
            checkpoint=continued or options.checkpoint,
            restored=restored,
            records=records,
        )
        if steps_made() == 0:
            write_whole(run / "inputs.png", guards.picture([batches.peek()]))
        log = until_the_end.enter_context(MetricsLog(run / metrics_log.FILE, step=steps_made()))
        curves, evaluation_curves = (tf.summary.create_file_writer(str(run / name)) for name in ("train", "eval"))

    # A checkpoint is written under its own name first and the file `checkpoint` made to point to it afterwards:
    # whenever the process is killed, the pointer names a whole one. Workers besides the chief have to save, too.
    manager = None
    if not options.dry_run:
        own_folder = run if chief else run / f".worker-{devices.worker()}"
        manager = tf.train.CheckpointManager(state, str(own_folder), max_to_keep=2)

    # ---- The weights as they would be used: evaluated in between, and the best kept ---------------------------------
    candidate = Candidate(config, examples)
    validation = options.validation and Validation(options.validation, candidate.model, pictures=PICTURES)

    def is_due(at: int) -> bool:
        return bool(validation) and (at == steps or (chosen.evaluate_every and at % chosen.evaluate_every == 0))

    def trained_at(at: int) -> list[tf.Variable]:
        """The variables that the step behind `at` trains."""
        return phases.head(variables) if at < chosen.head_only_steps else variables

    def evaluate(at: int) -> dict:
        candidate.take(at, model.variables, averages, trained_at(at - 1))
        figures = validation()
        history[at] = workers.of_chief(figures[chosen.metric])
        now = standing(history.items())
        figure = "none" if history[at] is None else f"{history[at]:.3f}"
        say(f"step {at:,}: {chosen.metric} {figure} in {figures['seconds']:.0f} s; {now.summary(chosen.metric)}")
        if write:
            if now.improved:
                run_folder.save_weights(run / run_folder.BEST, candidate.model, at)
            with evaluation_curves.as_default(step=at):
                for name, figure in figures.items():
                    if figure is not None:
                        tf.summary.scalar(name, figure)
                tf.summary.image("found", validation.pictures(), max_outputs=PICTURES)
        return figures

    # ---- Steps ----------------------------------------------------------------------------------------------------
    train_step, batch_norm_modes, begun = None, phases.BatchNormModes(model), steps_made()
    progress = until_the_end.enter_context(closing(Progress(begun, steps, images)))
    signals = until_the_end.enter_context(StopSignals())
    # An evaluation that a kill cut short: its step is saved, its figures are not in the log.
    if begun and is_due(begun) and begun not in history and not options.dry_run:
        figures = evaluate(begun)
        if write:
            log.amend(begun, figures)
    while steps_made() < steps and not standing(history.items()).should_stop(chosen.patience):
        if train_step is None or steps_made() == chosen.head_only_steps:
            now_trained = trained_at(steps_made())
            if 0 < steps_made() == chosen.head_only_steps:  # Adam's bias correction counts on steps of all variables
                optimizer.forget(optimise)
            batch_norm_modes.follow(now_trained)
            detection_model.set_training(True)
            train_step = TrainStep(
                strategy,
                Trained(model, now_trained, optimise, averages, step),
                batches.element_spec,
                batch_size=batch_size,
                clip=config.train_config.gradient_clipping_by_norm,
                accumulate=chosen.accumulate,
                seed=chosen.seed,
            )
        started = time.monotonic()
        losses = train_step(batches)
        done = steps_made()
        progress.update(done, losses, time.monotonic() - started)
        guards.require_finite(done, losses, batches_of, places, run if write else None)
        if done == begun + 1 and train_step.stateful_random_ops:
            say(f"warning: {', '.join(train_step.stateful_random_ops)}: a run that goes on after a kill will differ")
        if done == begun + TRIED:
            say(f"{steps - done:,} more steps take {progress.left(done)}, evaluations aside; {guards.memory_line()}")
            if options.dry_run:
                began = time.monotonic()
                if validation:
                    evaluate(done)
                else:  # as at the end of the run
                    candidate.take(done, model.variables, averages, trained_at(done - 1))
                due = sum(map(is_due, range(done + 1, steps + 1)))
                say(
                    f"weights for use take {time.monotonic() - began:.0f} s to make and evaluate; {due} evaluations "
                    f"are due; with them {guards.memory_line()}"
                )
                return EXIT_OK
        asked = workers.any(signals.asked)
        if manager and (done % chosen.save_every == 0 or done == steps or is_due(done) or asked):
            manager.save(checkpoint_number=done)
        if write and (done % LOG_EVERY == 0 or is_due(done) or done == steps):
            measured = {name if name in NO_LOSSES else f"loss/{name}": value for name, value in losses.items()}
            measured |= {"learning_rate": learning_rate(), "images_per_second": progress.images_per_second}
            log.write(done, measured)
            with curves.as_default(step=done):
                for name, value in measured.items():
                    tf.summary.scalar(name, value)
                if done == begun + 1 or is_due(done):
                    tf.summary.image("inputs", inputs.drawn(*batches.last), max_outputs=PICTURES)
                curves.flush()
        if is_due(done) and not asked and not options.dry_run:
            figures = evaluate(done)
            if write:
                log.amend(done, figures)
        if asked:
            say(f"stopped at step {done}; the same command goes on from there")
            return EXIT_INTERRUPTED

    # ---- The end ----------------------------------------------------------------------------------------------------
    now = standing(history.items())
    if now.should_stop(chosen.patience):
        say(now.why_stopped(chosen.metric, chosen.patience))
    elif validation:
        say(now.summary(chosen.metric))
    if options.dry_run:
        say(f"only {steps_made() - begun} steps are left; {guards.memory_line()}")
        return EXIT_OK
    candidate.take(steps_made(), model.variables, averages, trained_at(steps_made() - 1))
    losses_by_mode = candidate.mode_losses()
    if losses_by_mode and (trouble := losses_by_mode.message()):
        say(f"warning: {trouble}")
    if write:
        run_folder.save_weights(run / run_folder.LAST, candidate.model, steps_made())
        print(run_folder.weights_path(run))
    say(f"next: make eval RUN={run.name}, make export RUN={run.name}; curves: tensorboard --logdir {run}")
    return EXIT_OK


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", required=True, help="a name in pipelines/ or the path of a pipeline.config")
    parser.add_argument("--records", required=True, help="the training records: folder, file, glob or prefix@N")
    parser.add_argument(
        "--validation", help="records to evaluate on in between; without them no checkpoint is the best"
    )
    parser.add_argument("--label-map", type=Path, default=Path("data/label_map.pbtxt"))
    parser.add_argument("--run", required=True, type=Path, help="run folder, such as runs/demo")
    parser.add_argument("--steps", type=int, help="in place of the config's num_steps")
    parser.add_argument("--batch-size", type=int, help="in place of the config's batch_size")
    parser.add_argument("--devices", type=int, metavar="N", help="GPUs, or parts of the CPU to try it [1]")
    parser.add_argument("--deterministic", action="store_true", help="the same weights each time, bit for bit; slower")
    parser.add_argument(
        "--dry-run", action="store_true", help="a few steps to estimate time and memory; writes nothing"
    )
    overrides.add_option(parser)
    start.add_options(parser)
    options = parser.parse_args(argv)
    for name, least in (("batch_size", 1), ("devices", 1), ("steps", 0)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} has to be {least} or more")
    return options


if __name__ == "__main__":
    run_command(main)
