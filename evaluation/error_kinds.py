"""What goes wrong with detections from a score on: kinds of false alarms, and kinds of misses.

The kinds and the limit below which an overlap is chance are those of D. Bolya et al., "TIDE: A General Toolbox for
Identifying Object Detection Errors", ECCV 2020, for one class.
"""

import numpy as np

from evaluation.matched_set import MatchedSet
from evaluation.matching import FALSE, IGNORED, overlaps

CHANCE = 0.1  # IoU below which a detection has nothing to do with a face

# Of a false alarm the first that fits.
DUPLICATE = "duplicate"  # overlaps a face as a hit would, but a better detection has taken it
LOCALISED = "badly localised"  # overlaps a face, but less than a hit would
ON_IGNORED = "on an ignored face"  # overlaps a box that is not counted, but too little to be left out itself
BACKGROUND = "background"
FALSE_ALARMS = (DUPLICATE, LOCALISED, ON_IGNORED, BACKGROUND)

# Of a miss the first that fits.
LOW_SCORE = "score too low"  # a detection finds it, below the score
NEAR = "badly localised"  # a detection from the score on overlaps it, but less than a hit would
TAKEN = "taken by a neighbour"  # a detection from the score on would be a hit, but has found another face
NOTHING = "nothing there"
MISSES = (LOW_SCORE, TAKEN, NEAR, NOTHING)


def false_alarm_kinds(matched: MatchedSet, score: float, iou: float = 0.5) -> np.ndarray:
    """(K,) for each detection: its row in FALSE_ALARMS where it is a false alarm with at least `score`, else -1.

    Args:
        iou: at which the set was matched.
    """
    result = np.full(len(matched.scores), -1)
    chosen = (matched.outcome == FALSE) & (matched.scores >= score)
    for rows, faces in _by_image(matched, chosen, np.ones(len(matched.counted), bool)):
        counted = matched.counted[faces]
        shares = overlaps(matched.xyxy[rows], matched.face_xyxy[faces], np.zeros(len(faces), bool))
        best = np.max(shares[:, counted], axis=1, initial=0)
        ignored = np.max(shares[:, ~counted], axis=1, initial=0)
        result[rows] = np.select([best >= iou, best >= CHANCE, ignored >= CHANCE], [0, 1, 2], 3)
    return result


def miss_kinds(matched: MatchedSet, score: float, iou: float = 0.5) -> np.ndarray:
    """(F,) for each face: its row in MISSES where no detection with at least `score` finds it, else -1."""
    found_at = matched.found_at
    missed = matched.counted & (found_at < score)
    result = np.where(missed & (found_at > -np.inf), 0, -1)
    used = (matched.scores >= score) & (matched.outcome != IGNORED)
    for rows, faces in _by_image(matched, used, missed & (found_at == -np.inf), keep_faces=True):
        shares = overlaps(matched.xyxy[rows], matched.face_xyxy[faces], np.zeros(len(faces), bool))
        best = np.max(shares, axis=0, initial=0)
        result[faces] = np.select([best >= iou, best >= CHANCE], [1, 2], 3)
    return result


def error_counts(matched: MatchedSet, score: float, iou: float = 0.5) -> dict[str, float | dict[str, int]]:
    """How often each kind occurs, and how many detections were left out of the count, for JSON."""
    alarms, misses = false_alarm_kinds(matched, score, iou), miss_kinds(matched, score, iou)
    return {
        "score": float(score),
        "false_alarms": {name: int((alarms == row).sum()) for row, name in enumerate(FALSE_ALARMS)},
        "missed": {name: int((misses == row).sum()) for row, name in enumerate(MISSES)},
        "left_out": int(((matched.outcome == IGNORED) & (matched.scores >= score)).sum()),
    }


def _by_image(matched: MatchedSet, chosen: np.ndarray, faces: np.ndarray, keep_faces: bool = False):
    """For each image that has some: the rows of the chosen detections, and those of the faces.

    keep_faces: take images by whether they have faces, not by whether they have detections.
    """
    rows, at = np.flatnonzero(chosen), np.flatnonzero(faces)
    numbers = np.arange(matched.images + 1)
    first, first_face = np.searchsorted(matched.image[rows], numbers), np.searchsorted(matched.face_image[at], numbers)
    for image in np.flatnonzero(np.diff(first_face) if keep_faces else np.diff(first)):
        yield rows[first[image] : first[image + 1]], at[first_face[image] : first_face[image + 1]]
