"""Average precision by kind of face: by size, and by the attributes that the annotations give, such as blur.

Detections are matched once, with all faces (evaluation.matching). For one kind of face, the faces of the other kinds
then neither have to be found nor are they a mistake: detections that took them are left out. False alarms have no kind
and count against each of them, so that the average precision of a rare kind is low even if all of it is found: compare
it between detectors, and kinds by their recall. For sizes, as in COCO, only the false alarms of that size count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.matched_set import MatchedSet
from evaluation.matching import FALSE, TRUE
from evaluation.precision_recall import PrecisionRecall, curve

SIZE_LIMITS = (0, 16, 32, 64, 128, np.inf)  # height in pixels of the image
SIZE_NAMES = ("under 16 px", "16 to 32", "32 to 64", "64 to 128", "from 128")
# What the numbers of tools.annotations.FLAGS mean.
KINDS = {
    "blur": ("clear", "normal", "heavy"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "illumination": ("normal", "extreme"),
    "expression": ("typical", "exaggerate"),
    "occluded": ("no", "yes"),
    "truncated": ("no", "yes"),
    "depiction": ("no", "yes"),
    "inside": ("no", "yes"),
    "difficult": ("no", "yes"),
}


@dataclass(frozen=True, eq=False)
class Subset:
    """Faces of one kind, and what was found of them.

    Attributes:
        by: "size", or the flag.
        kind: such as "16 to 32", "heavy".
        faces: (F,) bool, of the rows of the MatchedSet.
        curve: precision and recall over these faces.
    """

    by: str
    kind: str
    faces: np.ndarray
    curve: PrecisionRecall

    def at(self, score: float) -> dict:
        """The figures with detections from `score` on, for JSON."""
        point = self.curve.at(score)
        return {
            "by": self.by,
            "kind": self.kind,
            "faces": self.curve.faces,
            "AP50": self.curve.average_precision,
            "found": point["true_positives"],
            "missed": point["missed"],
            "recall": point["recall"],
        }


def subsets(matched: MatchedSet) -> list[Subset]:
    """By size and by each flag that tells faces apart here; kinds without faces are left out."""
    found_as = matched.heights
    result = []
    for kind, low, high in zip(SIZE_NAMES, SIZE_LIMITS[:-1], SIZE_LIMITS[1:], strict=True):
        faces = (low <= matched.face_heights) & (matched.face_heights < high)
        result.append(_subset(matched, "size", kind, faces, (low <= found_as) & (found_as < high)))
    for flag in KINDS:
        kinds = list(_by_flag(matched, flag))
        result += kinds if len(kinds) > 1 else []
    return [subset for subset in result if subset.curve.faces]


def _by_flag(matched: MatchedSet, flag: str) -> Iterator[Subset]:
    values = matched.flags.get(flag)
    if values is None:
        return
    everything = np.ones(len(matched.scores), bool)
    for value, kind in [*enumerate(KINDS[flag]), (-1, "not known")]:
        if (faces := (values == value) & matched.counted).any():
            yield _subset(matched, flag, kind, faces, everything)


def _subset(matched: MatchedSet, by: str, kind: str, faces: np.ndarray, false_alarms: np.ndarray) -> Subset:
    faces = faces & matched.counted
    hit = matched.outcome == TRUE
    hit[hit] = faces[matched.face[hit]]
    used = hit | ((matched.outcome == FALSE) & false_alarms)
    return Subset(by, kind, faces, curve(matched.scores[used], hit[used], int(faces.sum())))
