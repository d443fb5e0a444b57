"""A training run from outside, on a detector that is traced in seconds: kills, adding up, guards, the best weights."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from tests.training import tiny_detector
from tools import tfrecord_file
from training import run_folder, train
from training.metrics_log import read
from training.validation import Validation

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 8  # of the tiny config; a checkpoint every 2, an evaluation every 4


class Killed(BaseException):
    """As a kill: nothing of the run is done any more."""


@pytest.fixture(scope="module", autouse=True)
def tiny():
    tiny_detector.register()


@pytest.fixture
def start(tmp_path, sample_records, label_map):
    """A function that trains run NAME with more arguments, and gives its folder."""
    config = tmp_path / "tiny.config"
    config.write_text(tiny_detector.CONFIG)

    def run(name: str, *more: str, code: int = 0, validation: bool = True) -> Path:
        folder = tmp_path / name
        assert train.main(arguments(config, sample_records, label_map, folder, *more, validation=validation)) == code
        return folder

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sample_records, label_map, tiny) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.config").write_text(tiny_detector.CONFIG)
    run = folder / "whole"
    assert train.main(arguments(folder / "tiny.config", sample_records, label_map, run)) == 0
    return run


def arguments(config, records, label_map, folder, *more, validation=True) -> list[str]:
    seen = ["--validation", records["validation"]] if validation else []
    paths = ["--pipeline", str(config), "--records", records["train"], "--label-map", str(label_map)]
    return [*paths, *seen, "--run", str(folder), "--checkpoint", "none", *more]


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


# ---- A run that is left alone ----------------------------------------------------------------------------------------


def test_what_a_run_leaves(start, capsys):
    folder = start("whole")
    out, err = capsys.readouterr()
    best = out.strip()
    assert best == run_folder.weights_path(folder) and best.startswith(str(folder / run_folder.BEST))
    assert {"pipeline.config", "run.json", "metrics.jsonl", "inputs.png", "ckpt-8.index", "train", "eval"} <= {
        path.name for path in folder.iterdir()
    }
    assert not (folder / "ckpt-4.index").exists()  # the last two are kept
    lines = read(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [4, 8]
    for line in lines:
        assert 0 <= line["AP50"] <= 1 and line["images"] == 15
        assert line["loss/total"] == pytest.approx(
            sum(line[f"loss/{name}"] for name in ("localization", "classification", "regularization")), rel=1e-5
        )
    chosen = max(lines, key=lambda line: line["AP50"])["step"]
    assert best.endswith(f"ckpt-{chosen}")
    assert f"step {chosen} was the best of 2 evaluations" in err
    assert cv2.imread(str(folder / "inputs.png")).shape == (640, 640, 3)  # four images
    (began,) = json.loads((folder / "run.json").read_text())["starts"]
    assert began["step"] == 0 and began["command"][:3] == ["python", "-m", "training.train"]
    # and once more: nothing to do
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    start("whole")
    assert "ended at step 8 and has its weights; nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_more_steps_go_on_and_other_records_are_named(start, sample_records, tmp_path, capsys):
    records = shutil.copytree(sample_records["train"], tmp_path / "records")
    folder = start("longer", "--steps", "4", "--records", str(records))
    assert run_folder.finished_steps(folder) == 4
    assert "not those that" not in capsys.readouterr().err
    (shard,) = records.glob("*.tfrecord")
    *_, last = tfrecord_file.positions(shard)
    os.truncate(shard, last[0] - 12)  # without its last record
    start("longer", "--steps", "6", "--records", str(records), "--validation", str(records))
    assert run_folder.finished_steps(folder) == 6
    err = capsys.readouterr().err
    assert re.search(r"warning: the training records are not those that the run began with \(53 images .* and 52", err)
    assert re.search(
        r"warning: the validation records are not those that the run began with \(15 images .* and 52", err
    )
    one, other = json.loads((folder / "run.json").read_text())["starts"]
    assert (one["step"], other["step"]) == (0, 4) and one["records"] != other["records"]


@pytest.mark.slow
def test_another_seed_gives_other_weights(start):
    one = start("one", "--steps", "2", validation=False)
    other = start("other", "--steps", "2", "--set", "trainer.seed=1", validation=False)
    assert not all(np.array_equal(value, weights(other)[name]) for name, value in weights(one).items())
    assert not (one / run_folder.BEST).exists()  # without an evaluation none is


def test_a_dry_run_leaves_nothing(start, capsys):
    folder = start("dry", "--dry-run")
    assert not folder.exists()
    err = capsys.readouterr().err
    assert "first batch: 4 images of 64 x 64, values -1.00 to 1.00" in err
    assert "5 more steps take 0:0" in err and "GiB of memory" in err


# ---- Kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("at, where", [(3, "step"), (4, "evaluation"), (8, "last")])
def test_a_killed_run_ends_with_the_same_weights(whole, start, monkeypatch, at, where):
    with monkeypatch.context() as patched:
        if where == "step":
            require = train.guards.require_finite
            patched.setattr(train.guards, "require_finite", lambda step, *rest: die(step == at) or require(step, *rest))
        elif where == "evaluation":
            number = iter(range(4, 99, 4))
            call = Validation.__call__
            patched.setattr(Validation, "__call__", lambda self: die(next(number) == at) or call(self))
        else:
            save = run_folder.save_weights
            patched.setattr(
                run_folder, "save_weights", lambda place, *rest: die(place.name == "last") or save(place, *rest)
            )
        with pytest.raises(Killed):
            start("killed")
    killed = start("killed")
    assert_same(state(whole), state(killed))
    assert_same(weights(whole), weights(killed))
    assert run_folder.weights_path(whole).split("/")[-2:] == run_folder.weights_path(killed).split("/")[-2:]
    timeless = [
        [{k: v for k, v in line.items() if k not in ("time", "seconds", "images_per_second")} for line in read(path)]
        for path in (whole / "metrics.jsonl", killed / "metrics.jsonl")
    ]
    assert timeless[0] == timeless[1]


def die(now: bool) -> None:
    if now:
        raise Killed


@pytest.mark.slow
def test_a_damaged_state_is_passed_over(whole, start, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(train.guards, "require_finite", lambda step, *rest: die(step == 5))
        with pytest.raises(Killed):
            start("damaged")
    data = tmp_path / "damaged" / "ckpt-4.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    capsys.readouterr()
    damaged = start("damaged")
    assert "going on from step 2" in capsys.readouterr().err
    assert_same(weights(whole), weights(damaged))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_real_signals(start, tmp_path, sample_records, label_map, number):
    more = ["--steps", "400", "--set", "trainer.save_every=50"]
    whole, folder = start("whole", *more, validation=False), tmp_path / "killed"
    command = arguments(tmp_path / "tiny.config", sample_records, label_map, folder, *more, validation=False)
    program = [sys.executable, str(Path(tiny_detector.__file__)), *command]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not list(folder.glob("ckpt-*.index")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        code = process.wait(60)
    finally:
        process.kill()
    assert code == (130 if number == signal.SIGINT else -9)
    assert run_folder.finished_steps(folder) is None
    subprocess.run(program, check=True, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "2"})
    assert_same(weights(whole), weights(folder))


# ---- One large batch -------------------------------------------------------------------------------------------------

# Batch norm looks at each batch by itself, dropout draws for each; Adam makes a step of any size of a rounding error.
SGD = (
    "momentum_optimizer {learning_rate {constant_learning_rate {learning_rate: 0.01}}} "
    "use_moving_average: true moving_average_decay: 0.9"
)
FROZEN = (
    *("--set", "model.ssd.freeze_batchnorm=true", "--set", f"train_config.optimizer={{{SGD}}}"),
    *("--set", "model.ssd.box_predictor.convolutional_box_predictor.use_dropout=false", "--steps", "3"),
)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, sample_records, label_map, tiny) -> Path:
    """Three steps of four images on one device."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "tiny.config").write_text(tiny_detector.CONFIG)
    command = arguments(folder / "tiny.config", sample_records, label_map, folder / "run", *FROZEN, validation=False)
    assert train.main(command) == 0
    return folder / "run"


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch(frozen, start):
    added = start("added", "--batch-size", "1", "--set", "trainer.accumulate=4", *FROZEN, validation=False)
    assert_close(weights(frozen), weights(added), 1e-5)


