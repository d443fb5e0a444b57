"""Train with an exported step, where JAX is and TensorFlow isn't.

    python -m training.run_step step.zip --records data/records/wider_face/train --steps 4000 --output wider.npz
    python -m training.run_step step.zip --records ... --output wider.npz --stop-after 3h --devices 4

Needs JAX for the device, numpy, OpenCV, and what our record reader does: google-crc32c, protobuf, Pillow. Beside the
weights in OUTPUT.npz, which `python -m training.checkpoints import` makes a run of, it writes

    OUTPUT.state.npz        the state of training, from time to time and in the end
    OUTPUT.metrics.jsonl    losses, learning rate and images a second, a line every few steps

Killed at any moment, the same command goes on from the last state, with the same images, to the same weights (bit for
bit where the device computes the same each time, as CPUs do). More --steps go on from the end. Ctrl-C and SIGTERM save
first.

Exit codes: 0 done, or stopped by --stop-after (the weights so far are written, and the same command goes on);
2 wrong input, or a loss that is not finite; 130 interrupted, with the state saved.
"""

import argparse
import math
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import EXIT_INTERRUPTED, EXIT_OK, UserError, run_command
from tools import tfrecord_file
from tools.files import only_writer
from training import malloc, metrics_log, step_file, step_images, step_state
from training.augmentation import COLOURS
from training.console import say
from training.examples import Examples, example_at
from training.metrics_log import LOG_EVERY, MetricsLog
from training.progress import Progress
from training.step_batches import Sampler, StepBatches
from training.step_device import StepDevice
from training.stop_signals import StopSignals

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main(argv: list[str] | None = None) -> int:
    malloc.keep_freed_memory()
    with ExitStack() as until_the_end:
        return run(parse(argv), until_the_end)


def run(options: argparse.Namespace, until_the_end: ExitStack) -> int:
    """One run from its beginning, or from where it was; returns the exit code."""
    began = time.monotonic()
    # ---- The step, and where it runs --------------------------------------------------------------------------------
    contents = step_file.read(options.step)
    described = contents.description
    steps = described.steps if options.steps is None else options.steps
    colours = [change for change in described.augmentation if change["name"] in COLOURS]
    device = StepDevice(contents, options.step, colours, options.devices)

    # ---- Where the run is -------------------------------------------------------------------------------------------
    shards = tfrecord_file.find_files(options.records)
    examples = Examples(shards)
    about = {
        "step_file": contents.digest,
        "records": examples.fingerprint(),
        "pipeline": contents.pipeline,
        "restored": described.restored,
    }
    state_path, metrics_path = (options.output.with_suffix(end) for end in (".state.npz", ".metrics.jsonl"))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    until_the_end.enter_context(only_writer(options.output.parent))
    state = _begun(state_path, about, options) or contents.state
    begun = int(state["step"])
    if begun >= steps:
        step_state.save(options.output, state, about, step_state.WEIGHTS)  # a kill may have left those of a stop before
        say(f"{options.output} ended at step {begun}; nothing to do (more --steps go on from there)")
        return EXIT_OK
    if begun:
        say(f"going on from step {begun}")

    # ---- Images, in the order that seed and step decide -------------------------------------------------------------
    cv2.setNumThreads(1)  # the threads are ours: one for each image
    pool = ThreadPoolExecutor(options.workers)
    until_the_end.callback(pool.shutdown, cancel_futures=True)
    say(f"decoding {len(examples):,} images")
    images = step_images.StepImages(
        examples, described.classes, step_images.memory_for_images(options.memory), pool, say
    )
    if (most := images.most_faces()) > described.boxes:
        say(f"note: an image has {most:,} faces, and the step takes {described.boxes}: of more, the largest that count")
    size = described.batch_size
    say(
        f"{len(images):,} images, {images.bytes / 1e9:.1f} GB in memory; {steps:,} steps of {size}: "
        f"{steps * size / len(images):.1f} epochs; {device.name}"
    )
    batches = StepBatches(Sampler(described, images), size, begun, pool)
    schedule = np.array(described.schedule(options.steps), np.float32)

    # ---- Steps ------------------------------------------------------------------------------------------------------
    log = until_the_end.enter_context(MetricsLog(metrics_path, step=begun))
    progress = until_the_end.enter_context(closing(Progress(begun, steps, size)))
    signals = until_the_end.enter_context(StopSignals())
    done, last = begun, time.monotonic()
    state, made = device(device.put(state), schedule, next(batches))
    while True:
        # The device makes the next step while this one is looked at; after the last one, or before a stop, it doesn't.
        done += 1
        late = options.stop_after is not None and time.monotonic() - began >= options.stop_after
        pause = done == steps or done % described.save_every == 0 or signals.asked or late
        ahead = None if pause else device(state, schedule, next(batches))
        losses = {name: float(value) for name, value in made.items()}
        _require_finite(done, losses, examples, described, state_path)
        now = time.monotonic()
        progress.update(done, {name: losses[name] for name in losses if name != "learning_rate"}, now - last)
        last = now
        if done % LOG_EVERY == 0 or done == steps:
            log.write(done, metrics_log.named(losses) | {"images_per_second": progress.images_per_second})
        if pause:
            arrays = device.get(state)
            step_state.save(state_path, arrays, about)
            if done == steps or late or signals.asked:
                break
            last = time.monotonic()
            ahead = device(state, schedule, next(batches))
        state, made = ahead
    if signals.asked and done < steps:
        say(f"stopped at step {done}; the same command goes on from there")
        return EXIT_INTERRUPTED
    step_state.save(options.output, arrays, about, step_state.WEIGHTS)
    if done < steps:
        say(f"step {done} of {steps}: --stop-after is over; {options.output} has the weights so far")
    print(options.output)
    say(f"next, where TensorFlow is: python -m training.checkpoints import {options.output} --records ... --output RUN")
    return EXIT_OK


