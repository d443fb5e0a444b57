"""Is one detector better than another on the same images? A paired bootstrap over images.

Both detectors are looked at on the same draws of images (evaluation.bootstrap), so that what makes an image hard for
both cancels out. The interval is that of the difference; p is the share of draws in which the difference is as far from
the one that was measured as that is from zero, or farther: how often chance alone would show so large a difference.
Draws are of images, and detections are never exchanged between detectors, whose scores have different scales. Source:
B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 16 (testing by shifted differences).
"""

from dataclasses import asdict, dataclass

import numpy as np

from evaluation import bootstrap
from evaluation.image_curves import ImageCurves


@dataclass(frozen=True)
class PairedTest:
    """What became of the test.

    Attributes:
        difference: in average precision, the first detector's less the second's.
        interval: [low, high] of the difference, at bootstrap.LEVEL; None with fewer than two images.
        p: in 0..1, the smaller, the less it was chance; None with fewer than two images.
        images: how many there are; with few, below thirty or so, neither interval nor p is to be relied on.
    """

    difference: float
    interval: list[float] | None
    p: float | None
    images: int

    def to_json(self) -> dict:
        return asdict(self)


def paired_test(
    ours: ImageCurves, theirs: ImageCurves, resamples: int = bootstrap.RESAMPLES, seed: int = 0
) -> PairedTest | None:
    """Compares two detectors by an average precision of which both curves are, of the same images in the same order.

    Returns:
        None where there are no faces, so that there is no average precision.
    """
    if not np.array_equal(ours.faces, theirs.faces):
        raise ValueError("the two detectors were not evaluated on the same images")
    difference = _difference(ours, theirs, np.ones((1, ours.images)))[0]
    if np.isnan(difference):
        return None
    if ours.images < 2:
        return PairedTest(float(difference), None, None, ours.images)
    drawn = _difference(ours, theirs, bootstrap.draws(ours.images, resamples, seed))
    drawn = drawn[~np.isnan(drawn)]
    # The draw that was measured counts as one of them, so that p is never 0; rounding must not make 0 differ from 0.
    extreme = int((np.abs(drawn - difference) >= np.abs(difference) - 1e-12).sum())
    p = (1 + extreme) / (1 + len(drawn))
    return PairedTest(float(difference), bootstrap.interval(drawn, ours.images), p, ours.images)


def _difference(ours: ImageCurves, theirs: ImageCurves, weights: np.ndarray) -> np.ndarray:
    return bootstrap.average_precisions(ours, weights) - bootstrap.average_precisions(theirs, weights)
