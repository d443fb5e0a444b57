"""The figures of several detectors on the same images: what compare.json holds, and the report shows.

Detectors have different scales of score, and some have no good threshold of their own. Where one score has to be
chosen (kinds of errors, faces found by size, pictures) each detector gets the one with its best F1 on these images,
which favours all of them alike. Precision and recall "in use" are from the score on that its user would take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import bootstrap, calibration, charts, subsets, thresholds
from evaluation.coco import coco_metrics
from evaluation.error_kinds import error_counts
from evaluation.image_curves import ImageCurves
from evaluation.matched_set import MatchedSet, match_set
from evaluation.matching import FALSE, TRUE
from evaluation.measure import Run
from evaluation.paired_test import paired_test
from evaluation.precision_recall import PrecisionRecall, curve_of
from evaluation.wider_face_lists import WiderFaces
from evaluation.wider_face_protocol import wider_face_ap
from tools.annotations import AnnotatedImage

SIGNIFICANT = 0.05  # p up to which a difference is taken for more than chance
FEW_IMAGES = 30  # below this neither intervals nor tests are to be relied on


@dataclass(frozen=True, eq=False)
class Judged:
    """A run with everything that is looked up in it more than once.

    Attributes:
        run: the detector and what it found.
        matched: its detections and the true faces.
        curve: its precision and recall.
        score: of its best F1, or the score in use where it has found nothing.
    """

    run: Run
    matched: MatchedSet
    curve: PrecisionRecall
    score: float

    def counts(self) -> np.ndarray:
        """(3, I) int: for each image faces found, faces missed and false alarms, at `score`."""
        used = self.matched.scores >= self.score
        hits, false = (
            np.bincount(self.matched.image[used & (self.matched.outcome == what)], minlength=self.matched.images)
            for what in (TRUE, FALSE)
        )
        faces = np.bincount(self.matched.face_image[self.matched.counted], minlength=self.matched.images)
        return np.stack([hits, faces - hits, false])


def judge(images: Sequence[AnnotatedImage], run: Run) -> Judged:
    """Matches what a detector found in these images with their true boxes."""
    matched = match_set(images, run.found)
    curve = curve_of(matched)
    best = curve.best_f1_score()
    return Judged(run, matched, curve, run.min_score if best is None else best)


def figures(
    images: Sequence[AnnotatedImage], judged: Sequence[Judged], wider: Sequence[WiderFaces] | None = None
) -> dict:
    """All figures, the first detector's against those of the others, as the JSON object of compare.json.

    Args:
        images: at least one.
        judged: the detectors on these images, the one in question first.
        wider: what WIDER FACE's protocol looks for in each image, where its figures are wanted.
    """
    curves = [ImageCurves.of_matched(each.matched) for each in judged]
    weights = bootstrap.draws(len(images))
    detectors = [_of_one(images, each, its, weights, wider) for each, its in zip(judged, curves, strict=True)]
    result = {
        "images": len(images),
        "images_without_faces": sum(not counted for counted in curves[0].faces.tolist()),
        "faces": int(judged[0].matched.counted.sum()),
        "not_counted": int((~judged[0].matched.counted).sum()),
        "detectors": detectors,
        "rival": None,
        "paired_test": None,
    }
    if len(judged) > 1:
        rival = max(range(1, len(judged)), key=lambda i: detectors[i]["coco"]["AP50"] or 0)
        test = paired_test(curves[0], curves[rival])
        result |= {"rival": rival, "paired_test": test and test.to_json()}
    return result


def _of_one(
    images: Sequence[AnnotatedImage],
    judged: Judged,
    curves: ImageCurves,
    weights: np.ndarray,
    wider: Sequence[WiderFaces] | None,
) -> dict:
    run, matched, curve = judged.run, judged.matched, judged.curve
    best = curve.best_f1_score()
    return {
        "name": run.name,
        "detector": run.spec,
        "settings": run.settings,
        "detections": len(matched.scores),
        "failed": run.failed,
        "coco": coco_metrics(images, run.found),
        "AP50_interval": bootstrap.average_precision_interval(curves, weights),
        "wider_face": wider and wider_face_ap(wider, run.found),
        "in_use": curve.at(run.min_score) | {"intervals": bootstrap.intervals_at(matched, run.min_score, weights)},
        "best_f1": None if best is None else curve.at(best),
        "curve": charts.thinned(curve.recall, curve.precision),  # pairs of recall and precision
        "subsets": [subset.at(judged.score) for subset in subsets.subsets(matched)],
        "errors": error_counts(matched, judged.score),
        "calibration": calibration.calibration(matched).to_json(),
        "thresholds": thresholds.advice(curve),
        **_times(run.times),
    }


def _times(times: Sequence[float]) -> dict:
    if not len(times):
        return {"median_ms": None, "p95_ms": None}
    return {"median_ms": float(np.median(times)), "p95_ms": float(np.percentile(times, 95))}


def verdict(found: dict) -> str:
    """The comparison of the first detector with the best of the others in a few sentences, with its uncertainty."""
    ours, images = found["detectors"][0], found["images"]
    if not found["faces"]:
        return f"No face in these images counts, so that only false alarms can be compared: {_alarms(found)}."
    own = f"{ours['name']} has an AP50 of {ours['coco']['AP50']:.3f}"
    if found["rival"] is None:
        return f"{own}. There is no other detector to compare it with."
    rival, test = found["detectors"][found["rival"]], found["paired_test"]
    text = f"{own}; the best of the others, {rival['name']}, has {rival['coco']['AP50']:.3f}. "
    if test["interval"] is None:
        text += "With one image there is no telling what chance does."
    else:
        low, high = test["interval"]
        text += (
            f"The difference is {test['difference']:+.3f}, and with other images of this kind it would be expected "
            f"between {low:+.3f} and {high:+.3f} (95 %; p = {test['p']:.3f}): "
        )
        better = ours["name"] if test["difference"] > 0 else rival["name"]
        certain = (low > 0 or high < 0) and test["p"] <= SIGNIFICANT
        text += f"{better} is the better one" if certain else "that can be chance"
        text += f". But {images} images are too few to rely on that." if images < FEW_IMAGES else "."
    if ours["median_ms"] and rival["median_ms"]:
        text += f" An image takes {ours['median_ms']:.1f} ms, with {rival['name']} {rival['median_ms']:.1f} ms."
    return text


def _alarms(found: dict) -> str:
    return ", ".join(f"{each['name']} {each['in_use']['false_positives']}" for each in found["detectors"])
