"""Which score to cut at: the lowest that gives a wanted precision, and the one with the best F1."""

import numpy as np

from evaluation.precision_recall import PrecisionRecall

WANTED = (0.5, 0.8, 0.9, 0.95, 0.99)


def score_for_precision(curve: PrecisionRecall, wanted: float) -> float | None:
    """The lowest score from which on detections have at least this precision, as a number with few digits.

    Of all such scores the lowest finds most faces. None where no score gives that precision.
    """
    good = np.flatnonzero(curve.precision >= wanted)
    return short_score(curve, good[-1]) if len(good) else None


def short_score(curve: PrecisionRecall, index: int) -> float:
    """The number with the fewest digits that keeps the same detections as the score at `index` of the curve."""
    score = curve.scores[index]
    lower = curve.scores[index + 1] if index + 1 < len(curve.scores) else -np.inf
    for digits in range(1, 9):
        for number in (round(float(score), digits), np.floor(float(score) * 10**digits) / 10**digits):
            if lower < np.float32(number) <= score:
                return round(float(number), digits)
    return float(score)


def advice(curve: PrecisionRecall, wanted: tuple[float, ...] = WANTED) -> list[dict]:
    """For each wanted precision the figures of PrecisionRecall.at at its score, for JSON; the score is None if none."""
    result = []
    for precision in wanted:
        score = score_for_precision(curve, precision)
        point = {"score": None, "precision": None, "recall": None, "f1": None} if score is None else curve.at(score)
        result.append({"wanted_precision": precision, **point})
    return result
