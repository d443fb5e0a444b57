"""Settings of a pipeline config that train without an error and cost accuracy: the traps that were stepped into before.

Each yields the field, as tools.text_proto names it, and what happens and what to do.
"""

from collections.abc import Iterator

from google.protobuf.message import Message
from object_detection.protos.pipeline_pb2 import TrainEvalPipelineConfig

from training.od_api import pipeline, trainer_settings, unread_fields

Fault = tuple[str, str]

_CROWD = 100  # boxes: the OD API's default where crowds are cut off
# Share of the start's batch norm statistics that is too much at the end of training: as they are used, and where they
# are measured anew before evaluation and export.
_REMAINS, _REMAINS_UNUSED = 0.05, 0.5
_LOW_SCORE = 0.05  # a threshold above it cuts into average precision


def traps(config: TrainEvalPipelineConfig) -> Iterator[Fault]:
    """The traps of a config whose model is ssd or faster_rcnn."""
    architecture = pipeline.meta_architecture(config)
    prefix, model = f"model.{architecture}", pipeline.meta_config(config)
    if architecture == "ssd":
        yield from _backbone(f"{prefix}.feature_extractor", model.feature_extractor)
        yield from _focal_loss(prefix, model)
        yield from _mining(f"{prefix}.loss.hard_example_miner", model.loss)
        measured = trainer_settings.settings(config).batch_norm_batches > 0
        limit = _REMAINS_UNUSED if measured else _REMAINS
        yield from _batch_norm_decay(prefix, model, config.train_config.num_steps, limit)
    yield from _image_sizes(f"{prefix}.image_resizer", model.image_resizer, config.train_config.batch_size)
    yield from _crowds(prefix, architecture, model)
    yield from _number_of_boxes(config)
    yield from _schedule(config.train_config)
    yield from _augmentation(config.train_config)
    yield from _not_done(config)


def _backbone(field: str, extractor: Message) -> Iterator[Fault]:
    # EfficientNet's takes nothing but the weight decay from there, and its batch norm isn't slow.
    if not extractor.override_base_feature_extractor_hyperparams and "efficientnet" not in extractor.type:
        yield (
            f"{field}.override_base_feature_extractor_hyperparams",
            "is not true, so that conv_hyperparams do not reach the backbone: no regularizer, and batch norm keeps the "
            "statistics it starts with (decay 0.9997 in MobileNet) for thousands of steps; set it to true",
        )


def _focal_loss(prefix: str, ssd: Message) -> Iterator[Fault]:
    focal = ssd.loss.classification_loss.HasField("weighted_sigmoid_focal")
    if focal and not ssd.encode_background_as_zeros:
        yield (
            f"{prefix}.loss.classification_loss.weighted_sigmoid_focal",
            "without encode_background_as_zeros: true every negative trains a background column with target 1, and the "
            "loss is some hundreds of times too large; set it in ssd",
        )


def _mining(field: str, loss: Message) -> Iterator[Fault]:
    miner = loss.hard_example_miner
    if loss.HasField("hard_example_miner") and miner.max_negatives_per_positive and not miner.min_negatives_per_image:
        yield (
            f"{field}.max_negatives_per_positive",
            "without min_negatives_per_image no negative of an image without faces is mined, so that such images teach "
            "nothing; set min_negatives_per_image to 3, say",
        )


def _batch_norm_decay(prefix: str, ssd: Message, steps: int, limit: float) -> Iterator[Fault]:
    predictor = ssd.box_predictor.WhichOneof("box_predictor_oneof")
    places = {"feature_extractor": ssd.feature_extractor}
    if predictor:
        places[f"box_predictor.{predictor}"] = getattr(ssd.box_predictor, predictor)
    for name, message in places.items():
        if "conv_hyperparams" not in message.DESCRIPTOR.fields_by_name:
            continue
        hyperparams = message.conv_hyperparams
        norm = hyperparams.batch_norm
        if not hyperparams.HasField("batch_norm") or not norm.train or ssd.freeze_batchnorm or not steps:
            continue
        if (left := norm.decay**steps) > limit:
            yield (
                f"{prefix}.{name}.conv_hyperparams.batch_norm.decay",
                f"is {norm.decay:g}: after {steps} steps {left:.0%} of batch norm's statistics still come from the "
                f"start; give {_long_enough(steps):g} or less, or train longer",
            )


