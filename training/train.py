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
from functools import partial
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import EXIT_INTERRUPTED, EXIT_OK, UserError, run_command
from tools.files import only_writer
from training import agreement, devices, guards, malloc, plan, run_folder, run_record, start
from training.agreement import Agreement
from training.batches import Batches
from training.console import say
from training.evaluations import Evaluations
from training.journal import LOG_EVERY, Journal
from training.learner import Learner
from training.od_api import overrides, pipeline
from training.plan import Plan
from training.progress import Progress
from training.selection import standing
from training.stop_signals import StopSignals

TRIED = 3  # steps, before time and memory are estimated


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
    strategy = devices.strategy(options.devices)  # first: TensorFlow takes no other devices once it is in use
    workers = Agreement(strategy)
    planned, run = plan.read(options), options.run
    run_folder.check_config(run, pipeline.text(planned.config))
    if writes := devices.worker() == 0 and not options.dry_run:
        run.mkdir(parents=True, exist_ok=True)
        until_the_end.enter_context(only_writer(run))
        run_folder.remove_unfinished(run)
    history = run_folder.evaluations(run, planned.settings.metric)  # {step: figure}
    ended = run_folder.finished_steps(run)
    if ended is not None:
        enough = standing(history.items()).should_stop(planned.settings.patience)
        if ended >= planned.steps or enough:
            say(f"{run} ended at step {ended} and has its weights; nothing to do (more STEPS= goes on from there)")
            return EXIT_OK

    # ---- Where it starts --------------------------------------------------------------------------------------------
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    plan.require_shares(planned, strategy)
    continued = tf.train.latest_checkpoint(str(run))  # a run goes on from its own state
    with strategy.scope(), devices.mixed_precision(_in_bfloat16(planned)):
        model, restored = start.build(planned.config, options, seed=planned.settings.seed, continued=bool(continued))
        learner = Learner(planned, model)
    if continued and (prefix := learner.resume(run)):
        say(f"going on from step {learner.steps}" + ("" if prefix == continued else f"; {continued} is damaged"))
        for warning in run_record.other_records(run, planned.fingerprints):
            say(f"warning: {warning}")
    begun = learner.steps
    # Behind it all workers have read the run folder, and the chief may write there.
    if (chiefs := workers.of_chief(begun)) != begun:
        raise UserError(f"{run} is at step {begun} here, but {chiefs:.0f} at worker 0; all of them have to share it")
    epochs = planned.steps * planned.images / len(planned.examples)
    say(f"{len(planned.examples):,} images, {planned.steps:,} steps of {planned.images}: {epochs:.1f} epochs; {run}")
    batches = Batches(
        strategy,
        strategy.distribute_datasets_from_function(
            lambda context: planned.batches(model, strategy, context, learner.steps)
        ),
    )
    say(f"first batch: {guards.describe(*batches.peek())}")

    # ---- What is written of it, and how good its weights are --------------------------------------------------------
    journal = None
    if writes:
        run_folder.write_config(run, pipeline.text(planned.config))
        run_record.add_start(
            run,
            command=["python", "-m", "training.train", *typed],
            step=begun,
            seed=planned.settings.seed,
            checkpoint=continued or options.checkpoint,
            restored=restored,
            records=planned.fingerprints,
        )
        journal = until_the_end.enter_context(Journal(run, begun))
        if begun == 0:
            journal.first_batch(batches.peek())
    manager = None if options.dry_run else _checkpoints(learner.state, run)
    before = {step: figure for step, figure in history.items() if step <= begun}
    evaluations = Evaluations(planned, learner, workers, before)

    # ---- Steps ------------------------------------------------------------------------------------------------------
    progress = until_the_end.enter_context(closing(Progress(begun, planned.steps, planned.images)))
    signals = until_the_end.enter_context(StopSignals())
    # An evaluation that a kill cut short: its step is saved, its figures are not in the log.
    if begun and planned.evaluates_at(begun) and begun not in evaluations and not options.dry_run:
        evaluations(begun, journal)
    while learner.steps < planned.steps and not evaluations.should_stop:
        next_step = learner.next_step(strategy, batches.element_spec)
        started = time.monotonic()
        losses = next_step(batches)
        done = learner.steps
        progress.update(done, losses, time.monotonic() - started)
        guards.require_finite(done, losses, partial(planned.batches_of, model), planned.places, run if writes else None)
        if done == begun + 1 and next_step.stateful_random_ops:
            say(f"warning: {', '.join(next_step.stateful_random_ops)}: a run that goes on after a kill will differ")
        if done == begun + TRIED:
            left = planned.steps - done
            say(f"{left:,} more steps take {progress.left(done)}, evaluations aside; {guards.memory_line()}")
            if options.dry_run:
                _try_evaluation(planned, evaluations, done)
                return EXIT_OK
        asked = workers.any(signals.asked)
        due, last = planned.evaluates_at(done), done == planned.steps
        if manager and (done % planned.settings.save_every == 0 or last or due or asked):
            manager.save(checkpoint_number=done)
        if journal and (done % LOG_EVERY == 0 or last or due):
            more = {"learning_rate": learner.learning_rate(), "images_per_second": progress.images_per_second}
            shown = batches.last if due or done - begun <= LOG_EVERY else None
            journal.step(done, losses, more, shown)
        if asked:
            say(f"stopped at step {done}; the same command goes on from there")
            return EXIT_INTERRUPTED
        if due and not options.dry_run:
            evaluations(done, journal)

    # ---- The end ----------------------------------------------------------------------------------------------------
    if conclusion := evaluations.conclusion():
        say(conclusion)
    if options.dry_run:
        say(f"only {learner.steps - begun} steps are left; {guards.memory_line()}")
        return EXIT_OK
    evaluations.take(learner.steps)
    by_mode = evaluations.candidate.mode_losses()
    if by_mode and (trouble := by_mode.message()):
        say(f"warning: {trouble}")
    if journal:
        journal.weights(run_folder.LAST, evaluations.candidate.model, learner.steps)
        print(run_folder.weights_path(run))
    say(f"next: make eval RUN={run.name}, make export RUN={run.name}; curves: tensorboard --logdir {run}")
    return EXIT_OK


def _in_bfloat16(planned: Plan) -> bool:
    """Whether the config asks for it; says so where that is slow."""
    asked = planned.config.train_config.use_bfloat16
    if asked and not devices.computes_in_bfloat16():
        say("warning: train_config.use_bfloat16: this machine emulates bfloat16, which is slower than float32")
    return asked


def _checkpoints(state: tf.train.Checkpoint, run: Path) -> tf.train.CheckpointManager:
    """What saves the state of training.

    A checkpoint is written under its own name first and the file `checkpoint` made to point to it afterwards: whenever
    the process is killed, the pointer names a whole one. Workers besides the chief have to save, too.
    """
    worker = devices.worker()
    return tf.train.CheckpointManager(state, str(run / f".worker-{worker}" if worker else run), max_to_keep=2)


def _try_evaluation(planned: Plan, evaluations: Evaluations, done: int) -> None:
    """Says how long the weights for use take to make and to evaluate."""
    began = time.monotonic()
    evaluations.try_out(done)
    due = sum(map(planned.evaluates_at, range(done + 1, planned.steps + 1)))
    say(
        f"weights for use take {time.monotonic() - began:.0f} s to make and evaluate; {due} evaluations are due; with "
        f"them {guards.memory_line()}"
    )


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
