"""The model of a run, and where its weights start: the plan is shown, and refused if it leaves something open.

    --checkpoint checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt --class-from person
    --checkpoint runs/mine/best/ckpt-300 --reinitialise '.*/ClassPredictor/.*'
    --checkpoint imagenet/model.ckpt --map 'MobilenetV2/=FeatureExtractor/MobilenetV2/' --reinitialise '(?!FeatureEx).*'

Two kinds of checkpoints will do: with the names of the TF1 model zoo, and TF2's, such as those of a run. In the first
the variables are known by the zoo's names, in the second by Keras's.
"""

import argparse
import re
from functools import partial
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import UserError
from training import restore
from training.checkpoint import PRETRAINED
from training.class_head import Heads
from training.console import say
from training.od_api import class_names, tf1_names
from training.od_api import model as detection_model
from training.od_api.trainer_settings import settings
from training.restore_plan import RestorePlan


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `build` reads."""
    group = parser.add_argument_group(
        "where the weights start",
        "A table says what is restored. Whatever is not has to be named by --class-from or --reinitialise. Names are "
        "those of the checkpoint: the zoo's (FeatureExtractor/MobilenetV2/Conv/weights), or in a run's Keras's "
        "(Conv1/kernel). Without any of --class-from, --reinitialise and --map the config's [face_detector.trainer] "
        "{ start {} } counts, where it has one for this checkpoint.",
    )
    group.add_argument(
        "--checkpoint",
        required=True,
        type=lambda text: None if text == "none" else text,
        help="prefix to start from: the zoo's, a run's (runs/NAME/best/ckpt-N), or `none` for random values",
    )
    group.add_argument(
        "--class-from",
        metavar="CLASS",
        help="the heads start from the columns of this class in the checkpoint's: a number, or a name of --class-names",
    )
    group.add_argument(
        "--class-names",
        type=Path,
        metavar="LABEL_MAP",
        help="the label map of the checkpoint's classes [for those of `make checkpoint`, "
        + "; ".join(f"{name}: {', '.join(model.class_ids)}" for name, model in PRETRAINED.items())
        + "]",
    )
    group.add_argument(
        "--reinitialise",
        type=_pattern,
        action="append",
        default=[],
        metavar="REGEX",
        help="variables whose whole name fits may start from their initial values where nothing can be restored; "
        "repeatable",
    )
    group.add_argument(
        "--map",
        type=_map,
        action="append",
        default=[],
        metavar="REGEX=REPLACEMENT",
        help="a name in the checkpoint that begins with REGEX (a plain prefix will do) gets that beginning replaced, "
        "before it is looked up: 'MobilenetV2/=FeatureExtractor/MobilenetV2/'; repeatable, the first that fits counts",
    )


def build(
    config, options: argparse.Namespace, *, seed: int, continued: bool
) -> tuple[detection_model.DetectionModel, RestorePlan | None]:
    """Builds the model of a pipeline config and gives it its start values; says which, and returns both.

    Args:
        config: a TrainEvalPipelineConfig.
        options: with those of `add_options`.
        seed: of the initial values.
        continued: whether the state of training will be restored afterwards, so that no checkpoint is needed.

    Raises:
        UserError: there is no whole checkpoint, it does not suffice for the model, or an option fits nothing.
    """
    checkpoint = None if continued else options.checkpoint
    if checkpoint and not restore.is_object_based(checkpoint):
        tf1_names.check(config)
    elif not options.checkpoint:
        for name in ("class-from", "reinitialise", "map"):
            if getattr(options, name.replace("-", "_")):
                raise UserError(f"--{name} says what to take of a checkpoint, and --checkpoint none is without one")
    tf.keras.utils.set_random_seed(seed)
    model = detection_model.build(config, training=True)
    planned = None
    if checkpoint:
        planned = plan(config, model, options)
        say(planned)
        restore.restore(planned)
    elif not continued:
        say("every variable starts from random values, as --checkpoint none asks")
    return model, planned


def plan(config, model: detection_model.DetectionModel, options: argparse.Namespace) -> RestorePlan:
    """What `options.checkpoint` gives to a model. Raises UserError where one of the options fits nothing."""
    options = _completed(options, config)
    checkpoint = options.checkpoint
    if restore.is_object_based(checkpoint):
        stored, names = restore.by_place(checkpoint, model, options.map), {}
    else:
        stored, names = restore.by_name(checkpoint, options.map), tf1_names.naming(config, model)
    variables = {names.get(v.name, v.name.removesuffix(":0")): v for v in model.variables}
    columns, class_name = None, ""
    if options.class_from:
        heads = Heads.of(config)
        shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
        classes = heads.classes_of(shapes, stored)
        number = _class_number(options, classes)
        columns = partial(heads.columns, classes=classes, number=number)
        class_name = f"of class {number} ({options.class_from})"
        if not heads.background_learns:
            class_name += "; the background's keep their initial values"
    return restore.plan(variables, checkpoint, stored, options.reinitialise, columns, class_name)


def _completed(options: argparse.Namespace, config) -> argparse.Namespace:
    """The options; where they don't say what to take of the checkpoint, with what the config says of it."""
    if options.class_from or options.reinitialise or options.map:
        return options
    name = Path(options.checkpoint).parent.name
    for said in settings(config).start:
        if said.checkpoint == name:
            more = {"class_from": said.class_from, "reinitialise": list(said.reinitialise)}
            return argparse.Namespace(**vars(options) | more)
    return options


def _class_number(options: argparse.Namespace, classes: int) -> int:
    """The number, from 1, of --class-from among the classes of the checkpoint."""
    name = options.class_from
    if name.isdigit():
        number = int(name)
    else:
        known = PRETRAINED.get(Path(options.checkpoint).parent.name)
        if options.class_names:
            numbers = class_names.ids(options.class_names)
        else:
            numbers = known.class_ids if known and known.classes == classes + 1 else {}
        if name not in numbers:
            raise UserError(
                f"--class-from {name}: {options.class_names or options.checkpoint} does not say which class that is; "
                f"give its number, 1 to {classes}, or --class-names, the checkpoint's label map"
            )
        number = numbers[name]
    if not 1 <= number <= classes:
        raise UserError(f"--class-from {name}: the checkpoint has the classes 1 to {classes}, not {number}")
    return number


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from error
    return text


def _map(text: str) -> tuple[str, str]:
    pattern, sign, replacement = text.rpartition("=")
    if not sign or not pattern:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form REGEX=REPLACEMENT")
    try:
        re.compile(pattern).sub(replacement, "")
    except (re.error, IndexError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: not a regular expression and its replacement ({error})") from error
    return pattern, replacement
