"""Starting weights: which variable of a model comes from where in a checkpoint, said before any is used."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces.errors import UserError

# A class predictor of another number of classes cannot be reused, and starts anew without being asked.
CLASS_PREDICTORS = r"BoxPredictor.*/ClassPredictor/(weights|biases)"

# What TensorFlow raises for a damaged checkpoint; IndexError for a data file that is too short.
UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


@dataclass(frozen=True)
class RestorePlan:
    """What a checkpoint gives to a model.

    Attributes:
        restored: pairs of a variable and its name in the checkpoint.
        reinitialised: (name in the checkpoint's naming, why) of the variables that keep their initial values.
        unused: names in the checkpoint that the model has no variable for.
        share: of the model's parameters, the share that is restored, 0..1.
    """

    restored: list[tuple[tf.Variable, str]]
    reinitialised: list[tuple[str, str]]
    unused: list[str]
    share: float

    def __str__(self) -> str:
        total = len(self.restored) + len(self.reinitialised)
        lines = [f"restored {len(self.restored)} of {total} variables ({self.share:.1%} of the parameters)"]
        lines += [f"  re-initialised: {name} ({why})" for name, why in self.reinitialised]
        if self.unused:
            lines.append(f"  not used: {len(self.unused)} of the checkpoint's, such as {self.unused[0]}")
        return "\n".join(lines)


def checkpoint_reader(path: str | Path):
    """A tf.train.CheckpointReader. Raises UserError where there is no whole checkpoint at `path` (a prefix)."""
    prefix = str(path).removesuffix(".index")
    if not Path(prefix + ".index").is_file():
        raise UserError(f"{prefix}: no checkpoint here; `make checkpoint` gets the one to start from")
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # a torn data file shows only when it is read
            break
        return reader
    except UNREADABLE as error:
        raise UserError(f"{prefix}: not a whole checkpoint ({str(error).splitlines()[0]}); get it again") from error


def is_object_based(path: str | Path) -> bool:
    """Whether it is a TF2 checkpoint, such as the weights of a run, and not one of named variables."""
    return "_CHECKPOINTABLE_OBJECT_GRAPH" in checkpoint_reader(path).get_variable_to_shape_map()


def plan(
    variables: list[tf.Variable],
    checkpoint: str | Path,
    tf1_name: Callable[[str], str | None],
    may_reinitialise: str = CLASS_PREDICTORS,
) -> RestorePlan:
    """Plans the restoring of a TF1-named checkpoint, such as the model zoo's.

    Args:
        variables: all variables of the model.
        checkpoint: its prefix (the path without .index).
        tf1_name: from a variable's name to its name in the checkpoint.
        may_reinitialise: regular expression (full match) of the names that may keep their initial values.

    Raises:
        UserError: some other variable cannot be restored: it is a checkpoint of another model.
    """
    shapes = {
        name: shape
        for name, shape in checkpoint_reader(checkpoint).get_variable_to_shape_map().items()
        if not re.search(r"(^|/)(global_step|Adam|Adam_1|Momentum|RMSProp|RMSProp_1)$", name)
    }
    restored, reinitialised, used = [], [], set()
    for variable in variables:
        name = tf1_name(variable.name) or variable.name
        averaged = f"{name}/ExponentialMovingAverage"
        source = averaged if averaged in shapes else name
        shape = variable.shape.as_list()
        if source not in shapes:
            reinitialised.append((name, "not in the checkpoint"))
        elif shapes[source] != shape:
            reinitialised.append((name, f"shape {shape}, in the checkpoint {shapes[source]}"))
        else:
            restored.append((variable, source))
        used |= {name, averaged}
    stray = [(name, why) for name, why in reinitialised if not re.fullmatch(may_reinitialise, name)]
    if stray:
        name, why = stray[0]
        raise UserError(
            f"{checkpoint}: a checkpoint of another model: {len(stray)} of {len(variables)} variables cannot be "
            f"restored, such as {name} ({why})"
        )
    share = sum(v.shape.num_elements() for v, _ in restored) / sum(v.shape.num_elements() for v in variables)
    return RestorePlan(restored, reinitialised, sorted(set(shapes) - used), share)


def restore(planned: RestorePlan, checkpoint: str | Path) -> None:
    """Carries a plan out. Raises UserError as `read` does."""
    values = read(checkpoint, [name for _, name in planned.restored])
    for (variable, _), value in zip(planned.restored, values, strict=True):
        variable.assign(value)


def read(checkpoint: str | Path, names: Iterable[str]) -> Iterator[np.ndarray]:
    """Values of a checkpoint, in the order of `names`. Raises UserError where one is torn, or not finite."""
    reader = checkpoint_reader(checkpoint)
    for name in names:
        try:
            value = reader.get_tensor(name)
        except UNREADABLE as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{checkpoint}: {name} cannot be read ({reason}); get the checkpoint again") from error
        if not np.all(np.isfinite(value)):
            raise UserError(f"{checkpoint}: {name} holds values that are not finite; get the checkpoint again")
        yield value


def save_tf1(variables: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes variables as a checkpoint under the given names, the form that `plan` reads."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
