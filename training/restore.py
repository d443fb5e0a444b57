"""Starting weights: which variable of a model comes from where in a checkpoint, said before any is used."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from detect_faces.errors import UserError
from training.restore_plan import Part, RestorePlan, Stored

# What TensorFlow raises for a damaged checkpoint; IndexError for a data file that is too short.
UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


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
    return _OBJECT_GRAPH in checkpoint_reader(path).get_variable_to_shape_map()


# ---- What a checkpoint holds, by name --------------------------------------------------------------------------------

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OPTIMIZER = re.compile(r"(.*/)?(global_step|Adam|Adam_1|Momentum|RMSProp|RMSProp_1)")
_AVERAGE = "/ExponentialMovingAverage"
# Layers without a name of their own: Keras counts them from the first that the process made.
_NUMBERED = re.compile(
    r"(.*/)?(conv2d|depthwise_conv2d|separable_conv2d|dense|batch_normalization|freezable_batch_norm)(_\d+)?"
)

Maps = Sequence[tuple[str, str]]  # (pattern, replacement)


def by_name(checkpoint: str | Path, maps: Maps = ()) -> dict[str, Stored]:
    """The values of a TF1 checkpoint, without what an optimizer left. Moving averages stand in for what they average.

    Args:
        checkpoint: its prefix.
        maps: (pattern, replacement): a name that begins with the regular expression gets that beginning replaced; the
            first that fits counts.

    Raises:
        UserError: a pattern fits no name, or two names become the same.
    """
    shapes = checkpoint_reader(checkpoint).get_variable_to_shape_map()
    names = {}
    for key in sorted(shapes):  # an average comes behind what it averages
        if not _OPTIMIZER.fullmatch(key):
            names[key.removesuffix(_AVERAGE)] = Stored(key, shapes[key])
    return _renamed(checkpoint, names, maps)


def by_place(checkpoint: str | Path, model: tf.Module, maps: Maps = ()) -> dict[str, Stored]:
    """The values of a TF2 checkpoint's `model`, by the names of those variables of `model` that have the same place.

    A place counts only where the layer there has the same name, too. What has no place in the model is known by the
    name that its variable had, renamed as by `by_name`, or where Keras only numbered it, by its key.
    """
    reader = checkpoint_reader(checkpoint)
    prefix = str(checkpoint).removesuffix(".index")
    shapes = reader.get_variable_to_shape_map()
    places = tf.train.CheckpointView(prefix).match(tf.train.Checkpoint(model=model))
    names, others = {}, {}
    for number, node in enumerate(TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH)).nodes):
        for value in node.attributes:
            key = value.checkpoint_key
            if not key.startswith("model/") or key not in shapes:
                continue  # of the optimizer, the weights' average, the step
            variable, stored = places.get(number), Stored(key, shapes[key])
            if isinstance(variable, tf.Variable) and _layer(value.full_name) == _layer(variable.name):
                names[_plain(variable.name)] = stored
            else:
                others[value.full_name] = stored
    for name, stored in list(others.items()):
        if _NUMBERED.fullmatch(name.rpartition("/")[0]) and not _first(name, maps):
            del others[name]
            others[stored.key] = stored
    for name, stored in _renamed(checkpoint, others, maps).items():
        names[stored.key if name in names else name] = stored
    return names


def _plain(variable_name: str) -> str:
    return variable_name.partition(":")[0]


def _layer(variable_name: str) -> str:
    """The name of a variable's layer and its own, without the number that Keras gives to repeated layers."""
    layer, _, leaf = _plain(variable_name).rpartition("/")
    return f"{re.sub(r'_[0-9]+$', '', layer.rpartition('/')[2])}/{leaf}"


def _first(name: str, maps: Maps) -> tuple[str, str] | None:
    return next((pair for pair in maps if re.match(pair[0], name)), None)


def _renamed(checkpoint: str | Path, names: Mapping[str, Stored], maps: Maps) -> dict[str, Stored]:
    renamed: dict[str, Stored] = {}
    fitting = set()
    for name, stored in names.items():
        if pair := _first(name, maps):
            fitting.add(pair)
            name = re.sub(*pair, name, count=1)
        if name in renamed:
            raise UserError(f"{checkpoint}: --map makes {name} of {renamed[name].key} and of {stored.key}")
        renamed[name] = stored
    for pair in maps:
        if pair not in fitting:
            example = min(names, default="nothing")
            raise UserError(f"{checkpoint}: --map {'='.join(pair)} fits no name in it; it has such as {example}")
    return renamed


# ---- The plan and its execution --------------------------------------------------------------------------------------


def plan(
    variables: Mapping[str, tf.Variable],
    checkpoint: str | Path,
    stored: Mapping[str, Stored],
    reinitialise: Sequence[str] = (),
    columns: Callable[[str, list[int], list[int]], list[int | None] | None] | None = None,
    class_name: str = "",
) -> RestorePlan:
    """Plans what a model takes from a checkpoint; `RestorePlan.check` says whether that is enough.

    Args:
        variables: all variables of the model by their names in the checkpoint's naming.
        checkpoint: its prefix (the path without .index).
        stored: what is in it, of `by_name` or `by_place`.
        reinitialise: regular expressions of the whole names that may keep their initial values.
        columns: from the name of a variable, its shape and that of the stored value to the columns that it starts
            from; None where both shapes have to be the same.
        class_name: of the class whose columns they are.

    Raises:
        UserError: one of the patterns fits no variable.
    """
    for pattern in reinitialise:
        if not any(re.fullmatch(pattern, name) for name in variables):
            raise UserError(
                f"--reinitialise {pattern}: fits the whole name of no variable of the model, such as {min(variables)}"
            )
    done = RestorePlan(str(checkpoint), [], [], [], [], dict(stored), class_name)
    for name, variable in sorted(variables.items()):
        there, shape = done.unused.pop(name, None), variable.shape.as_list()
        chosen = columns(name, shape, there.shape) if columns and there else None
        if chosen is not None and (there.shape != shape or chosen != list(range(shape[-1]))):
            done.by_class.append(Part(name, variable, there, chosen))
        elif there and there.shape == shape:
            done.restored.append(Part(name, variable, there))
        elif any(re.fullmatch(pattern, name) for pattern in reinitialise):
            done.reinitialised.append(Part(name, variable, there))
        else:
            done.refused.append(Part(name, variable, there))
    return done


def restore(planned: RestorePlan) -> None:
    """Carries a plan out. Raises UserError as `RestorePlan.check` and `read` do."""
    planned.check()
    parts = planned.restored + planned.by_class
    values = read(planned.checkpoint, [part.stored.key for part in parts])
    for part, value in zip(parts, values, strict=True):
        if part.columns is not None:
            columns = np.array([-1 if column is None else column for column in part.columns])
            value = np.where(columns < 0, part.variable.numpy(), value[..., columns])
        part.variable.assign(value)


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
    """Writes variables as a checkpoint under the given names, the form that `by_name` reads."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
