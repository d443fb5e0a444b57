"""MatchedSet: the detections and faces of a whole set, matched once, for every figure that is made from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detect_faces import Faces
from evaluation.matching import NO_BOX, match, not_counted
from tools.annotations import AnnotatedImage


@dataclass(frozen=True, eq=False)
class MatchedSet:
    """All detections and all true boxes, image after image, and who took whom (evaluation.matching).

    Attributes:
        images: how many there are.
        image: (K,) the index of its image, for each detection.
        scores: (K,) float32.
        xyxy: (K, 4) float64, pixels of the upright image.
        outcome: (K,) of TRUE, FALSE or IGNORED.
        face: (K,) the row of the true box that it took, NO_BOX where it took none.
        face_image: (F,) the index of its image, for each true box.
        face_xyxy: (F, 4) float64.
        counted: (F,) bool, false for boxes that need not be found: `ignore`, and groups.
        flags: {name: (F,)} of tools.annotations.FLAGS those that some image gives; -1 where an image does not.
    """

    images: int
    image: np.ndarray
    scores: np.ndarray
    xyxy: np.ndarray
    outcome: np.ndarray
    face: np.ndarray
    face_image: np.ndarray
    face_xyxy: np.ndarray
    counted: np.ndarray
    flags: dict[str, np.ndarray]

    @property
    def found_at(self) -> np.ndarray:
        """(F,) float32, the score of what took it, -inf for a face that nothing did: found from this score down."""
        result = np.full(len(self.counted), -np.inf, np.float32)  # as `scores`: 0.9 is another number in float64
        hits = self.face != NO_BOX
        result[self.face[hits]] = self.scores[hits]
        return result

    @property
    def heights(self) -> np.ndarray:
        """(K,) of the detections, in pixels."""
        return self.xyxy[:, 3] - self.xyxy[:, 1]

    @property
    def face_heights(self) -> np.ndarray:
        """(F,) of the true boxes, in pixels."""
        return self.face_xyxy[:, 3] - self.face_xyxy[:, 1]


def match_set(images: Sequence[AnnotatedImage], detections: Sequence[Faces], iou: float = 0.5) -> MatchedSet:
    """Matches the detections of each image, in the same order as the images. Raises ValueError if their number differs.

    Args:
        iou: what a detection and a face must have in common at least.
    """
    if len(images) != len(detections):
        raise ValueError(f"{len(images)} images but the detections of {len(detections)}")
    outcome, face, first = [np.zeros(0, int)], [np.zeros(0, int)], 0
    for image, faces in zip(images, detections, strict=True):
        result, box = match(image, faces, iou)
        outcome.append(result)
        face.append(np.where(box == NO_BOX, NO_BOX, box + first))
        first += len(image)
    names = sorted({name for image in images for name in image.flags})
    matched = MatchedSet(
        images=len(images),
        image=_owners(detections),
        scores=np.concatenate([np.zeros(0, np.float32), *(faces.scores for faces in detections)]),
        xyxy=np.concatenate([np.zeros((0, 4)), *(faces.xyxy for faces in detections)]),
        outcome=np.concatenate(outcome),
        face=np.concatenate(face),
        face_image=_owners(images),
        face_xyxy=np.concatenate([np.zeros((0, 4)), *(image.xyxy for image in images)]),
        counted=~np.concatenate([np.zeros(0, bool), *(not_counted(image) for image in images)]),
        flags={
            name: np.concatenate([image.flags.get(name, np.full(len(image), -1)) for image in images]) for name in names
        },
    )
    return matched


def _owners(items: Sequence[AnnotatedImage | Faces]) -> np.ndarray:
    """The index of its image for each box of all images: 0, 0, 1, 3, ..."""
    return np.repeat(np.arange(len(items)), [len(boxes) for boxes in items]).astype(np.int64)
