"""The folder of a run: its pipeline.config, the state of training, and the weights it ended with."""

import difflib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from training import metrics_log, restore
from training.od_api import pipeline, trainer_settings, unread_fields

CONFIG = "pipeline.config"
BEST, LAST = "best", "last"  # folders of weights for use

# Lines of the config that a run may be continued with other values of: how long it goes on, on how many images, how
# often it is looked at, and what nothing reads. (By another figure another step would be the best, whose weights are
# gone.)
_MAY_CHANGE = re.compile(
    rf"\s*(num_steps|total_steps|warmup_steps|evaluate_every|patience|save_every|"
    rf"{'|'.join([*unread_fields.READER, *unread_fields.TRAIN])}): "
)


def check_config(folder: Path, config_text: str) -> None:
    """Raises UserError where `folder` holds a run of another config; the message names the first line that differs."""
    path = folder / CONFIG
    # A start that failed before its first checkpoint (a wrong path, say) leaves nothing that its config matters for.
    begun = newest_state(folder) or tf.train.latest_checkpoint(str(folder / LAST))
    if begun and path.is_file():
        before, now = (_binding_lines(text, path) for text in (pipeline.read(path), config_text))
        changed = [line for line in difflib.ndiff(before, now) if line[:2] in ("- ", "+ ")]
        if changed:
            difference = " / ".join(" ".join(line.split()) for line in changed[:2])
            raise UserError(
                f"{path}: the run was started with another config ({difference}); give another RUN= or delete {folder}"
            )


def _binding_lines(config_text: str, path: Path) -> list[str]:
    """The lines of a config that a run cannot go on without. A default of the trainer counts as what it stands for."""
    config = trainer_settings.spelled_out(pipeline.parse(config_text, path))
    trainer_settings.settings(config).ClearField("start")  # a run that has begun has its weights
    return [line for line in pipeline.text(config).splitlines() if not _MAY_CHANGE.match(line)]


def write_config(folder: Path, config_text: str) -> None:
    """Makes the folder of a run and writes its config."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG, config_text.encode())


def newest_state(folder: Path) -> str | None:
    """The prefix of the state of training that a run wrote last, whole or not; None where it wrote none."""
    prefixes = _states(folder)
    return prefixes[-1] if prefixes else None


def resume(state: tf.train.Checkpoint, folder: Path) -> str | None:
    """Restores the newest whole state of training and returns its prefix; None where there is none to go on from.

    Raises:
        UserError: there are states, and all of them are damaged.
    """
    prefixes = _states(folder)
    for prefix in reversed(prefixes):
        try:
            state.restore(prefix).assert_existing_objects_matched()
            return prefix
        except (AssertionError, *restore.UNREADABLE):
            continue
    if prefixes:
        raise UserError(f"{folder}: none of its checkpoints is whole; delete the folder, or give another RUN=")
    return None


def _states(folder: Path) -> list[str]:
    found = tf.train.get_checkpoint_state(str(folder))
    return list(found.all_model_checkpoint_paths) if found else []


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Where the disk of a run is full, one line in place of TensorFlow's many. Raises UserError."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if "No space left on device" not in error.message:  # but memory, say
            raise
        raise UserError(
            f"{folder}: no space left on the disk; make room, and the same command goes on from the last checkpoint, "
            "which is whole"
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Removes checkpoints that were being written when a process was killed or the disk was full.

    TensorFlow writes each into a folder of its own first, which nothing would name or remove afterwards.
    """
    for place in (folder, folder / BEST, folder / LAST):
        for path in place.glob("ckpt-*_temp"):
            shutil.rmtree(path)


def save_weights(folder: Path, model: tf.Module, step: int) -> str:
    """Saves a model's weights for use, in place of those that `folder` holds. Returns their prefix.

    The layout is the one that the OD API's exporter reads. Those in place go when the new ones are whole.
    """
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), max_to_keep=1)
    return manager.save(checkpoint_number=step)


