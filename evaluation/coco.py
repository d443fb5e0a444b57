"""COCO's metrics of one class, faces: average precision and recall, by hotcoco.

hotcoco computes what pycocotools does, in a fiftieth of its time: a run validates many times.
"""

from collections.abc import Sequence

import numpy as np
from hotcoco import COCO, COCOeval

from detect_faces import Faces
from evaluation.matching import not_counted
from tools.annotations import AnnotatedImage

MAX_DETECTIONS = (
    1000  # an image; COCO's own 100 cuts crowds, and every face beyond it is a miss that no detector can mend
)
SIZES = ("all", "small", "medium", "large")  # COCO's: area below 32 x 32 pixels, up to 96 x 96, and above


def coco_metrics(
    images: Sequence[AnnotatedImage], detections: Sequence[Faces], max_detections: int = MAX_DETECTIONS
) -> dict[str, float | None]:
    """COCO's figures for the detections in these images.

    Boxes that are not counted (`ignore`, groups) are COCO's `iscrowd`: not to be found, no mistake when found.

    Args:
        images, detections: the same images in the same order.
        max_detections: of an image the best so many count.

    Returns:
        AP (mean over IoU .50 to .95), AP50, AP75, AP and AR by COCO's sizes, AR. None where there is no such face.
    """
    if len(images) != len(detections):
        raise ValueError(f"{len(images)} images but the detections of {len(detections)}")
    true = _annotated(images)
    evaluation = COCOeval(true, true.load_res(_results(detections)), "bbox")
    evaluation.params.max_dets = [max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    # COCOeval.summarize is not used: it looks up 100 detections whatever max_dets says.
    precision = evaluation.eval["precision"][:, :, 0, :, 0]  # (IoU thresholds, recall thresholds, sizes)
    recall = evaluation.eval["recall"][:, 0, :, 0]  # (IoU thresholds, sizes)
    at_50, at_75 = (int(np.abs(np.array(evaluation.params.iou_thrs) - iou).argmin()) for iou in (0.5, 0.75))
    metrics = {
        "AP": _mean(precision[:, :, 0]),
        "AP50": _mean(precision[at_50, :, 0]),
        "AP75": _mean(precision[at_75, :, 0]),
    }
    metrics |= {f"AP_{size}": _mean(precision[:, :, index]) for index, size in enumerate(SIZES) if index}
    metrics["AR"] = _mean(recall[:, 0])
    metrics |= {f"AR_{size}": _mean(recall[:, index]) for index, size in enumerate(SIZES) if index}
    return metrics


def _annotated(images: Sequence[AnnotatedImage]) -> COCO:
    xywh = _xywh(np.concatenate([np.zeros((0, 4)), *(image.xyxy for image in images)]))
    crowd = np.concatenate([np.zeros(0, bool), *(not_counted(image) for image in images)])
    return COCO.from_arrays(
        images=[
            {"id": image_id, "width": image.width, "height": image.height} for image_id, image in enumerate(images, 1)
        ],
        categories=[{"id": 1, "name": "face"}],
        image_ids=_image_ids(images),
        category_ids=np.ones(len(xywh), np.int64),
        boxes=xywh,
        area=xywh[:, 2] * xywh[:, 3],
        iscrowd=crowd.astype(np.int64),
    )


def _results(detections: Sequence[Faces]) -> np.ndarray:
    """(M, 7) float64: image id, x, y, width, height, score, class id."""
    xywh = _xywh(np.concatenate([np.zeros((0, 4)), *(faces.xyxy for faces in detections)]))
    scores = np.concatenate([np.zeros(0), *(faces.scores for faces in detections)])
    return np.column_stack([_image_ids(detections), xywh, scores, np.ones(len(xywh))])


def _image_ids(items: Sequence[AnnotatedImage | Faces]) -> np.ndarray:
    """The id of its image for each box of all images: 1, 1, 2, 4, ..."""
    return np.repeat(np.arange(1, len(items) + 1), [len(boxes) for boxes in items])


def _xywh(xyxy: np.ndarray) -> np.ndarray:
    return np.column_stack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])


def _mean(values: np.ndarray) -> float | None:
    values = values[values > -1]  # the mark for: no face of this size
    return float(values.mean()) if values.size else None
