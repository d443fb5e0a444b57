"""What runs of the tiny detector leave, and how they end."""

import subprocess
from pathlib import Path

import numpy as np
import tensorflow as tf

from training import run_folder


def ended(*processes: subprocess.Popen) -> tuple[list[int], list[str]]:
    """The exit codes of processes, and what each said on stderr."""
    said = [process.communicate(timeout=400)[1] for process in processes]
    return [process.returncode for process in processes], said


def values(prefix: str | None) -> dict[str, np.ndarray]:
    """What a checkpoint holds, by name."""
    reader = tf.train.load_checkpoint(prefix)
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VALUE")]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def state(folder: Path) -> dict[str, np.ndarray]:
    return values(tf.train.latest_checkpoint(str(folder)))


def weights(folder: Path) -> dict[str, np.ndarray]:
    return values(tf.train.latest_checkpoint(str(folder / run_folder.LAST)))


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not np.array_equal(one[name], other[name])] == []


def assert_close(one: dict, other: dict, tolerance: float) -> None:
    assert one.keys() == other.keys()
    far = {name: float(np.abs(one[name] - other[name]).max()) for name in one}
    assert {name: difference for name, difference in far.items() if difference > tolerance} == {}
