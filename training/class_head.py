"""Heads of other classes: which columns of a checkpoint's class and box predictors a model's own start from.

The layouts are the OD API's. A class predictor's last axis is (anchors, slots): the background, then the classes. A
second stage's box predictor has (classes, 4), without the background.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from detect_faces.errors import UserError
from training.restore_plan import Stored

# In the names of the TF1 zoo and of Keras. Region proposals (FirstStageBoxPredictor) have no classes.
_CLASS_HEAD = re.compile(r"(?!FirstStage).*/ClassPredictor(_dense)?/((pointwise_)?(weights|kernel)|bias(es)?)")
_BOX_HEAD = re.compile(r"(SecondStageBoxPredictor|.*mask_rcnn_box_head(_\d+)?)/BoxEncodingPredictor(_dense)?/\w+")


@dataclass(frozen=True)
class Heads:
    """The heads of a model.

    Attributes:
        classes: without the background.
        background: whether a class predictor has a slot for the background.
        background_learns: whether that slot means something: with encode_background_as_zeros its target is always 0, so
            that it starts from its low initial bias. (From COCO's background the sample set's first steps had a
            classification loss of 275 under focal loss, in place of 1.2.)
        boxes_shared: whether all classes have one box (share_box_across_classes).
    """

    classes: int
    background: bool = True
    background_learns: bool = True
    boxes_shared: bool = False

    @classmethod
    def of(cls, pipeline) -> "Heads":
        """Those of a TrainEvalPipelineConfig's model."""
        if pipeline.model.WhichOneof("model") != "ssd":
            predictor = pipeline.model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor
            return cls(pipeline.model.faster_rcnn.num_classes, boxes_shared=predictor.share_box_across_classes)
        ssd = pipeline.model.ssd
        return cls(ssd.num_classes, ssd.add_background_class, not ssd.encode_background_as_zeros)

    def shape(self, name: str, shape: list[int], classes: int) -> list[int] | None:
        """The shape that a variable of this model would have with other `classes`, None where it is of no head."""
        if _CLASS_HEAD.fullmatch(name):
            return [*shape[:-1], shape[-1] // (self.classes + self.background) * (classes + self.background)]
        if _BOX_HEAD.fullmatch(name):
            return shape if self.boxes_shared else [*shape[:-1], shape[-1] // self.classes * classes]
        return None

    def one_box_there(self, name: str, shape: list[int], there: list[int]) -> bool:
        """Whether this is the box predictor of all classes in the checkpoint, and so that of this model's only one."""
        return bool(_BOX_HEAD.fullmatch(name)) and self.classes == 1 and there == shape

    def columns(
        self, name: str, shape: list[int], there: list[int], classes: int, number: int
    ) -> list[int | None] | None:
        """Where the last axis of a variable starts from, if each of the model's classes starts from one of `classes`.

        Args:
            name: of the variable.
            shape: of the variable in this model.
            there: its shape in the checkpoint.
            classes: in the checkpoint, without the background.
            number: of the class there; 1 is the first.

        Returns:
            for each entry of the axis the one in the checkpoint, or None for its initial value; None in place of the
            list where the variable is of no head, or its boxes are those of all classes.

        >>> Heads(1).columns("BoxPredictor_0/ClassPredictor/biases", [4], [182], 90, 3)
        [0, 3, 91, 94]
        """
        if _CLASS_HEAD.fullmatch(name):
            slots = classes + self.background
            wanted = [number - 1 + self.background] * self.classes
            anchors = shape[-1] // (self.classes + self.background)
            return [
                column
                for anchor in range(anchors)
                for column in [
                    *([anchor * slots if self.background_learns else None] if self.background else []),
                    *(anchor * slots + slot for slot in wanted),
                ]
            ]
        if _BOX_HEAD.fullmatch(name) and not (self.boxes_shared or self.one_box_there(name, shape, there)):
            code = shape[-1] // self.classes
            return [(number - 1) * code + part for _ in range(self.classes) for part in range(code)]
        return None

    def classes_of(self, shapes: Mapping[str, list[int]], stored: Mapping[str, Stored]) -> int:
        """The number of classes, without the background, of the checkpoint whose values are `stored`.

        Args:
            shapes: of the variables of this model, by name.
            stored: of the checkpoint, by name.

        Raises:
            UserError: its heads are not like the model's but for the number of classes.
        """
        heads = {name: stored[name].shape for name in shapes if name in stored and self.shape(name, shapes[name], 1)}
        for name, there in heads.items():
            if _CLASS_HEAD.fullmatch(name):
                anchors = shapes[name][-1] // (self.classes + self.background)
                classes = there[-1] // anchors - self.background
                break
        else:
            raise UserError("--class-from: the checkpoint has no class predictor that the model has, too")
        for name, there in heads.items():
            if there != self.shape(name, shapes[name], classes) and not self.one_box_there(name, shapes[name], there):
                raise UserError(
                    f"--class-from: {name} is {there} in the checkpoint and {shapes[name]} in the model, which are not "
                    f"the same anchors with {classes} and {self.classes} classes"
                )
        return classes