@pytest.fixture
def begin(tmp_path, sample_records, label_map):
    """A function that begins to train run NAME, with more arguments, in a process of its own."""
    config = tmp_path / "tiny.config"
    config.write_text(tiny_detector.CONFIG)
    begun = []

    def run(name: str, *more: str, **environment: str) -> subprocess.Popen:
        command = arguments(config, sample_records, label_map, tmp_path / name, *FROZEN, *more, validation=False)
        program = [sys.executable, str(Path(tiny_detector.__file__)), *command]
        begun.append(subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=os.environ | environment))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def ended(*processes: subprocess.Popen) -> tuple[list[int], list[str]]:
    """The exit codes of processes, and what each said on stderr."""
    said = [process.communicate(timeout=400)[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_two_devices_are_one(frozen, begin, tmp_path):
    # and one replica adds up what the other does
    codes, _ = ended(begin("devices", "--devices", "2", "--batch-size", "2", "--set", "trainer.accumulate=2"))
    assert codes == [0]
    assert_close(weights(frozen), weights(tmp_path / "devices"), 1e-5)


@pytest.mark.slow
def test_two_workers_are_one_and_stop_together(frozen, begin, tmp_path):
    def workers(**signal_at):
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("localhost", 0))
            cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in (one, other)]}
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            more = {"SIGNAL_AT": signal_at[f"worker_{index}"]} if f"worker_{index}" in signal_at else {}
            yield begin("workers", "--set", "trainer.save_every=1", TF_CONFIG=json.dumps(task), **more)

    codes, said = ended(*workers(worker_0="2 9"))  # killed before its second step was saved
    assert codes == [-9, 2] and "\nerror: another worker is gone, and may say why (" in said[1]
    assert "Traceback" not in said[1]
    codes, said = ended(*workers(worker_1="3 2"))  # Ctrl-C on one of them, behind the last step
    assert codes == [130, 130]
    assert all("stopped at step 3; the same command goes on from there\n" in text for text in said)
    assert_close(state(frozen), state(tmp_path / "workers"), 1e-5)


