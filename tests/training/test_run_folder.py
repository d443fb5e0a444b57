"""A run's folder: which config it may be continued with, its weights, and checkpoints of another model."""

from pathlib import Path

import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from training import run_folder

TEXT = "train_config {\n  batch_size: 24\n  num_steps: 300\n}\n"


class Network(tf.Module):
    """A model of one variable."""

    def __init__(self, values, **more):
        super().__init__()
        self.weights = tf.Variable(values, dtype=tf.float32)
        for name, value in more.items():
            setattr(self, name, tf.Variable(value, dtype=tf.float32))


def start(folder, text):
    """As training does it."""
    run_folder.check_config(folder, text)
    run_folder.write_config(folder, text)


def begun(folder: Path) -> Path:
    start(folder, TEXT)
    tf.train.CheckpointManager(tf.train.Checkpoint(step=tf.Variable(1)), str(folder), max_to_keep=2).save()
    return folder


def test_a_new_folder_gets_the_config(tmp_path):
    folder = tmp_path / "runs/new"
    start(folder, TEXT)
    assert [path.name for path in folder.iterdir()] == ["pipeline.config"]
    assert run_folder.config_path(folder).read_text() == TEXT


@pytest.mark.parametrize(
    "change, refused",
    [
        (("", ""), None),
        (("300", "600"), None),  # how long it goes on
        (("}\n", "  sync_replicas: true\n}\n"), None),  # what nothing reads
        (("24", "8"), "- batch_size: 24 / \\+ batch_size: 8"),
        (("}\n", "  use_bfloat16: true\n}\n"), "\\+ use_bfloat16: true"),
    ],
)
def test_a_run_goes_on_with_its_own_config_only(tmp_path, change, refused):
    text = TEXT.replace(*change) if change[0] else TEXT
    folder = begun(tmp_path / "run")
    if refused is None:
        start(folder, text)
        assert (folder / "pipeline.config").read_text() == text
    else:
        with pytest.raises(UserError, match=f"another config \\({refused}\\); give another RUN= or delete"):
            start(folder, text)
        assert (folder / "pipeline.config").read_text() == TEXT


def test_a_start_that_failed_binds_nobody(tmp_path):
    """Nothing was trained yet with the config that is there."""
    start(tmp_path / "run", TEXT)
    start(tmp_path / "run", TEXT.replace("24", "8"))
    assert "batch_size: 8" in (tmp_path / "run/pipeline.config").read_text()


def test_weights_alone_bind_to_their_config_too(tmp_path):
    folder = tmp_path / "run"
    start(folder, TEXT)
    run_folder.save_weights(folder / run_folder.LAST, Network([1.0]), 0)
    with pytest.raises(UserError, match="another config"):
        start(folder, TEXT.replace("24", "8"))


def test_weights_are_found_and_restored(tmp_path):
    folder = begun(tmp_path / "run")
    assert run_folder.finished_steps(folder) is None
    with pytest.raises(UserError, match="no weights for use yet; `make train RUN=run` goes on"):
        run_folder.weights_path(folder)
    run_folder.save_weights(folder / run_folder.LAST, Network([1.0, 2.0]), 300)
    saved = run_folder.save_weights(folder / run_folder.LAST, Network([3.0, 4.0]), 600)
    assert run_folder.weights_path(folder) == saved == str(folder / "last/ckpt-600")
    assert run_folder.finished_steps(folder) == 600
    assert not list(folder.glob("last/ckpt-300*"))
    network = Network([0.0, 0.0])
    run_folder.restore_weights(saved, network)
    assert network.weights.numpy().tolist() == [3, 4]


def test_no_run_there(tmp_path):
    for find in (run_folder.config_path, run_folder.weights_path):
        with pytest.raises(UserError, match=r"no run here .*`make train RUN=none` makes one"):
            find(tmp_path / "none")


@pytest.mark.parametrize(
    "network", [Network([0.0, 0.0, 0.0]), Network([0.0, 0.0], more=1.0)], ids=["another shape", "one variable more"]
)
def test_weights_of_another_model_are_refused(tmp_path, network):
    saved = run_folder.save_weights(tmp_path, Network([1.0, 2.0]), 1)
    with pytest.raises(UserError, match="ckpt-1: a checkpoint of another model") as caught:
        run_folder.restore_weights(saved, network)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="ckpt-9: no checkpoint here"):
        run_folder.restore_weights(str(tmp_path / "ckpt-9"), Network([1.0]))


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_torn_weights_are_refused(tmp_path, part):
    saved = run_folder.save_weights(tmp_path, Network([1.0, 2.0]), 1)
    path = Path(f"{saved}.{part}")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="ckpt-1: not a whole checkpoint"):
        run_folder.restore_weights(saved, Network([0.0, 0.0]))


def test_a_state_whose_index_is_lost_is_no_new_beginning(tmp_path):
    step = tf.Variable(0)
    state = tf.train.Checkpoint(step=step)
    manager = tf.train.CheckpointManager(state, str(tmp_path), max_to_keep=2)
    assert run_folder.newest_state(tmp_path) is run_folder.resume(state, tmp_path) is None
    for number in (1, 2):
        step.assign(number)
        manager.save(checkpoint_number=number)
    (tmp_path / "ckpt-2.index").unlink()
    assert run_folder.newest_state(tmp_path) == str(tmp_path / "ckpt-2")
    assert run_folder.resume(state, tmp_path) == str(tmp_path / "ckpt-1") and step.numpy() == 1
    (tmp_path / "ckpt-1.index").unlink()
    with pytest.raises(UserError, match="none of its checkpoints is whole"):
        run_folder.resume(state, tmp_path)


def test_what_a_kill_left_of_a_checkpoint_is_removed(tmp_path):
    torn = [tmp_path / "ckpt-200_temp", tmp_path / "best/ckpt-200_temp", tmp_path / "last/ckpt-200_temp"]
    for folder in torn:
        folder.mkdir(parents=True)
        (folder / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    whole = tmp_path / "ckpt-100.index"
    whole.write_bytes(b"whole")
    run_folder.remove_unfinished(tmp_path)
    assert whole.exists() and not any(map(Path.exists, torn))


def test_a_full_disk_is_one_line():
    run = Path("runs/mine")
    with pytest.raises(
        UserError, match="runs/mine: no space left on the disk; make room, and the same command goes on"
    ):
        with run_folder.full_disk_named(run):
            tf.io.write_file("/dev/full", "something")
    with pytest.raises(tf.errors.ResourceExhaustedError), run_folder.full_disk_named(run):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
