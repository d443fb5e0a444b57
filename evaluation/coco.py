"""COCO's metrics of one class, faces: average precision and recall, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect_faces import Detections
from evaluation.matching import not_counted
from tools.annotations import AnnotatedImage

MAX_DETECTIONS = (
    1000  # an image; COCO's own 100 cuts crowds, and every face beyond it is a miss that no detector can mend
)
SIZES = ("all", "small", "medium", "large")  # COCO's: area below 32 x 32 pixels, up to 96 x 96, and above


def coco_metrics(
    images: Sequence[AnnotatedImage], detections: Sequence[Detections], max_detections: int = MAX_DETECTIONS
) -> dict[str, float | None]:
    """COCO's figures for the detections in these images.

    Boxes that are not counted (`ignore`, groups) are COCO's `iscrowd`: not to be found, no mistake when found.

    Args:
        images, detections: the same images in the same order.
        max_detections: of an image the best so many count.

    Returns:
        AP (mean over IoU .50 to .95), AP50, AP75, AP and AR by COCO's sizes, AR. None where there is no such face.
    """
    truth, found = _dataset(images), _dataset(images)
    for image_id, (image, faces) in enumerate(zip(images, detections, strict=True), 1):
        for box, crowd in zip(image.xyxy, not_counted(image), strict=True):
            _add(truth, image_id, box, iscrowd=int(crowd))
        for box, score in zip(faces.xyxy, faces.scores, strict=True):
            _add(found, image_id, box, score=float(score))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(_indexed(truth), _indexed(found), "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    # COCOeval.summarize is not used: it looks up 100 detections whatever maxDets says.
    precision = evaluation.eval["precision"][:, :, 0, :, 0]  # (IoU thresholds, recall thresholds, sizes)
    recall = evaluation.eval["recall"][:, 0, :, 0]  # (IoU thresholds, sizes)
    at_50, at_75 = (int(np.abs(evaluation.params.iouThrs - iou).argmin()) for iou in (0.5, 0.75))
    metrics = {
        "AP": _mean(precision[:, :, 0]),
        "AP50": _mean(precision[at_50, :, 0]),
        "AP75": _mean(precision[at_75, :, 0]),
    }
    metrics |= {f"AP_{size}": _mean(precision[:, :, index]) for index, size in enumerate(SIZES) if index}
    metrics["AR"] = _mean(recall[:, 0])
    metrics |= {f"AR_{size}": _mean(recall[:, index]) for index, size in enumerate(SIZES) if index}
    return metrics


def _dataset(images: Sequence[AnnotatedImage]) -> dict:
    return {
        "images": [{"id": image_id} for image_id in range(1, len(images) + 1)],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [],
    }


def _add(dataset: dict, image_id: int, box: np.ndarray, **more) -> None:
    x_min, y_min, x_max, y_max = box.tolist()
    width, height = x_max - x_min, y_max - y_min
    dataset["annotations"].append(
        {
            "id": len(dataset["annotations"]) + 1,
            "image_id": image_id,
            "category_id": 1,
            "bbox": [x_min, y_min, width, height],
            "area": width * height,
            "iscrowd": 0,
        }
        | more
    )


def _indexed(dataset: dict) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _mean(values: np.ndarray) -> float | None:
    values = values[values > -1]  # pycocotools' mark for: no face of this size
    return float(values.mean()) if values.size else None
