"""Which variables train: all but those a config freezes; while the head warms up, those of the predictors only."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import tensorflow as tf

from detect_faces.errors import UserError
from training.od_api import model as detection_model
from training.od_api import tf1_names as naming

# In the Keras names of the OD API's predictors: SSD's, those shared between layers, and both stages' of Faster R-CNN.
_PREDICTORS = re.compile(r"BoxPredictor|RPN(Conv|BatchNorm)|FirstStage.*Predictor|mask_rcnn_\w+_head")


def trained(
    model,
    *,
    only: Sequence[str] = (),
    frozen: Sequence[str] = (),
    tf1_names: Mapping[str, str] = MappingProxyType({}),
) -> list[tf.Variable]:
    """The variables to train.

    Args:
        model: the detection model.
        only, frozen: regular expressions that match anywhere in a variable's name, its Keras name or its TF1 name: the
            config's `update_trainable_variables` (where there are any, no other is trained) and `freeze_variables`.
        tf1_names: {name: TF1 name} of the variables that have one.

    Raises:
        UserError: a pattern is not a regular expression or matches nothing, or nothing is left to train.
    """
    chosen = {variable.ref(): True for variable in model.trainable_variables}
    names = {
        variable.ref(): (variable.name, tf1_names.get(variable.name, "")) for variable in model.trainable_variables
    }
    if only:
        chosen = {ref: _matches(only, "update_trainable_variables", names)[ref] for ref in chosen}
    if frozen:
        matched = _matches(frozen, "freeze_variables", names)
        chosen = {ref: wanted and not matched[ref] for ref, wanted in chosen.items()}
    if not any(chosen.values()):
        raise UserError("train_config: freeze_variables and update_trainable_variables leave nothing to train")
    return [variable for variable in model.trainable_variables if chosen[variable.ref()]]


def trained_by(config, model) -> list[tf.Variable]:
    """The variables to train, as a pipeline config says. Raises UserError as `trained` does."""
    only, frozen = config.train_config.update_trainable_variables, config.train_config.freeze_variables
    names = naming.naming(config, model) if (only or frozen) and naming.known(config) else {}
    return trained(model, only=only, frozen=frozen, tf1_names=names)


def head(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Of these, the predictors'. Raises UserError where there is none."""
    chosen = [variable for variable in variables if _PREDICTORS.search(variable.name)]
    if not chosen:
        raise UserError("trainer.head_only_steps: the predictors are frozen; nothing would be trained in these steps")
    return chosen


class BatchNormModes:
    """Batch norm that follows what is trained: a layer whose weights are frozen keeps its statistics, too."""

    def __init__(self, model):
        self._layers = detection_model.trained_batch_norm_layers(model)

    def follow(self, variables: Sequence[tf.Variable]) -> int:
        """For what is traced from here on. Returns the number of layers that normalise by the batch."""
        refs = {variable.ref() for variable in variables}
        trains = [any(own.ref() in refs for own in layer.trainable_weights) for layer in self._layers]
        for layer, wanted in zip(self._layers, trains, strict=True):
            detection_model.set_batch_norm_training(layer, wanted)
        return sum(trains)


def _matches(patterns: Sequence[str], field: str, names: dict) -> dict:
    found = dict.fromkeys(names, False)
    for pattern in patterns:
        try:
            hits = [ref for ref, both in names.items() if any(re.search(pattern, name) for name in both)]
        except re.error as error:
            raise UserError(f"train_config.{field}: {pattern!r} is not a regular expression ({error})") from error
        if not hits:
            some = next(iter(names.values()))[0]
            raise UserError(f"train_config.{field}: {pattern!r} matches no variable; they are named like {some}")
        found |= dict.fromkeys(hits, True)
    return found
