"""Average precision of a precision-recall curve: COCO's 101 points, and the area that Pascal VOC takes."""

import numpy as np

RECALL_POINTS = np.linspace(0, 1, 101)  # COCO's


def ap_at_101_points(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """COCO's average precision: the mean, over 101 points of recall, of the best precision from that recall on.

    Args:
        precision, recall: (..., T) along thresholds that fall, so that recall does not; NaN is a precision of nothing.

    Returns:
        (...) in 0..1. Points of recall that are never reached have precision 0.
    """
    envelope = np.concatenate([_envelope(precision), np.zeros((*precision.shape[:-1], 1))], axis=-1)
    result = np.empty(precision.shape[:-1])
    for curve in np.ndindex(result.shape):
        result[curve] = envelope[curve][np.searchsorted(recall[curve], RECALL_POINTS)].mean()
    return result


def ap_as_area(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Pascal VOC's average precision (2010 and later): the area under the best precision from each recall on.

    Args and return value are those of ap_at_101_points. WIDER FACE and Open Images take this one.
    """
    steps = np.diff(recall, axis=-1, prepend=0)
    return (steps * _envelope(precision)).sum(axis=-1)


def _envelope(precision: np.ndarray) -> np.ndarray:
    """(..., T) the best precision at this threshold or a lower one."""
    return np.fmax.accumulate(np.nan_to_num(precision)[..., ::-1], axis=-1)[..., ::-1]
