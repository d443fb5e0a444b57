"""Which detections of an image hit a true face: greedy matching by score, as COCO does it."""

import numpy as np
from pycocotools import mask

from detect_faces import Faces
from tools.annotations import AnnotatedImage

TRUE, FALSE, IGNORED = 1, 0, -1
NO_BOX = -1


def not_counted(image: AnnotatedImage) -> np.ndarray:
    """(N,) bool: boxes that need not be found, and whose detection is no mistake: `ignore`, and groups of faces."""
    group_of = image.flags.get("group_of", np.zeros(len(image), np.int64))
    return image.ignore | (group_of == 1)


def match(image: AnnotatedImage, faces: Faces, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Compares the detections of an image with its true boxes.

    By descending score each detection takes the free true box that it overlaps most, if their IoU is at least `iou`.
    One that gets none, but lies in a box that is not counted with at least `iou` of its own area, is left out of the
    count; any number of them may. This is what COCOeval does, with `iscrowd` for boxes that are not counted.

    Returns:
        (K,) of TRUE, FALSE or IGNORED, in the order of `faces`; and (K,) the row of the true box in `image`, NO_BOX
        where it took none.
    """
    crowd = not_counted(image)
    order = np.argsort(crowd, kind="stable")
    free = overlaps(faces.xyxy, image.xyxy[order], crowd[order])  # (K, N), counted boxes first
    counted = int((~crowd).sum())
    in_crowd = (free[:, counted:] >= iou).any(axis=1)
    result, box = np.where(in_crowd, IGNORED, FALSE), np.full(len(faces), NO_BOX)
    free = free[:, :counted]
    for detection in np.flatnonzero((free >= iou).any(axis=1)):
        # Of several that overlap it equally the last one, as in COCOeval.
        best = counted - 1 - int(free[detection, ::-1].argmax())
        if free[detection, best] >= iou:
            result[detection], box[detection] = TRUE, order[best]
            free[:, best] = -1
    return result, box


def overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(K, N) IoU of xyxy boxes (K, 4), (N, 4); where `crowd` (N,) the share of the found box that lies in the true."""
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    return mask.iou(_xywh(found), _xywh(true), crowd.astype(np.uint8).tolist())


def _xywh(xyxy: np.ndarray) -> np.ndarray:
    result = xyxy.astype(np.float64)
    result[:, 2:] -= xyxy[:, :2]
    return result
