"""Open Images' average precision of one class, faces, with its rules for groups (IsGroupOf), at IoU .50.

By descending score a detection belongs to the single face that it overlaps most, with an IoU of at least .5; the second
one on the same face is a false alarm, unless it lies in a group. One that found no face, but lies in a group with at
least half of its own area, is not a false alarm. What becomes of it depends on the variant:

- Open Images V2: it is left out of the count, and a group is not to be found.
- Open Images Challenge (2018 and later): a group is to be found like a face, and the best detection in it has found it;
  the others in the same group are left out.

Boxes with `ignore` that are not groups are taken as Pascal VOC takes difficult ones: a detection on them is left out.
So is a detection without width or height.
The area under the curve is taken as in Pascal VOC. Source: https://storage.googleapis.com/openimages/web/evaluation.html;
the OD API's OpenImagesDetectionEvaluator computes the same. Both expect that detections in classes that nobody looked
for in an image are removed; with one class, leave out the images that are not verified (tools.formats.open_images).
"""

from collections.abc import Sequence

import numpy as np

from detect_faces import Faces
from evaluation.image_curves import MOST_STEPS, ImageCurves
from evaluation.matching import FALSE, IGNORED, TRUE, overlaps
from tools.annotations import AnnotatedImage

IOU = 0.5
VARIANTS = {"V2": False, "Challenge": True}  # whether groups are to be found


def open_images_ap(images: Sequence[AnnotatedImage], detections: Sequence[Faces]) -> dict[str, float | None]:
    """{"V2": AP, "Challenge": AP} of the detections in these images; None without a box that is to be found."""
    return {
        name: curves.average_precision()
        for name, curves in open_images_curves(images, detections, most_steps=None).items()
    }


def open_images_curves(
    images: Sequence[AnnotatedImage], detections: Sequence[Faces], most_steps: int | None = MOST_STEPS
) -> dict[str, ImageCurves]:
    """The same as curves that are still kept by image. `most_steps`: as in ImageCurves.of_scores."""
    if len(images) != len(detections):
        raise ValueError(f"{len(images)} images but the detections of {len(detections)}")
    image = np.repeat(np.arange(len(images)), [len(faces) for faces in detections])
    scores = np.concatenate([np.zeros(0, np.float32), *(faces.scores for faces in detections)])
    pairs = [_outcomes(true, _groups(true), found) for true, found in zip(images, detections, strict=True)]
    curves = {}
    for number, (name, groups_count) in enumerate(VARIANTS.items()):
        outcome = np.concatenate([np.zeros(0, int), *(pair[number] for pair in pairs)])
        wanted = [int((~true.ignore & (groups_count | ~_groups(true))).sum()) for true in images]
        curves[name] = ImageCurves.of_scores(
            image, scores, outcome == TRUE, outcome == FALSE, np.array(wanted, np.int64), "area", most_steps
        )
    return curves


def _groups(image: AnnotatedImage) -> np.ndarray:
    return image.flags.get("group_of", np.zeros(len(image), np.int64)) == 1


def _outcomes(image: AnnotatedImage, group: np.ndarray, faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """(K,) of TRUE, FALSE or IGNORED, best score first, for each of VARIANTS."""
    v2 = np.full(len(faces), FALSE)
    single = np.flatnonzero(~group)
    best, share = _most_overlapped(overlaps(faces.xyxy, image.xyxy[single], np.zeros(len(single), bool)))
    matched = share >= IOU
    on_ignored = matched & np.append(image.ignore[single], False)[best]
    v2[on_ignored] = IGNORED
    rows = np.flatnonzero(matched & ~on_ignored)
    v2[rows[np.unique(best[rows], return_index=True)[1]]] = TRUE
    v2[(faces.xyxy[:, 2:] <= faces.xyxy[:, :2]).any(axis=1)] = IGNORED
    if not group.any():
        return v2, v2

    best, share = _most_overlapped(overlaps(faces.xyxy, image.xyxy[group], np.ones(int(group.sum()), bool)))
    rows = np.flatnonzero((v2 == FALSE) & (share >= IOU))
    v2[rows] = IGNORED
    challenge = v2.copy()
    first = rows[np.unique(best[rows], return_index=True)[1]]
    challenge[first[~image.ignore[group][best[first]]]] = TRUE
    return v2, challenge


def _most_overlapped(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) the column with the largest share of each row (the first of equal ones, -1 of none), and that share."""
    if not shares.size:
        return np.full(len(shares), -1), np.zeros(len(shares))
    best = shares.argmax(axis=1)
    return best, shares[np.arange(len(shares)), best]
