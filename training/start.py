"""The model of a run, and where its weights start."""

import argparse
import sys

import tensorflow as tf

from training import restore, run_folder
from training.od_api import model as detection_model
from training.od_api import tf1_names


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `build` reads."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        type=lambda text: None if text == "none" else text,
        help="prefix to start from: the zoo's, a run's, or `none`",
    )


def build(config, options: argparse.Namespace, *, seed: int, continued: bool):
    """Builds the model of a pipeline config and gives it its start values; says which.

    Args:
        config: a TrainEvalPipelineConfig.
        options: with those of `add_options`.
        seed: of the initial values.
        continued: whether the state of training will be restored afterwards, so that no checkpoint is needed.

    Raises:
        UserError: there is no whole checkpoint, or it is one of another model.
    """
    start = None if continued else options.checkpoint
    naming = tf1_names.naming(config) if start and not restore.is_object_based(start) else None
    tf.keras.utils.set_random_seed(seed)
    model = detection_model.build(config, training=True)
    if naming:
        planned = restore.plan(model.variables, start, naming)
        restore.restore(planned, start)
        say(planned)
    elif start:
        run_folder.restore_weights(start, model)
        say(f"restored all {len(model.variables)} variables from {start}")
    elif not options.checkpoint:
        say("every variable starts from random values, as --checkpoint none asks")
    return model


def say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)
