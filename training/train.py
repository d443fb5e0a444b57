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
from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import cv2
import tensorflow as tf

from detect_faces.errors import EXIT_INTERRUPTED, EXIT_OK, UserError, run_command
from tools.files import only_writer
from training import agreement, devices, guards, malloc, run_folder, run_record, start
from training import job as jobs
from training.agreement import Agreement
from training.batches import Batches
from training.candidate import Candidate
from training.console import say
from training.evaluations import Evaluations
from training.job import Job
from training.journal import Journal
from training.learner import Learner
from training.metrics_log import LOG_EVERY
from training.od_api import overrides, pipeline
from training.progress import Progress
from training.selection import standing
from training.stop_signals import StopSignals

TRIED = 3  # steps, before time and memory are estimated


def main(argv: list[str] | None = None) -> int:
    malloc.keep_freed_memory()
    cv2.setNumThreads(1)  # the threads that make batches are tf.data's, one for each image
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
    writes = devices.worker() == 0 and not options.dry_run
    job, run = jobs.read(options), options.run
    run_folder.check_config(run, pipeline.text(job.config))
    if writes:
        run.mkdir(parents=True, exist_ok=True)
        until_the_end.enter_context(only_writer(run))
    history = run_folder.evaluations(run, job.settings.metric)  # {step: figure}
    newest = run_folder.newest_state(run)  # a run goes on from its own state
    if (ended := run_folder.finished_steps(run)) is not None:
        if why := _why_ended(job, ended, history, newest is not None):
            say(f"{run} ended at step {ended} and has its weights; nothing to do ({why})")
            return EXIT_OK
        if ended and not newest:  # a run of no step has none, and nothing to lose
            raise UserError(
                f"{run} holds the weights of step {ended} and no state of training that could go on from there; to "
                f"train on from them give another RUN=, and CHECKPOINT={run_folder.weights_path(run)}"
            )

    # ---- Where it starts --------------------------------------------------------------------------------------------
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    job.require_shares(strategy)
    bfloat16 = job.config.train_config.use_bfloat16
    if bfloat16 and not devices.computes_in_bfloat16():
        say("warning: train_config.use_bfloat16: this machine emulates bfloat16, which is slower than float32")
    with strategy.scope(), devices.mixed_precision(bfloat16):
        model, restored = start.build(job.config, options, seed=job.settings.seed, continued=newest is not None)
        learner = Learner(job, model, strategy)
    if newest:
        prefix = learner.resume(run)  # the one before where the newest is damaged
        say(f"going on from step {learner.done}" + ("" if prefix == newest else f"; {newest} is damaged"))
        for warning in run_record.other_records(run, job.fingerprints):
            say(f"warning: {warning}")
    begun = learner.done
    # Behind it all workers have read the run folder, and the chief may write there.
    if (chiefs := workers.of_chief(begun)) != begun:
        raise UserError(f"{run} is at step {begun} here, but {chiefs:.0f} at worker 0; all of them have to share it")
    images, epochs = len(job.examples), job.steps * job.images_per_step / len(job.examples)
    say(f"{images:,} images, {job.steps:,} steps of {job.images_per_step}: {epochs:.1f} epochs; {run}")
    batches = Batches(
        strategy,
        strategy.distribute_datasets_from_function(partial(job.batches_from, begun, model, strategy)),
    )
    say(f"first batch: {guards.describe(*batches.peek())}")

    # ---- What is written of it, and how good its weights are --------------------------------------------------------
    journal = None
    if writes:
        run_folder.write_config(run, pipeline.text(job.config))
        run_record.add_start(
            run,
            command=["python", "-m", "training.train", *typed],
            step=begun,
            seed=job.settings.seed,
            checkpoint=prefix if newest else options.checkpoint,
            restored=restored,
            records=job.fingerprints,
        )
        journal = until_the_end.enter_context(Journal(run, begun))
        if begun == 0:
            journal.first_batch(batches.peek())
    if not options.dry_run:
        learner.keep_states(run)
    candidate = Candidate(job.config, job.examples)  # the weights for use
    before = {step: figure for step, figure in history.items() if step <= begun}
    evaluations = Evaluations(job, candidate, workers, before)

    # ---- Steps ------------------------------------------------------------------------------------------------------
    progress = until_the_end.enter_context(closing(Progress(begun, job.steps, job.images_per_step)))
    signals = until_the_end.enter_context(StopSignals())
    again = partial(job.batches_of, model=model)
    # An evaluation that a kill cut short: its step is saved, its figures are not in the log.
    if begun and job.evaluates_at(begun) and not evaluations.has(begun) and not options.dry_run:
        evaluations.make(learner, journal)
    while learner.done < job.steps and not evaluations.should_stop:
        started = time.monotonic()
        losses = learner.step(batches)
        done = learner.done
        progress.update(done, losses, time.monotonic() - started)
        guards.require_finite(done, losses, again, job.places, run if writes else None)
        if done == begun + 1 and (random := learner.stateful_random_ops):
            say(f"warning: {', '.join(random)}: a run that goes on after a kill will differ")
        if done == begun + TRIED:
            left = job.steps - done
            say(f"{left:,} more steps take {progress.left(done)}, evaluations aside; {guards.memory_line()}")
            if options.dry_run:
                _try_evaluation(job, learner, candidate, evaluations)
                return EXIT_OK
        asked = workers.any(signals.asked)
        if options.dry_run:
            if asked:
                return EXIT_INTERRUPTED
            continue
        due, last = job.evaluates_at(done), done == job.steps
        if done % job.settings.save_every == 0 or last or due or asked:
            learner.save()
        if journal and (done % LOG_EVERY == 0 or last or due):
            more = {"learning_rate": learner.learning_rate(), "images_per_second": progress.images_per_second}
            journal.step(done, losses, more, batches, show=due)
        if asked:
            say(f"stopped at step {done}; the same command goes on from there")
            return EXIT_INTERRUPTED
        if due:
            evaluations.make(learner, journal)

    # ---- The end ----------------------------------------------------------------------------------------------------
    if conclusion := evaluations.conclusion():
        say(conclusion)
    if options.dry_run:
        say(f"only {learner.done - begun} steps are left; {guards.memory_line()}")
        return EXIT_OK
    learner.hand_to(candidate)
    if trouble := candidate.trouble():
        say(f"warning: {trouble}")
    if journal:
        journal.weights(run_folder.LAST, candidate.model, learner.done)
        print(run_folder.weights_path(run))
    say(f"next: make eval RUN={run.name}, make export RUN={run.name}; curves: tensorboard --logdir {run}")
    return EXIT_OK


def _why_ended(job: Job, ended: int, history: Mapping[int, float | None], has_state: bool) -> str | None:
    """Why a run that has ended has no more to do, and what would have it go on; None if it has."""
    if ended >= job.steps:
        return "more STEPS= goes on from there" if has_state else "all of its steps are made"
    evaluations = standing(history.items())
    if evaluations.should_stop(job.settings.patience):
        return evaluations.why_stopped(job.settings.metric, job.settings.patience)
    return None


def _try_evaluation(job: Job, learner: Learner, candidate: Candidate, evaluations: Evaluations) -> None:
    """Says how long the weights for use take to make, and to evaluate where there are validation records."""
    began = time.monotonic()
    if job.validation:
        evaluations.make(learner, None)
    else:
        learner.hand_to(candidate)
    due = sum(map(job.evaluates_at, range(learner.done + 1, job.steps + 1)))
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
