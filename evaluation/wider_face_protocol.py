"""WIDER FACE's easy, medium and hard average precision, as the official evaluation (eval_tools, MATLAB) counts.

Its rules, where they are not everybody's:

- Scores are stretched over the whole set so that the lowest becomes 0 and the highest 1, and the curve has 1,000
  points, at the scores .999, .998, ..., 0: detections of nearly equal score come at once.
- Boxes include their last pixel: a side is x_max - x_min + 1 long.
- A detection belongs to the box that it overlaps most, of all boxes of the image, if their IoU is at least .5. If that
  face is wanted, it is found; if another detection has found it already, the detection is a false alarm. If it is not
  wanted in this setting (too small, invalid), the detection is left out of the count. None goes on to a second box.
- Detections in an image without faces are false alarms: such an image has a box of zeros in the official lists.
- The area under the curve is taken as in Pascal VOC.

When all scores are equal, the official code divides by zero and gives 0; here they all become 1. Source: evaluation.m,
norm_score.m, boxoverlap.m and wider_plot.m in eval_tools.zip, http://shuoyang1213.me/WIDERFACE/; S. Yang et al., "WIDER
FACE: A Face Detection Benchmark", CVPR 2016.
"""

from collections.abc import Sequence

import numpy as np

from detect_faces import Faces
from evaluation.image_curves import ImageCurves
from evaluation.wider_face_lists import SETTINGS, WiderFaces

IOU = 0.5
SCORES = 1 - np.arange(1, 1001) / 1000  # .999 down to 0


def wider_face_ap(faces: Sequence[WiderFaces], detections: Sequence[Faces]) -> dict[str, float | None]:
    """{"easy": AP, "medium": AP, "hard": AP} of the detections in these images; None where there is no such face."""
    return {name: curves.average_precision() for name, curves in wider_face_curves(faces, detections).items()}


def wider_face_curves(faces: Sequence[WiderFaces], detections: Sequence[Faces]) -> dict[str, ImageCurves]:
    """The same as curves that are still kept by image, at the protocol's 1,000 scores.

    Args:
        faces: the true boxes of each image (evaluation.wider_face_lists).
        detections: of the same images in the same order, all of them down to the lowest score.
    """
    if len(faces) != len(detections):
        raise ValueError(f"{len(faces)} images but the detections of {len(detections)}")
    image = np.repeat(np.arange(len(faces)), [len(found) for found in detections])
    scores = _normalised(np.concatenate([np.zeros(0), *(found.scores for found in detections)]))
    step = np.searchsorted(-SCORES, -scores)  # the first of SCORES that the score reaches
    taken = [_most_overlapped(true.xyxy, found.xyxy) for true, found in zip(faces, detections, strict=True)]
    starts = np.cumsum([0, *(len(true.xyxy) for true in faces)])[:-1]  # the row of each image's first box in the set
    box = np.concatenate([np.zeros(0, np.int64), *taken])
    matched = box >= 0
    box[matched] += starts[image[matched]]
    first = np.zeros(len(box), bool)
    first[np.unique(box, return_index=True)[1]] = True  # of the detections of a box; by image, the best score first
    curves = {}
    for name in SETTINGS:
        wanted = np.concatenate([np.zeros(0, bool), *(true.wanted[name] for true in faces)])
        on_wanted = matched.copy()
        on_wanted[matched] = wanted[box[matched]]
        hit = on_wanted & first
        false_alarm = (on_wanted | ~matched) & ~hit
        number = np.array([true.wanted[name].sum() for true in faces], np.int64)
        curves[name] = ImageCurves.of(image, step, hit, false_alarm, number, len(SCORES), "area")
    return curves


def _normalised(scores: np.ndarray) -> np.ndarray:
    """(K,) stretched to 0..1 over the set."""
    scores = scores.astype(np.float64)
    if not len(scores) or scores.min() == scores.max():
        return np.ones(len(scores))
    return (scores - scores.min()) / (scores.max() - scores.min())


def _most_overlapped(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(K,) the row of the true box (N, 4) that each found one (K, 4) overlaps most, -1 below IOU."""
    if not len(true) or not len(found):
        return np.full(len(found), -1)
    found = found.astype(np.float64)
    sides = np.minimum(found[:, None, 2:], true[None, :, 2:]) - np.maximum(found[:, None, :2], true[None, :, :2]) + 1
    common = np.where((sides > 0).all(axis=-1), sides.prod(axis=-1), 0)
    area_true, area_found = ((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=-1) for boxes in (true, found))
    iou = common / (area_true[None, :] + area_found[:, None] - common)
    best = iou.argmax(axis=1)
    return np.where(iou[np.arange(len(found)), best] >= IOU, best, -1)
