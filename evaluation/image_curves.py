"""ImageCurves: a precision-recall curve kept apart by image, so that images can be drawn again and again."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from evaluation.average_precision import ap_as_area, ap_at_101_points
from evaluation.matched_set import MatchedSet
from evaluation.matching import IGNORED, TRUE

MOST_STEPS = 2000
_AP = {"101 points": ap_at_101_points, "area": ap_as_area}


@dataclass(frozen=True, eq=False)
class ImageCurves:
    """How many hits and false alarms each image adds at each step of a falling score.

    Attributes:
        hits, false_alarms: (I, T) sparse, images by steps.
        faces: (I,) faces to be found.
        interpolation: "101 points" (COCO) or "area" (Pascal VOC): how the average precision is taken.
    """

    hits: csr_array
    false_alarms: csr_array
    faces: np.ndarray
    interpolation: str = "101 points"

    @classmethod
    def of(
        cls,
        image: np.ndarray,
        step: np.ndarray,
        hit: np.ndarray,
        false_alarm: np.ndarray,
        faces: np.ndarray,
        steps: int,
        interpolation: str = "101 points",
    ) -> "ImageCurves":
        """From detections (K,): their image, their step in 0..steps-1, and whether they are hits or false alarms."""

        def table(chosen: np.ndarray) -> csr_array:
            cells = (np.ones(int(chosen.sum())), (image[chosen], step[chosen]))
            return csr_array(cells, shape=(len(faces), steps))  # adds up what falls into one cell

        return cls(table(hit), table(false_alarm), np.asarray(faces), interpolation)

    @classmethod
    def of_scores(
        cls,
        image: np.ndarray,
        scores: np.ndarray,
        hit: np.ndarray,
        false_alarm: np.ndarray,
        faces: np.ndarray,
        interpolation: str = "101 points",
        most_steps: int | None = MOST_STEPS,
    ) -> "ImageCurves":
        """From detections (K,) with their scores, in any order.

        With more different scores than `most_steps` a step goes up to every so manieth hit, and the average precision
        is off by what precision changes in between; with no more hits than that, or None, it is exact all the same.
        """
        levels, step = np.unique(-scores, return_inverse=True)
        steps = max(1, len(levels))
        if most_steps and steps > most_steps:
            at_level = np.bincount(step, hit, len(levels)).astype(np.int64)
            total = int(at_level.sum())
            steps = min(total, most_steps) + 1  # the last one: false alarms behind the last hit
            step = ((at_level.cumsum() - at_level) * (steps - 1) // max(1, total))[step]
        return cls.of(image, step, hit, false_alarm, faces, steps, interpolation)

    @classmethod
    def of_matched(cls, matched: MatchedSet, most_steps: int | None = MOST_STEPS) -> "ImageCurves":
        """The curve of COCO's AP at the IoU at which the set was matched."""
        counted = matched.outcome != IGNORED
        hit = matched.outcome[counted] == TRUE
        faces = np.bincount(matched.face_image[matched.counted], minlength=matched.images)
        return cls.of_scores(matched.image[counted], matched.scores[counted], hit, ~hit, faces, most_steps=most_steps)

    @property
    def images(self) -> int:
        return len(self.faces)

    def average_precision(self) -> float | None:
        """Of the set as it is; None where there are no faces."""
        value = float(self.average_precisions(np.ones((1, self.images)))[0])
        return None if np.isnan(value) else value

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """(B,) the average precision of B sets that have each image as often as the weights (B, I) say.

        NaN for a set without faces.
        """
        hits, false_alarms = ((weights @ table).cumsum(axis=1) for table in (self.hits, self.false_alarms))
        faces = (weights @ self.faces)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _AP[self.interpolation](hits / (hits + false_alarms), np.nan_to_num(hits / faces))
        return np.where(faces[:, 0] > 0, values, np.nan)