# ---- What is trained -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_layers_stay(start):
    begun = start("begun", "--steps", "0", validation=False)
    ended = start("ended", "--set", 'train_config.freeze_variables=["Tiny[01]"]', "--steps", "3", validation=False)
    changed = {name.partition("/")[2] for name in changes(begun, ended)}
    assert not any(("Tiny0" in name or "Tiny1" in name) and "moving" not in name for name in changed)
    assert {"Tiny2/kernel", "Tiny2_BN/moving_mean"} <= changed
    # What frozen layers normalise by is what the others learned behind, and not measured anew for the weights for use.
    trained, used = state(ended), weights(ended)
    measured = {name for name, value in used.items() if "/moving_" in name and not np.array_equal(value, trained[name])}
    assert len(measured) == 2 and all("_tiny/7/" in name for name in measured)


@pytest.mark.slow
def test_the_head_warms_up_alone(start):
    begun = start("begun", "--steps", "0", validation=False)
    warm = start("warm", "--set", "trainer.head_only_steps=3", "--steps", "3", validation=False)
    changed = {name for name in changes(begun, warm) if "moving" not in name}  # which are measured for use
    assert len(changed) == 8 and all("BoxPredictor" in name for name in changed)
    whole = start("whole", "--set", "trainer.head_only_steps=2", "--steps", "3", validation=False)
    assert any("Tiny0/kernel" in name for name in changes(begun, whole))


def changes(one: Path, other: Path) -> set[str]:
    """The names of the variables that differ between the last weights of two runs."""
    from training.od_api import model, pipeline

    values = []
    for folder in (one, other):
        built = model.build(pipeline.load(folder / "pipeline.config"), training=True)
        run_folder.restore_weights(tf.train.latest_checkpoint(str(folder / run_folder.LAST)), built)
        values.append([(variable.name.partition(":")[0], variable.numpy()) for variable in built.variables])
    return {name for (name, value), (_, its) in zip(*values, strict=True) if not np.array_equal(value, its)}


# ---- Guards ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(start, tmp_path):
    rate = "train_config.optimizer.adam_optimizer.learning_rate={constant_learning_rate {learning_rate: 1e30}}"
    with pytest.raises(UserError, match=r"step \d: not finite: .*not-finite-\d.npz") as caught:
        start("mad", "--set", rate, "--set", "train_config.gradient_clipping_by_norm=0")
    assert "\n" not in str(caught.value)
    (kept,) = (tmp_path / "mad").glob("not-finite-*.npz")
    with np.load(kept) as arrays:
        assert arrays["images"].shape == (4, 64, 64, 3) and arrays["boxes"].shape[::2] == (4, 4)
        assert all("train-" in place and ", record " in place for place in arrays["places"].tolist())
    assert kept.with_suffix(".png").is_file()


@pytest.mark.slow
def test_early_stop(start, monkeypatch, capsys):
    figures = iter([0.5, 0.4, 0.3, 0.6, 0.2, 0.1])

    def falling(self):
        return {"AP50": next(figures), "seconds": 0.0}

    monkeypatch.setattr(Validation, "__call__", falling)
    every = ("--set", "trainer.evaluate_every=1")
    folder = start("early", *every, "--set", "trainer.patience=2", "--steps", "6")
    assert run_folder.finished_steps(folder) == 3
    assert run_folder.weights_path(folder).endswith("best/ckpt-1")
    err = capsys.readouterr().err
    assert "step 1 was the best of 3 evaluations (AP50 0.500)" in err and "--set trainer.patience=4" in err
    start("early", *every, "--set", "trainer.patience=2", "--steps", "6")
    assert "nothing to do" in capsys.readouterr().err
    start("early", *every, "--set", "trainer.patience=0", "--steps", "6")
    assert run_folder.finished_steps(folder) == 6
    assert run_folder.weights_path(folder).endswith("best/ckpt-4")


@pytest.mark.parametrize("at, number", [(30, 1), (-30, 53)])
def test_damaged_records_are_found_before_the_first_step(start, tmp_path, sample_records, capfd, at, number):
    folder = tmp_path / "records"
    folder.mkdir()
    (shard,) = Path(sample_records["train"]).glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    (folder / shard.name).write_bytes(data)
    with pytest.raises(UserError, match=f"{shard.name}: the records are not fit to train on, as listed above"):
        start("run", "--records", str(folder))
    assert f"{shard.name}, record {number}: the checksum" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