def _begun(path: Path, about: Mapping, options: argparse.Namespace) -> dict | None:
    """The state to go on from; None where there is none. Raises UserError where it is of another step or records."""
    if not path.is_file():
        return None
    state, before = step_state.load(path)
    if before.get("step_file") != about["step_file"]:
        raise UserError(f"{path}: of another step file than {options.step}; give another --output, or delete it")
    if before.get("records") != about["records"]:
        raise UserError(
            f"{path}: trained on {before.get('records', {}).get('images')} images, and {options.records} has others "
            f"({about['records']['images']}); give the same records, or another --output"
        )
    return state


def _require_finite(
    step: int, losses: Mapping[str, float], examples: Examples, described: step_file.Description, state: Path
) -> None:
    """Raises UserError where a loss or the gradients' norm is not finite; says on which images."""
    wrong = [f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        first = (step - 1) * described.batch_size
        place = examples.place(example_at(first, len(examples), described.seed))
        raise UserError(
            f"step {step}: not finite: {', '.join(wrong)}; {state.name} has the last whole state, if any; lower the "
            f"learning rate (learning_rate_base) and export again; the batch begins with {place}"
        )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds, or such as 90m, 3h")
    return float(match[1]) * _UNITS[match[2]]


def _output(text: str) -> Path:
    if not text.endswith(".npz") or text.endswith(".state.npz"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a name that ends in .npz, such as weights.npz")
    return Path(text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.run_step", description=__doc__.splitlines()[0])
    parser.add_argument("step", type=Path, metavar="step.zip", help="written by python -m training.export_step")
    parser.add_argument("--records", required=True, help="the training records: folder, file, glob or prefix@N")
    parser.add_argument("--output", required=True, type=_output, metavar="FILE.npz", help="gets the weights")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="of the whole run, in place of those it was exported with"
    )
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="that share each batch [%(default)s]")
    parser.add_argument("--stop-after", type=_seconds, metavar="TIME", help="such as 90m or 3h: stop then, saved")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="threads [one for each core]"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GB", help="that decoded images may take [half of what is free]"
    )
    options = parser.parse_args(argv)
    for name in ("steps", "devices", "workers"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} has to be 1 or more")
    if options.memory is not None and options.memory < 0:
        parser.error("--memory has to be 0 or more")
    return options


if __name__ == "__main__":
    run_command(main)