def _long_enough(steps: int) -> float:
    """The slowest of the usual decays that leaves little of the start after so many steps."""
    usual = (0.9997, 0.999, 0.997, 0.99, 0.97, 0.95, 0.9)
    return next((decay for decay in usual if decay**steps <= _REMAINS), usual[-1])


def _image_sizes(field: str, resizer: Message, batch_size: int) -> Iterator[Fault]:
    keeps = resizer.HasField("keep_aspect_ratio_resizer")
    if batch_size > 1 and keeps and not resizer.keep_aspect_ratio_resizer.pad_to_max_dimension:
        yield (
            f"{field}.keep_aspect_ratio_resizer",
            f"gives images of different sizes, which cannot form a batch of {batch_size}; set "
            "pad_to_max_dimension: true, or train_config.batch_size: 1",
        )


def _crowds(prefix: str, architecture: str, model: Message) -> Iterator[Fault]:
    stage = "post_processing" if architecture == "ssd" else "second_stage_post_processing"
    suppression = getattr(model, stage).batch_non_max_suppression
    field = f"{prefix}.{stage}.batch_non_max_suppression"
    for name in ("max_detections_per_class", "max_total_detections"):
        if (limit := getattr(suppression, name)) <= _CROWD:
            yield f"{field}.{name}", f"is {limit}: of a crowd, the other faces are not reported; 400 finds them"
    if suppression.score_threshold > _LOW_SCORE:
        yield (
            f"{field}.score_threshold",
            f"is {suppression.score_threshold:g}: detections below it are lost to average precision; give 0.01, and "
            "choose the score where the detector is used",
        )
    if architecture == "faster_rcnn" and model.first_stage_max_proposals <= _CROWD:
        reason = f"is {model.first_stage_max_proposals}: no more faces than that can be found; 300 finds crowds"
        yield f"{prefix}.first_stage_max_proposals", reason


def _number_of_boxes(config: TrainEvalPipelineConfig) -> Iterator[Fault]:
    limit = config.train_input_reader.max_number_of_boxes
    if limit <= _CROWD:
        yield (
            "train_input_reader.max_number_of_boxes",
            f"is {limit}: the faces beyond it are trained as background; WIDER FACE has 1,968 in one image: give 2000",
        )
    if config.train_config.HasField("max_number_of_boxes") and config.train_config.max_number_of_boxes != limit:
        reason = f"is read nowhere: what counts is train_input_reader.max_number_of_boxes, {limit}"
        yield "train_config.max_number_of_boxes", reason


def _schedule(train: Message) -> Iterator[Fault]:
    name = train.optimizer.WhichOneof("optimizer")
    rate = getattr(train.optimizer, name).learning_rate
    if rate.WhichOneof("learning_rate") == "cosine_decay_learning_rate":
        total = rate.cosine_decay_learning_rate.total_steps
        if total < train.num_steps:
            yield (
                f"train_config.optimizer.{name}.learning_rate.cosine_decay_learning_rate.total_steps",
                f"is {total}, and num_steps {train.num_steps}: the learning rate is 0 from step {total} on; give both "
                "the same",
            )


def _augmentation(train: Message) -> Iterator[Fault]:
    for index, step in enumerate(train.data_augmentation_options):
        if step.WhichOneof("preprocessing_step") == "random_square_crop_by_scale":
            yield (
                f"train_config.data_augmentation_options[{index}].random_square_crop_by_scale",
                "keeps the boxes of faces that the crop merely touches; [face_detector.trainer] { face_crop {} } "
                "doesn't",
            )


def _not_done(config: TrainEvalPipelineConfig) -> Iterator[Fault]:
    """Fields that change what is trained in the OD API's own loop, and nothing here."""
    train = config.train_config
    if train.bias_grad_multiplier:
        yield "train_config.bias_grad_multiplier", "has no effect here"
    if not train.add_regularization_loss:
        yield "train_config.add_regularization_loss", "has no effect here: regularizers count; give them a weight of 0"
    if config.HasField("graph_rewriter"):
        yield "graph_rewriter", "has no effect here: nothing is trained for 8 bit"
    yield from unread_fields.unread(config)