def evaluations(folder: Path, metric: str) -> dict[int, float | None]:
    """{step: figure} of the evaluations in the log of a run."""
    return {line["step"]: line[metric] for line in metrics_log.read(folder / metrics_log.FILE) if metric in line}


def config_path(folder: Path) -> Path:
    """The config of a run. Raises UserError where `folder` isn't one."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: no run here (no {CONFIG}); `make train RUN={folder.name}` makes one")
    return path


def weights_path(folder: Path) -> str:
    """The prefix of a run's weights for use: the best, or the last of a run without evaluations.

    Raises:
        UserError: it isn't a run, or has none yet.
    """
    config_path(folder)
    for place in (BEST, LAST):
        if latest := tf.train.latest_checkpoint(str(folder / place)):
            return latest
    raise UserError(f"{folder}: no weights for use yet; `make train RUN={folder.name}` goes on with it")


def finished_steps(folder: Path) -> int | None:
    """The number of steps after which the run came to its end, None where it hasn't yet."""
    latest = tf.train.latest_checkpoint(str(folder / LAST))
    return latest and int(latest.rpartition("-")[2])


def restore_weights(prefix: str, model: tf.Module) -> None:
    """Loads weights that `save_weights` or training itself wrote; all of them have to be there, whole."""
    restore.checkpoint_reader(prefix)
    try:
        status = tf.train.Checkpoint(model=model).read(prefix)
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        raise UserError(f"{prefix}: a checkpoint of another model ({str(error).splitlines()[0]})") from error
    except restore.UNREADABLE as error:
        raise UserError(f"{prefix}: not a whole checkpoint ({str(error).splitlines()[0]}); train again") from error


# ---- The checkpoints of a run ----------------------------------------------------------------------------------------

_CHECKPOINT = re.compile(r"ckpt-(\d+)\.index")
_STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"  # which a state of training holds, and weights don't


def checkpoints(folder: Path) -> list[str]:
    """The prefixes of all checkpoints of a run by step: states of training, and weights in the folders beside them.

    Raises UserError where `folder` isn't a run or has none.
    """
    config_path(folder)
    found = [path for pattern in ("*.index", "[!.]*/*.index") for path in folder.glob(pattern)]
    prefixes = [str(path).removesuffix(".index") for path in found if _CHECKPOINT.fullmatch(path.name)]
    if not prefixes:
        raise UserError(f"{folder}: no checkpoint yet; `make train RUN={folder.name}` goes on with it")
    return sorted(prefixes, key=lambda prefix: (int(prefix.rpartition("-")[2]), len(prefix), prefix))


def run_of(prefix: str) -> Path | None:
    """The run that a checkpoint lies in, None where it lies elsewhere."""
    return next((folder for folder in islice(Path(prefix).parents, 2) if (folder / CONFIG).is_file()), None)


def step_of(prefix: str) -> int | None:
    """The step that a checkpoint was saved at: as a state of training says, else as its name does; None if neither."""
    if holds_state(prefix):
        return int(restore.checkpoint_reader(prefix).get_tensor(_STEP))
    named = _CHECKPOINT.fullmatch(Path(prefix).name + ".index")
    return int(named[1]) if named else None


def holds_state(prefix: str) -> bool:
    """Whether a checkpoint is a state of training, and not weights alone. Raises UserError where it isn't whole."""
    return _STEP in restore.checkpoint_reader(prefix).get_variable_to_shape_map()


def restore_averages(prefix: str, model: tf.Module) -> None:
    """Loads a state of training with the averages of its trainable variables in their place.

    Raises UserError as `restore_weights` does. Batch norm's statistics are those of the weights that were averaged.
    """
    restore_weights(prefix, model)
    averages = [tf.Variable(variable) for variable in model.trainable_variables]
    try:
        tf.train.Checkpoint(averages=averages).read(prefix).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        raise UserError(f"{prefix}: has no averages of this model; leave out --averages") from error
    except restore.UNREADABLE as error:
        raise UserError(f"{prefix}: not a whole checkpoint ({str(error).splitlines()[0]}); train again") from error
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average)
