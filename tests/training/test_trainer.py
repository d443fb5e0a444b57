"""A training run from outside, on a detector that is traced in seconds: kills, guards, the best weights."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detect_faces.errors import UserError
from tests.training.tiny_runs import assert_same, ended, state, weights
from tools import tfrecord_file
from training import run_folder, train
from training.metrics_log import read
from training.validation import Validation

pytestmark = pytest.mark.filterwarnings("ignore")


class Killed(BaseException):
    """As a kill: nothing of the run is done any more."""


@pytest.fixture(scope="module")
def whole(shared) -> Path:
    """A run that nobody disturbed."""
    return shared("whole")


@pytest.fixture(scope="module")
def begun(shared) -> Path:
    """A run that has not made a step."""
    return shared("begun", "--steps", "0", validation=False)


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
    assert_in_tensorboard(folder, lines)
    (began,) = json.loads((folder / "run.json").read_text())["starts"]
    assert began["step"] == 0 and began["command"][:3] == ["python", "-m", "training.train"]
    # and once more: nothing to do
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    start("whole")
    assert "ended at step 8 and has its weights; nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def assert_in_tensorboard(folder: Path, lines: list[dict]) -> None:
    """Losses, learning rate and images a second in `train`, figures in `eval`, and pictures in both."""
    for name, picture, size in (("train", "inputs", (64, 64)), ("eval", "found", (968, 480))):
        events = EventAccumulator(str(folder / name), size_guidance={"tensors": 0}).Reload()
        tags = set(events.Tags()["tensors"]) - {picture}
        if name == "train":
            assert tags >= {"loss/total", "loss/classification", "learning_rate", "images_per_second", "gradient_norm"}
        else:
            assert tags >= {"AP", "AP50", "AP_large", "AR"}
        for tag in tags:
            points = {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}
            assert points == pytest.approx({line["step"]: line[tag] for line in lines if line[tag] is not None})
        for event in events.Tensors(picture):
            width, height, *pictures = tf.make_ndarray(event.tensor_proto)
            assert (int(width), int(height)) == size and len(pictures) == (4 if name == "train" else 8)
            assert cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR).shape == (*size[::-1], 3)


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
def test_the_start_checkpoint_may_be_gone_when_a_run_goes_on(begun, start, tmp_path):
    weights = shutil.copytree(begun / run_folder.LAST, tmp_path / "from")
    more = ("--checkpoint", str(weights / "ckpt-0"))
    start("on", *more, "--steps", "1", validation=False)
    shutil.rmtree(weights)
    folder = start("on", *more, "--steps", "2", validation=False)
    assert run_folder.finished_steps(folder) == 2
    with pytest.raises(UserError, match="no checkpoint here"):
        start("anew", *more, "--steps", "1", validation=False)


@pytest.mark.slow
def test_weights_without_a_state_are_not_trained_over(start):
    """As `make import-weights` leaves them."""
    folder = start("weights", "--steps", "1", validation=False)
    for path in [*folder.glob("ckpt-1.*"), folder / "checkpoint"]:
        path.unlink()
    before = weights(folder)
    with pytest.raises(
        UserError, match=r"weights of step 1 and no state .* give another RUN=, and CHECKPOINT=.*ckpt-1"
    ):
        start("weights", "--steps", "2", validation=False)
    assert_same(weights(folder), before)


@pytest.mark.slow
def test_a_run_of_no_step_keeps_what_it_starts_from(begun, start):
    frozen = ("--set", 'train_config.freeze_variables=["BoxPredictor"]')
    other = start("frozen", "--steps", "0", *frozen, validation=False)
    assert_same(weights(begun), weights(other))


@pytest.mark.slow
def test_another_seed_gives_other_weights(begun, start):
    other = start("other", "--steps", "0", "--set", "trainer.seed=1", validation=False)
    assert not all(np.array_equal(value, weights(other)[name]) for name, value in weights(begun).items())
    assert not (begun / run_folder.BEST).exists()  # without an evaluation none is


def test_a_dry_run_leaves_nothing(start, capsys):
    folder = start("dry", "--dry-run")
    assert not folder.exists()
    err = capsys.readouterr().err
    assert "first batch: 4 images of 64 x 64, values -1.00 to 1.00" in err
    assert "5 more steps take 0:0" in err and "evaluations aside; " in err
    assert re.search(r"step 3: AP50 \S+ in \d+ s", err)
    assert re.search(r"weights for use take \d+ s .*; 2 evaluations are due; with them \S+ of \d+ GiB of memory", err)


def test_a_dry_run_can_be_stopped(start, monkeypatch):
    finite = train.guards.require_finite
    monkeypatch.setattr(
        train.guards, "require_finite", lambda step, *rest: os.kill(os.getpid(), signal.SIGINT) or finite(step, *rest)
    )
    assert not start("dry", "--dry-run", code=130).exists()


# ---- Kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(whole, start, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:  # in the evaluation of step 4
        patched.setattr(Validation, "__call__", lambda self: die(True))
        with pytest.raises(Killed):
            start("killed")
    with monkeypatch.context() as patched:  # behind step 7, and the disk loses a part of the state of step 6
        require = train.guards.require_finite
        patched.setattr(train.guards, "require_finite", lambda step, *rest: die(step == 7) or require(step, *rest))
        with pytest.raises(Killed):
            start("killed")
    data = tmp_path / "killed" / "ckpt-6.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    capsys.readouterr()
    with monkeypatch.context() as patched:  # while the last weights are saved
        save = run_folder.save_weights
        patched.setattr(
            run_folder, "save_weights", lambda place, *rest: die(place.name == "last") or save(place, *rest)
        )
        with pytest.raises(Killed):
            start("killed")
    assert re.search(r"going on from step 4; .*ckpt-6 is damaged", capsys.readouterr().err)
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
def test_real_signals(whole, begin, start):
    assert ended(begin("killed", SIGNAL_AT=f"3 {signal.SIGKILL}"))[0] == [-signal.SIGKILL]
    codes, (said,) = ended(begin("killed", SIGNAL_AT=f"5 {signal.SIGINT}"))
    assert codes == [130]
    assert "going on from step 2\n" in said and "stopped at step 5; the same command goes on from there\n" in said
    killed = start("killed")
    assert_same(state(whole), state(killed))
    assert_same(weights(whole), weights(killed))


# ---- What is trained -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_layers_stay(begun, start):
    layers = ("--set", 'train_config.freeze_variables=["Tiny[01]"]')
    trained = start("trained", *layers, "--steps", "3", validation=False)
    changed = {name.partition("/")[2] for name in changes(begun, trained)}
    assert not any(("Tiny0" in name or "Tiny1" in name) and "moving" not in name for name in changed)
    assert {"Tiny2/kernel", "Tiny2_BN/moving_mean"} <= changed
    # What frozen layers normalise by is what the others learned behind, and not measured anew for the weights for use.
    then, used = state(trained), weights(trained)
    measured = {name for name, value in used.items() if "/moving_" in name and not np.array_equal(value, then[name])}
    assert len(measured) == 2 and all("_tiny/7/" in name for name in measured)


@pytest.mark.slow
def test_the_head_warms_up_alone(begun, start):
    run = start("warm", "--set", "trainer.head_only_steps=2", "--steps", "3", validation=False)
    changed = changes(begun, run, str(run / "ckpt-2"))
    assert len(changed) == 8 and all("BoxPredictor" in name for name in changed)
    assert any("Tiny0/kernel" in name for name in changes(begun, run))


def changes(one: Path, other: Path, prefix: str | None = None) -> set[str]:
    """The names of the variables that differ between the last weights of two runs, or one's and a checkpoint's."""
    from training.od_api import model, pipeline

    values = []
    for folder, chosen in ((one, None), (other, prefix)):
        built = model.build(pipeline.load(folder / "pipeline.config"), training=True)
        run_folder.restore_weights(chosen or tf.train.latest_checkpoint(str(folder / run_folder.LAST)), built)
        values.append([(variable.name.partition(":")[0], variable.numpy()) for variable in built.variables])
    return {name for (name, value), (_, its) in zip(*values, strict=True) if not np.array_equal(value, its)}


# ---- What a config asks for ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bfloat16_learns_nearly_the_same_and_goes_on(whole, start, monkeypatch, capsys):
    computed = ("--set", "train_config.use_bfloat16=true")
    with monkeypatch.context() as patched:
        require = train.guards.require_finite
        patched.setattr(train.guards, "require_finite", lambda step, *rest: die(step == 5) or require(step, *rest))
        with pytest.raises(Killed):
            start("half", *computed)
    capsys.readouterr()
    half = start("half", *computed)
    assert "going on from step 4" in capsys.readouterr().err
    assert all(value.dtype == np.float32 for name, value in weights(half).items())
    for line, other in zip(read(whole / "metrics.jsonl"), read(half / "metrics.jsonl"), strict=True):
        # bfloat16 has 8 bits: of numbers that are added up, some percent
        assert other["loss/total"] == pytest.approx(line["loss/total"], rel=0.1)
        assert other["loss/total"] != line["loss/total"]


@pytest.mark.slow
def test_mined_negatives_are_some_of_all(start, monkeypatch, capsys):
    """Of one batch with the same weights: all that is matched stays, and of the negatives three for each."""
    mining = "num_hard_examples: 3000 iou_threshold: 1 loss_type: CLASSIFICATION max_negatives_per_positive: 3"
    plain = ("--set", "model.ssd.loss.classification_loss={weighted_sigmoid {}}")  # focal loss is not mined
    mined = (*plain, "--set", f"model.ssd.loss.hard_example_miner={{{mining}}}")
    lines = []
    for name, more in (("all", plain), ("mined", mined)):
        folder = start(name, "--steps", "1", *more, validation=False)
        lines += read(folder / "metrics.jsonl")
    whole, some = lines
    assert some["matched"] == whole["matched"]
    assert some["loss/localization"] == pytest.approx(whole["loss/localization"], rel=1e-5)
    assert 0 < some["loss/classification"] < 0.9 * whole["loss/classification"]
    capsys.readouterr()
    start("mined", "--steps", "2", *mined, validation=False)
    assert "going on from step 1" in capsys.readouterr().err


# ---- Guards ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(start, tmp_path):
    rate = "train_config.optimizer.adam_optimizer.learning_rate={constant_learning_rate {learning_rate: 1e30}}"
    with pytest.raises(UserError, match=r"step \d: not finite: .*not-finite-\d.npz") as caught:
        no_clip = ("--set", "train_config.gradient_clipping_by_norm=0")
        start("mad", "--set", rate, *no_clip, "--batch-size", "2", "--set", "trainer.accumulate=2")
    assert "\n" not in str(caught.value)
    (kept,) = (tmp_path / "mad").glob("not-finite-*.npz")
    with np.load(kept) as arrays:
        # of all batches of the step
        assert arrays["images"].shape == (4, 64, 64, 3) and arrays["boxes"].shape[::2] == (4, 4)
        assert len({image.tobytes() for image in arrays["images"]}) == len(set(arrays["places"].tolist())) == 4
        assert arrays["sizes"].tolist() == [[64, 64]] * 4
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
    err = capsys.readouterr().err
    assert "nothing to do (step 1 was the best" in err and "STEPS=" not in err and "--set trainer.patience=4" in err
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
