"""A pipeline's model that takes over the variables of a frozen graph, and how near it then comes to the graph."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from detect_faces.errors import UserError
from export.graph_settings import Settings
from export.graph_variables import Layer
from export.unfold import Unfrozen
from training import restore, run_folder
from training.od_api import model as detection_model
from training.od_api import pipeline as pipeline_config
from training.od_api import tf1_names

# A class predictor of another number of classes cannot be taken over, and starts anew.
_CLASS_PREDICTOR = re.compile(r".*/ClassPredictor(_dense)?/(weights|biases|kernel|bias)")
_SSD_HEAD = re.compile(r"BoxPredictor_(\d+)/(BoxEncodingPredictor|ClassPredictor)")
# TensorFlow 2 runs slim's networks, too: their variables are then found as Keras's are.
_SLIM_LEAVES = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}


class PipelineModel:
    """The model of a pipeline config, in inference mode.

    Attributes:
        config: the TrainEvalPipelineConfig.
        model: the OD API's own.
        anew: names of the variables that `take_over` left at their initial values.
    """

    def __init__(self, pipeline: str):
        self.config = pipeline_config.load(pipeline)
        self.model = detection_model.build(self.config, training=False)
        self._names = checkpoint_names(self.config, self.model)
        self.anew: list[str] = []

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all variables: those of the TF1 model zoo, or Keras names where it has none."""
        return frozenset(self._names.values())

    def named(self, name: str) -> str | None:
        """The name in `known` of a variable that a graph's operations call so; None where there is none."""
        if name in self.known:
            return name
        scope, _, leaf = name.rpartition("/")
        if (slim := f"{scope}/{_SLIM_LEAVES.get(leaf, leaf)}") in self.known:
            return slim
        return next((found for end in _ends(name) if (found := self._by_end.get(end))), None)

    @cached_property
    def _by_end(self) -> dict[str, str]:
        """Names in `known` by the ends of Keras names that only one variable has; scopes differ from build to build."""
        ends = Counter(end for keras in self._names for end in _ends(_plain(keras)))
        return {end: name for keras, name in self._names.items() for end in _ends(_plain(keras)) if ends[end] == 1}

    @cached_property
    def epsilons(self) -> dict[str, float]:
        """Of batch norm, by the scope of its variables."""
        layers = detection_model.batch_norm_layers(self.model)
        return {self._names[layer.moving_mean.name].rpartition("/")[0]: layer.epsilon for layer in layers}

    def check_epsilons(self, layers: list[Layer]) -> None:
        """Raises UserError where a layer's batch norm has another epsilon than the pipeline's."""
        for layer in layers:
            if layer.norm is None:
                continue
            mean = layer.norm.constants[2].name
            ours = self.epsilons.get((self.named(mean) or mean).rpartition("/")[0])
            if ours is not None and not np.isclose(ours, layer.norm.epsilon, rtol=1e-4):
                raise UserError(
                    f"{layer.norm.node} has the epsilon {layer.norm.epsilon:g}, the pipeline {ours:g}: write "
                    f"batch_norm {{ epsilon: {layer.norm.epsilon:g} }} into its conv_hyperparams"
                )

    def take_over(self, checkpoint: str) -> int:
        """Restores all variables from a checkpoint of `unfold`'s; returns how many.

        Raises:
            UserError: a variable is not there or of another shape (and no class predictor's), or one is left over.
        """
        shapes = restore.checkpoint_reader(checkpoint).get_variable_to_shape_map()
        if strange := sorted(shapes.keys() - self.known):
            raise UserError(
                f"the pipeline has no place for {len(strange)} of the graph's {len(shapes)} variables, such as "
                f"{strange[0]}: it is of another network; give another --pipeline"
            )
        names = {name: variable for variable in self.model.variables for name in [self._names[variable.name]]}
        self.anew = []
        for name, variable in names.items():
            if shapes.get(name) != variable.shape.as_list():
                if name not in shapes or not _CLASS_PREDICTOR.fullmatch(name):
                    theirs = f"{shapes[name]} in the graph" if name in shapes else "not in the graph"
                    raise UserError(
                        f"the pipeline's variable {name} {variable.shape.as_list()} is {theirs}: it is of another "
                        "network; give another --pipeline"
                    )
                self.anew.append(name)
        wanted = [name for name in names if name not in self.anew]
        for name, value in zip(wanted, restore.read(checkpoint, wanted), strict=True):
            names[name].assign(value)
        return len(wanted)

    @property
    def settings(self) -> Settings:
        """What there is of the pipeline in the terms of a graph's settings."""
        meta = pipeline_config.meta_config(self.config)
        suppression = getattr(meta, "post_processing", None) or meta.second_stage_post_processing
        suppression = suppression.batch_non_max_suppression
        resizer = meta.image_resizer
        fixed = resizer.fixed_shape_resizer if resizer.HasField("fixed_shape_resizer") else None
        epsilons = {float(np.float32(epsilon)) for epsilon in self.epsilons.values()}
        return Settings(
            size=(fixed.height, fixed.width) if fixed else None,
            iou_threshold=round(suppression.iou_threshold, 7),
            score_threshold=float(f"{suppression.score_threshold:.7g}"),
            max_detections=suppression.max_detections_per_class,
            epsilon=float(f"{epsilons.pop():.7g}") if len(epsilons) == 1 else None,
        )

    def preprocessed(self, photograph: np.ndarray) -> np.ndarray:
        """A photograph (H, W, 3) uint8 RGB as the network gets it, (1, H, W, 3) float32."""
        return self.model.preprocess(tf.cast(photograph[None], tf.float32))[0].numpy()

    def raw(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Box encodings (anchors, 4) and class logits (anchors, classes + 1) of a one-stage model, by these names.

        Args:
            images: (1, H, W, 3) float32, preprocessed.
        """
        found = self.model.predict(tf.constant(images), tf.constant([images.shape[1:]], tf.int32))
        boxes, logits = found["box_encodings"], found["class_predictions_with_background"]
        return {
            "box encodings": boxes.numpy().reshape(-1, boxes.shape[-1]),
            "class logits": logits.numpy().reshape(-1, logits.shape[-1]),
        }

    def detect(self, photograph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """yxyx boxes (N, 4) in 0..1 and scores (N,) in a photograph (H, W, 3) uint8 RGB."""
        boxes, scores = detection_model.detect(self.model, tf.constant(photograph))
        return boxes.numpy(), scores.numpy()

    def save(self, folder: Path) -> None:
        """Writes the model as a run of 0 steps: pipeline.config and last/ckpt-0."""
        run_folder.write_config(folder, pipeline_config.text(self.config))
        run_folder.save_weights(folder / run_folder.LAST, self.model, 0)


def checkpoint_names(config, model: detection_model.DetectionModel) -> dict[str, str]:
    """{name of a variable: its name in a checkpoint}: the TF1 model zoo's, or the Keras name where it has none.

    Args:
        config: the TrainEvalPipelineConfig of `model`.
    """
    try:
        named = tf1_names.naming(config, model)
    except UserError:  # of an architecture that is not known there
        named = {}
    return {variable.name: _plain(variable.name) for variable in model.variables} | named


def raw_heads(unfrozen: Unfrozen, heads: list[Layer]) -> Mapping[str, list[Layer]]:
    """The layers that put out a one-stage model's box encodings and class logits, by these names, in their order."""
    numbered = {"box encodings": {}, "class logits": {}}
    for layer in heads:
        if match := _SSD_HEAD.fullmatch(unfrozen.scopes[layer.node]):
            numbered["box encodings" if match[2].startswith("Box") else "class logits"][int(match[1])] = layer
    return {what: [layers[number] for number in sorted(layers)] for what, layers in numbered.items()}


def _ends(name: str) -> list[str]:
    """A name and what is left of it without its first scopes, down to the layer.

    >>> _ends("extractor/Conv1/kernel")
    ['extractor/Conv1/kernel', 'Conv1/kernel']
    """
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(max(1, len(parts) - 1))]


def _plain(name: str) -> str:
    return name.partition(":")[0]
