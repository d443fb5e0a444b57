"""Precision, recall and F1 at any score, and the score with the best F1."""

from dataclasses import dataclass

import numpy as np

from evaluation.average_precision import ap_at_101_points
from evaluation.matched_set import MatchedSet
from evaluation.matching import IGNORED, TRUE


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The curve over a set of images.

    Attributes:
        scores: (K,) the different scores that occur, descending.
        true_positives, false_positives: (K,) detections with at least that score.
        faces: true boxes that count.
    """

    scores: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    faces: int

    @property
    def precision(self) -> np.ndarray:
        """(K,) share of the detections that are faces."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> np.ndarray:
        """(K,) share of the faces that are detected; zero where there are no faces."""
        return self.true_positives / max(1, self.faces)

    @property
    def f1(self) -> np.ndarray:
        """(K,) harmonic mean of precision and recall."""
        return 2 * self.true_positives / (self.true_positives + self.false_positives + self.faces)

    @property
    def average_precision(self) -> float | None:
        """At 101 points of recall, as COCO takes it; None where there are no faces.

        COCO counts detections of equal score one after the other, in the order of the images; here they come at once.
        """
        return float(ap_at_101_points(self.precision, self.recall)) if self.faces else None

    def best_f1_score(self) -> float | None:
        """The score to cut at for the best F1 (the highest such score), None without detections."""
        return float(self.scores[self.f1.argmax()]) if len(self.scores) else None

    def at(self, score: float) -> dict[str, float | int | None]:
        """The figures when detections with at least this score are kept; None where the ratio has no denominator."""
        kept = int((self.scores >= score).sum())
        true, false = (int(counts[kept - 1]) if kept else 0 for counts in (self.true_positives, self.false_positives))
        return {
            "score": float(score),
            "precision": true / (true + false) if true + false else None,
            "recall": true / self.faces if self.faces else None,
            "f1": 2 * true / (true + false + self.faces) if true + false + self.faces else None,
            "true_positives": true,
            "false_positives": false,
            "missed": self.faces - true,
        }


def curve_of(matched: MatchedSet) -> PrecisionRecall:
    """The curve of a set that is matched already."""
    counted = matched.outcome != IGNORED
    return curve(matched.scores[counted], matched.outcome[counted] == TRUE, int(matched.counted.sum()))


def curve(scores: np.ndarray, hits: np.ndarray, faces: int) -> PrecisionRecall:
    """The curve of detections (K,) that are hits or false alarms, when there are `faces` to find."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last_of_equal = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, bool)
    return PrecisionRecall(scores[last_of_equal], hits.cumsum()[last_of_equal], (~hits).cumsum()[last_of_equal], faces)
