"""Where a run computes: one device, all or some of this machine's, or several machines (tf.distribute).

Several machines are described by TF_CONFIG, which is the same on all of them but for `task` (tensorflow.org/guide/
distributed_training, "Setting up the TF_CONFIG environment variable"); each starts the same command.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import UserError
from training import stop_signals


def strategy(count: int | None) -> tf.distribute.Strategy:
    """The strategy to train with; to be called before TensorFlow is used for anything else.

    Args:
        count: devices of this machine; None is one device, or all workers of TF_CONFIG where it is set. Where there is
            no GPU the devices are parts of the CPU: slower than one, but of use to try it out.

    Raises:
        UserError: there are fewer, or TF_CONFIG is none.
    """
    if workers():
        if count:
            raise UserError("TF_CONFIG is set: each worker takes the devices it finds; leave out --devices")
        with stop_signals.at_once():  # it waits for the others to come up
            return tf.distribute.MultiWorkerMirroredStrategy()
    if not count or count == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if len(gpus) < count:
            raise UserError(f"--devices {count}: this machine has {len(gpus)} GPUs")
        return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(count)])
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow is running already: only in a process that did other things before
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError(f"--devices {count}: {error}") from error
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(count)])


def computes_in_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 numbers by itself: GPUs from NVIDIA's Ampere on, CPUs that say so."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        return all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def mixed_precision(wanted: bool) -> Iterator[None]:
    """While it is open, models are built to compute in bfloat16, their variables in float32, where that is `wanted`."""
    before = tf.keras.mixed_precision.global_policy()
    if wanted:
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def workers() -> int:
    """The machines that TF_CONFIG names; 0 where it is not set."""
    return len(_cluster())


def worker() -> int:
    """The number of this machine among the workers; 0 is the one that writes the run folder."""
    return int(_tf_config().get("task", {}).get("index", 0)) if workers() else 0


def _cluster() -> list[str]:
    return list(_tf_config().get("cluster", {}).get("worker", []))


def _tf_config() -> dict:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text) if text else {}
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error})") from error
    cluster = config.get("cluster", {})
    others = cluster.keys() - {"worker"}
    if others and sum(map(len, cluster.values())) > 1:
        raise UserError(
            f"TF_CONFIG: the cluster has {', '.join(sorted(others))}; here all machines are workers, and "
            'worker 0 writes the run folder; list them all as "worker"'
        )
    return config
