"""python -m benchmarks.training --records data/records/wider_face/train: images a second, and what limits them.

Each measurement is a process of its own, all of them in turns, `--rounds` times; the median step of each round counts,
the first step, which is mostly tracing, by itself. `cached` is the same step on one batch again and again: what remains
when nothing has to be read, decoded, cropped or resized. `od_api` is model_lib_v2.train_loop, the OD API's own, on the
same records, batch size and config, but for the block of settings that only our trainer knows: it makes no crops, and
so has less to do. The other variants are ours with one thing changed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from detect_faces.errors import EXIT_OK, UserError, run_command

PIPELINE = "ssdlite_mobilenet_v2_320_face"

# name: (what it is, environment)
VARIANTS = {
    "ours": ("training.train's step on the records", {}),
    "cached": ("the same step on one batch", {}),
    "od_api": ("model_lib_v2.train_loop", {}),
    "deterministic": ("with op determinism", {}),
    "no_onednn": ("without oneDNN", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "bfloat16": ("use_bfloat16: true", {}),
    "xla": ("compiled by XLA", {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"}),
    "huge_pages": ("memory in huge pages", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "given_back": ("with malloc as it is: what is freed goes back to the kernel", {}),
    "one_thread": ("one thread an operation", {"TF_NUM_INTRAOP_THREADS": "1"}),
    "no_colours": ("without the pipeline's changes of colour", {}),
    "head_only": ("head_only_steps: the backbone frozen", {}),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints a Markdown table."""
    options = _parse(arguments)
    if options.one:
        print(json.dumps(_measure(options)))
        return EXIT_OK
    rounds: dict[str, list[dict]] = {name: [] for name in options.variants}
    failed = {}
    for _ in range(options.rounds):
        for name in options.variants:
            if name in failed:
                continue
            try:
                rounds[name].append(_in_process(name, options))
            except UserError as error:  # what a machine or a TensorFlow cannot do is a result
                failed[name] = str(error)
    print(f"{options.pipeline}, batches of {options.batch_size}, {os.cpu_count()} CPUs, {options.rounds} rounds\n")
    print("| | images/s | step, ms | of `ours` | first step, s | peak MiB |\n|---|---|---|---|---|---|")
    best = {name: min(found, key=lambda one: one["step"]) for name, found in rounds.items() if found}
    for name, one in best.items():
        ratio = f"{one['step'] / best['ours']['step']:.2f}" if "ours" in best else ""
        print(
            f"| `{name}`: {VARIANTS[name][0]} | {options.batch_size / one['step']:.1f} | {one['step'] * 1000:.0f} | "
            f"{ratio} | {one['first']:.1f} | {one['memory'] / 2**20:.0f} |"
        )
    for error in failed.values():
        print(f"\n{error}")
    return EXIT_OK


def _in_process(name: str, options: argparse.Namespace) -> dict:
    command = [sys.executable, "-m", "benchmarks.training", "--one", name, "--records", options.records]
    command += ["--pipeline", options.pipeline, "--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    environment = os.environ | VARIANTS[name][1]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{name}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {json.dumps(found)}", file=sys.stderr)
    return found


def _measure(options: argparse.Namespace) -> dict:
    """Seconds of the median step and of the first, and the bytes of memory that the process needed at most."""
    from training import guards

    times = _of_the_od_api(options) if options.one == "od_api" else _of_ours(options)
    return {"step": statistics.median(times[2:]), "first": times[0], "memory": guards.peak_memory()}


def _of_ours(options: argparse.Namespace) -> list[float]:
    import cv2
    import tensorflow as tf

    from tools import tfrecord_file
    from training import devices, malloc, phases
    from training.examples import Examples
    from training.od_api import inputs, model, optimizer
    from training.steps import Averages, Trained, TrainStep

    cv2.setNumThreads(1)  # as training.train does
    if options.one != "given_back":
        malloc.keep_freed_memory()
    if options.one == "deterministic":
        tf.keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
    config = _config(options)
    config.train_config.use_bfloat16 = options.one == "bfloat16"
    if options.one == "no_colours":
        changes = config.train_config.data_augmentation_options
        flips = [one for one in changes if one.HasField("random_horizontal_flip")]
        del changes[:]
        changes.extend(flips)
    with devices.mixed_precision(config.train_config.use_bfloat16):
        network = model.build(config, training=True)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    optimise, _ = optimizer.build(config, step, network.trainable_variables)
    averages = Averages(network.trainable_variables, optimizer.average_decay(config))
    variables = list(network.trainable_variables)
    if options.one == "head_only":
        variables = phases.head(variables)
    phases.BatchNormModes(network).follow(variables)
    model.set_training(True)
    examples = Examples(tfrecord_file.find_files(options.records))
    data = inputs.training_batches(config, network, examples, seed=0, batch_size=options.batch_size)
    batches = iter(data)
    if options.one == "cached":
        batches = iter([next(batches)] * (options.steps + 2))
    train_step = TrainStep(
        tf.distribute.get_strategy(),
        Trained(network, variables, optimise, averages, step),
        data.element_spec,
        batch_size=options.batch_size,
        clip=config.train_config.gradient_clipping_by_norm,
        accumulate=1,
        seed=0,
    )
    times = []
    for _ in range(options.steps + 2):
        start = time.perf_counter()
        train_step(batches)
        times.append(time.perf_counter() - start)
    return times


def _of_the_od_api(options: argparse.Namespace) -> list[float]:
    from training.od_api import pipeline, trainer_settings

    times = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.config")
        config = trainer_settings.removed(_config(options))
        # The OD API would leave its averages to an optimiser that current Keras does not know.
        config.train_config.optimizer.use_moving_average = False
        path.write_text(pipeline.text(config))

        from object_detection import model_lib_v2

        clock = time.perf_counter

        class Clock:
            """In place of the `time` that train_loop asks once before the first step and once behind each."""

            @staticmethod
            def time() -> float:
                times.append(clock())
                return times[-1]

        model_lib_v2.time, before = Clock, model_lib_v2.time
        try:
            model_lib_v2.train_loop(
                str(path),
                str(Path(folder, "run")),
                train_steps=options.steps + 2,
                num_steps_per_iteration=1,
                checkpoint_every_n=10**6,
                record_summaries=False,
            )
        finally:
            model_lib_v2.time = before
    # train_loop asks for the time twice behind each step, a moment apart.
    marks = [times[0], *times[2::2]]
    return [later - earlier for earlier, later in pairwise(marks)]


def _config(options: argparse.Namespace):
    from tools import tfrecord_file
    from training.od_api import pipeline

    return pipeline.complete(
        pipeline.load(options.pipeline),
        records=[str(path) for path in tfrecord_file.find_files(options.records)],
        label_map="data/label_map.pbtxt",
        steps=10_000,
        batch_size=options.batch_size,
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--records", required=True, metavar="PATH", help="training records")
    parser.add_argument("--pipeline", default=PIPELINE, help="[%(default)s]")
    parser.add_argument("--batch-size", type=int, default=24, metavar="N", help="[%(default)s]")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="of each measurement [%(default)s]")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="[%(default)s]")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
