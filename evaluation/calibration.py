"""Calibration: of the detections with a score of 0.7, are 70 % faces?

Detections are put into bins of equal width by their score. A bin is calibrated where the share of faces among its
detections is their mean score. The expected calibration error is the mean over bins of the distance between the two,
weighted by detections: 0 is perfect, 1 the worst. Detections that are left out of the count are left out here. Source:
C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

Faces that no detection has found do not appear here, and most detections of most detectors have low scores: look at the
bins, not at the error alone.
"""

from dataclasses import dataclass

import numpy as np

from evaluation.matched_set import MatchedSet
from evaluation.matching import IGNORED, TRUE

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Bins of scores 0 to 1/B, 1/B to 2/B, ...; a score on a limit is in the upper one, 1 in the last.

    Attributes:
        detections: (B,) int.
        mean_score, share_true: (B,) of the detections in the bin, NaN where there are none.
    """

    detections: np.ndarray
    mean_score: np.ndarray
    share_true: np.ndarray

    @property
    def expected_error(self) -> float | None:
        """The expected calibration error in 0..1, None without detections."""
        used = self.detections > 0
        if not used.any():
            return None
        distance = np.abs(self.mean_score[used] - self.share_true[used])
        return float(np.average(distance, weights=self.detections[used]))

    def to_json(self) -> dict:
        limits = np.linspace(0, 1, len(self.detections) + 1)
        bins = [
            {
                "from": float(low),
                "to": float(high),
                "detections": int(count),
                "mean_score": float(mean) if count else None,
                "share_true": float(share) if count else None,
            }
            for low, high, count, mean, share in zip(
                limits[:-1], limits[1:], self.detections, self.mean_score, self.share_true, strict=True
            )
        ]
        return {"expected_error": self.expected_error, "bins": bins}


def calibration(matched: MatchedSet, bins: int = BINS) -> Calibration:
    """The calibration of a set's detections, all down to the lowest score."""
    used = matched.outcome != IGNORED
    scores, hit = matched.scores[used].astype(np.float64), matched.outcome[used] == TRUE
    bin_of = np.clip((scores.round(6) * bins).astype(np.int64), 0, bins - 1)  # 0.9 is less as a float32
    count, total, true = (np.bincount(bin_of, weights, bins) for weights in (None, scores, hit))
    with np.errstate(invalid="ignore"):
        return Calibration(count, total / count, true / count)
