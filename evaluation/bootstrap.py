"""Confidence intervals by the bootstrap over images: how far a figure would move with other images of the same kind.

Images are drawn again with replacement, as many as there are, and the figure is taken anew of each draw; the interval
is between the percentiles of these figures. Images are drawn, not faces: those of one image stand or fall together.
The detections are matched once only. Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13.
"""

import numpy as np

from evaluation.image_curves import ImageCurves
from evaluation.matched_set import MatchedSet
from evaluation.matching import FALSE, TRUE

RESAMPLES = 1000
LEVEL = 0.95
CHUNK = 250  # draws at a time: what they take of memory


def draws(images: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(B, I) float32: how often each image is in each draw. The same for the same numbers."""
    if not images:
        return np.zeros((resamples, 0), np.float32)
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples).astype(np.float32)


def average_precisions(curves: ImageCurves, weights: np.ndarray) -> np.ndarray:
    """(B,) the average precision of each draw (B, I); NaN where a draw has no faces."""
    parts = [curves.average_precisions(weights[i : i + CHUNK]) for i in range(0, len(weights), CHUNK)]
    return np.concatenate([np.zeros(0), *parts])


def average_precision_interval(curves: ImageCurves, weights: np.ndarray | None = None) -> list[float] | None:
    """The interval of an average precision, at LEVEL; None with fewer than two images, or without faces."""
    return interval(average_precisions(curves, draws(curves.images) if weights is None else weights), curves.images)


def intervals_at(matched: MatchedSet, score: float, weights: np.ndarray | None = None) -> dict[str, list[float] | None]:
    """The intervals of precision, recall and F1 for detections from `score` on: {"precision": [low, high], ...}."""
    weights = draws(matched.images) if weights is None else weights
    used = matched.scores >= score
    true, false = (
        weights @ np.bincount(matched.image[used & (matched.outcome == what)], minlength=matched.images)
        for what in (TRUE, FALSE)
    )
    faces = weights @ np.bincount(matched.face_image[matched.counted], minlength=matched.images)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {"precision": true / (true + false), "recall": true / faces, "f1": 2 * true / (true + false + faces)}
    return {name: interval(values, matched.images) for name, values in figures.items()}


def interval(values: np.ndarray, images: int) -> list[float] | None:
    """[low, high] of the figure of each draw (B,), NaN left out; None with fewer than two images, or no figure."""
    values = values[~np.isnan(values)]
    if images < 2 or not len(values):
        return None
    return [float(value) for value in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
