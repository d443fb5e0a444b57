"""Validation inside a run: COCO's metrics of the weights as they are, and pictures of what they find."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from detect_faces import Faces, UserError, detections_file
from detect_faces.draw import draw
from evaluation.coco import coco_metrics
from evaluation.matching import not_counted
from tools import contact_sheet, formats
from tools.annotations import AnnotatedImage
from tools.report import Report
from training.detect import find_faces
from training.od_api.modes import BatchDetector

PICTURE_SIDE = 480  # pixels
GAP = 8
SHOWN_FROM = 0.3  # score of the boxes in pictures


class Validation:
    """The validation images of a run, and a model to find faces in them, as often as asked.

        validate = Validation("data/records/sample/validation", model, pictures=8)
        metrics = validate()  # {"AP": 0.41, ..., "images": 15, "seconds": 0.6}
        tf.summary.image("validation", validate.pictures(), max_outputs=8)

    Attributes:
        images: those that are evaluated; bad ones leave it at the first call.
    """

    def __init__(
        self,
        records: str | Path,
        model,
        *,
        by_means: bool = False,
        pictures: int = 8,
        report: Report | None = None,
    ):
        """Reads the annotations and traces the model, of which nothing is changed, here or later.

        Args:
            records: folder, file, glob or prefix@N.
            model: a DetectionModel, built for training or not; its weights are used as they are at each call.
            by_means: how images are resized, see trainer_settings.by_means.
            pictures: how many images to show, evenly from the first to the last.
            report: takes bad records and images, each once.

        Raises:
            UserError: there is no record there.
        """
        self._records, self._report = records, report or Report()
        self.images = list(formats.find("tfrecord").load(records, None, None, self._report))
        self._need_images()
        self._detector = BatchDetector(model, by_means=by_means)
        chosen = np.unique(np.linspace(0, len(self.images) - 1, min(pictures, len(self.images))).round().astype(int))
        self._shown = [self.images[index].name for index in chosen]
        self._thumbnails: dict[str, Image.Image] = {}
        self._found: dict[str, Faces] = {}  # of the images that are shown, at the last call

    def __call__(self, detections: str | Path | None = None) -> dict[str, float | int | None]:
        """Evaluates the model's weights on all images.

        Args:
            detections: a detections file (.jsonl) to write, for evaluation.evaluate.

        Returns:
            the figures of evaluation.coco, each None where there is no such face; the number of `images` and of `faces`
            that count; and the `seconds` it took.

        Raises:
            UserError: not one image can be decoded.
        """
        start = time.monotonic()
        lines = list(find_faces(self._detector, self.images))
        for line in lines:
            if line.error is not None:
                self._report.problem(line.image, line.error)
        if detections is not None:
            detections_file.write(detections, lines)
        good = [index for index, line in enumerate(lines) if line.error is None]
        self.images = [self.images[index] for index in good]
        self._need_images()
        faces = [lines[index].faces for index in good]
        self._found = {
            image.name: found for image, found in zip(self.images, faces, strict=True) if image.name in self._shown
        }
        return {
            **coco_metrics(self.images, faces),
            "images": len(self.images),
            "faces": sum(int((~not_counted(image)).sum()) for image in self.images),
            "seconds": time.monotonic() - start,
        }

    def pictures(self) -> np.ndarray:
        """The chosen images at the last call: annotated on the left, with what was found on the right.

        True boxes are green, those that don't count grey and dashed; found ones, from a score of SHOWN_FROM on, carry
        their score.

        Returns:
            (N, PICTURE_SIDE, 2 * PICTURE_SIDE + GAP, 3) uint8 RGB; N is 0 before the first call.
        """
        shown = [image for image in self.images if image.name in self._found]
        pictures = [_picture(image, self._thumbnail(image), self._found[image.name]) for image in shown]
        return np.stack(pictures) if pictures else np.zeros((0, PICTURE_SIDE, 2 * PICTURE_SIDE + GAP, 3), np.uint8)

    def _thumbnail(self, image: AnnotatedImage) -> Image.Image:
        if image.name not in self._thumbnails:
            self._thumbnails[image.name] = contact_sheet.thumbnail(image.source, PICTURE_SIDE)
        return self._thumbnails[image.name]

    def _need_images(self) -> None:
        if not self.images:
            raise UserError(f"{self._records}: not one good image to validate on; `make verify` says what is wrong")


def _picture(image: AnnotatedImage, thumbnail: Image.Image, found: Faces) -> np.ndarray:
    grey = dataclasses.replace(image, flags={"ignore": not_counted(image)})
    scale = np.array([thumbnail.width / image.width, thumbnail.height / image.height] * 2)
    found = found.at_least(SHOWN_FROM)
    bgr = np.ascontiguousarray(np.asarray(thumbnail)[..., ::-1])
    panels = (
        np.asarray(contact_sheet.with_boxes(thumbnail, grey)),
        draw(bgr, Faces(found.xyxy * scale, found.scores))[..., ::-1],
    )
    return _beside(panels)


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Two pictures on white, each in the middle of its square."""
    whole = np.full((PICTURE_SIDE, 2 * PICTURE_SIDE + GAP, 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        height, width = panel.shape[:2]
        top = (PICTURE_SIDE - height) // 2
        left = number * (PICTURE_SIDE + GAP) + (PICTURE_SIDE - width) // 2
        whole[top : top + height, left : left + width] = panel
    return whole
