"""Which detections of an image hit a true face: greedy matching by score, as COCO does it."""

import numpy as np
from pycocotools import mask

from detect_faces import Faces
from tools.annotations import AnnotatedImage

TRUE, FALSE, IGNORED = 1, 0, -1


def not_counted(image: AnnotatedImage) -> np.ndarray:
    """(N,) bool: boxes that need not be found, and whose detection is no mistake: `ignore`, and groups of faces."""
    group_of = image.flags.get("group_of", np.zeros(len(image), np.int64))
    return image.ignore | (group_of == 1)


def match(image: AnnotatedImage, faces: Faces, iou: float = 0.5) -> np.ndarray:
    """Compares the detections of an image with its true boxes.

    By descending score each detection takes the free true box that it overlaps most, if their IoU is at least `iou`.
    One that gets none, but lies in a box that is not counted with at least `iou` of its own area, is left out of the
    count; any number of them may. This is what COCOeval does, with `iscrowd` for boxes that are not counted.

    Returns:
        (K,) of TRUE, FALSE or IGNORED, in the order of `faces`.
    """
    crowd = not_counted(image)
    order = np.argsort(crowd, kind="stable")
    overlaps = _overlaps(faces.xyxy, image.xyxy[order], crowd[order])  # (K, N), counted boxes first
    counted = int((~crowd).sum())
    in_crowd = (overlaps[:, counted:] >= iou).any(axis=1)
    result = np.where(in_crowd, IGNORED, FALSE)
    free = overlaps[:, :counted].copy()
    for detection in range(len(faces) if counted else 0):
        # Of several that overlap it equally the last one, as in COCOeval.
        box = counted - 1 - int(free[detection, ::-1].argmax())
        if free[detection, box] >= iou:
            result[detection] = TRUE
            free[:, box] = -1
    return result


def _overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(K, N) IoU of xyxy boxes; where `crowd` (N,) the share of the found box that lies in the true one."""
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    found, true = (np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(np.float64) for boxes in (found, true))
    return mask.iou(found, true, crowd.astype(np.uint8).tolist())
