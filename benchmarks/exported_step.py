"""python -m benchmarks.exported_step step.zip --records data/records/wider_face/train: images a second of run_step.

What limits it: `batches` makes batches for nobody; `step` makes steps on one batch again and again; `both` is what
training.run_step does, the one while the other. With --tensorflow the trainer's own step on the same machine, records,
config and batch size comes beside them, in a process of its own (benchmarks.training); that needs TensorFlow, the rest
doesn't. The median step counts, the first one, which compiles, by itself. With --peak, in TFLOP/s, the share of the
device's peak, by the operations that XLA counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import EXIT_OK, UserError, run_command
from tools import tfrecord_file
from training import malloc, step_file, step_images
from training.augmentation import COLOURS
from training.examples import Examples
from training.step_batches import Sampler, StepBatches
from training.step_device import StepDevice


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints a Markdown table."""
    options = _parse(arguments)
    malloc.keep_freed_memory()
    contents = step_file.read(options.step)
    described, size = contents.description, contents.description.batch_size
    colours = [change for change in described.augmentation if change["name"] in COLOURS]
    device = StepDevice(contents, options.step, colours, options.devices)
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(options.workers) as pool:
        examples = Examples(tfrecord_file.find_files(options.records))
        memory = step_images.memory_for_images(None)
        started = time.perf_counter()
        images = step_images.StepImages(
            examples, described.classes, memory, pool, lambda line: print(line, file=sys.stderr)
        )
        decoding = len(images) / (time.perf_counter() - started)
        batches = StepBatches(Sampler(described, images), size, 0, pool)
        schedule = np.array(described.schedule(None), np.float32)
        state, batch = device.put(contents.state), next(batches)
        flops = device.operations(state, schedule, batch)

        def step(taken: tuple) -> None:
            nonlocal state
            state, losses = device(state, schedule, taken)
            float(losses["total"])

        first = _seconds(lambda: step(batch), 1)
        rows = {
            "`batches`: cropped and flipped, for nobody": _seconds(lambda: next(batches), options.steps),
            "`step`: one batch again and again": _seconds(lambda: step(batch), options.steps),
            "`both`: training.run_step": _seconds(lambda: step(next(batches)), options.steps),
        }
    if options.tensorflow:
        rows["`training.train`'s step, TensorFlow"] = _of_tensorflow(contents, options)
    print(
        f"{described.width} x {described.height}, batches of {size}, {described.compute}, {device.name}, "
        f"{os.cpu_count()} CPUs, {options.workers} threads; {decoding:.0f} images/s decoded once; the first step "
        f"{first:.0f} s; {flops / size / 1e9:.2f} GFLOP an image\n"
    )
    print(f"| | images/s | step, ms |{' share of the peak |' if options.peak else ''}")
    print(f"|---|---|---|{'---|' if options.peak else ''}")
    for name, seconds in rows.items():
        share = f" {flops / seconds / options.peak / 1e12:.1%} |" if options.peak else ""
        if options.peak and name.startswith("`batches`"):
            share = " |"
        print(f"| {name} | {size / seconds:.1f} | {seconds * 1000:.0f} |{share}")
    return EXIT_OK


def _seconds(call: Callable[[], object], times: int) -> float:
    """Of the median call."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _of_tensorflow(contents: step_file.StepFile, options: argparse.Namespace) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
        config.write(contents.pipeline)
        config.flush()
        command = [sys.executable, "-m", "benchmarks.training", "--one", "ours", "--records", options.records]
        command += ["--pipeline", config.name, "--steps", str(options.steps)]
        command += ["--batch-size", str(contents.description.batch_size)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"benchmarks.training: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])["step"]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exported_step", description=__doc__.partition("\n\n")[2]
    )
    parser.add_argument("step", type=Path, metavar="step.zip", help="written by python -m training.export_step")
    parser.add_argument("--records", required=True, metavar="PATH", help="training records")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="of each measurement [%(default)s]")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="that share each batch [%(default)s]")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="threads [one for each CPU]")
    parser.add_argument("--tensorflow", action="store_true", help="measure training.train's step, too")
    parser.add_argument("--peak", type=float, metavar="TFLOP/S", help="of the device, from its data sheet")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
