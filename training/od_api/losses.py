"""The OD API's losses, as sums that add up over batches and devices to those of one large batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

import tensorflow as tf
from object_detection import model_lib, model_lib_v2
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch


@dataclass(frozen=True)
class LossSums:
    """Losses before they are divided by what they are a mean over.

    Attributes:
        sums: by short name: localization, classification, ... ; scalars.
        count: what to divide them by: of one-stage models the number of matched anchors, of two-stage models the
            number of images; 0 where the config asks for sums.
    """

    sums: dict[str, tf.Tensor]
    count: tf.Tensor


def loss_sums(model: DetectionModel, features: Mapping, labels: Mapping, *, padded: bool = False) -> LossSums:
    """The losses of a batch of `inputs.training_batches`.

    With `padded` the boxes keep their padding, so that all shapes are known beforehand; its weights have to be 0.
    """
    labels = model_lib.unstack_batch(labels, unpad_groundtruth_tensors=not padded)

    def by_name() -> dict[str, tf.Tensor]:
        found, _ = model_lib_v2._compute_losses_and_predictions_dicts(
            model, features, labels, training_step=0, add_regularization_loss=False
        )
        del found["Loss/total_loss"]
        return {_short(name): tf.cast(value, tf.float32) for name, value in found.items()}

    if not isinstance(model, SSDMetaArch):  # a two-stage model gives means over the images
        images = tf.cast(tf.shape(features[Fields.image])[0], tf.float32)
        return LossSums({name: loss * images for name, loss in by_name().items()}, images)
    if not model._normalize_loss_by_num_matches:
        return LossSums(by_name(), tf.constant(0.0))
    matched = []
    assign = model._assign_targets

    def assign_and_count(*arguments):
        targets = assign(*arguments)
        matched.append(tf.reduce_sum(targets[3]))  # of each anchor's box: the weight of the face it is matched to
        return targets

    with (
        mock.patch.object(model, "_normalize_loss_by_num_matches", False),
        mock.patch.object(model, "_assign_targets", assign_and_count),
    ):
        sums = by_name()
    return LossSums(sums, matched[0])


def regularization(model: DetectionModel) -> tf.Tensor:
    """The sum of the weights' penalties, a scalar."""
    penalties = [tf.cast(penalty, tf.float32) for penalty in model.regularization_losses()]
    return tf.add_n(penalties) if penalties else tf.constant(0.0)


def _short(name: str) -> str:
    """ "Loss/BoxClassifierLoss/localization_loss" is BoxClassifierLoss/localization."""
    return name.removeprefix("Loss/").removesuffix("_loss")
