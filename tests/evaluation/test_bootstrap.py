"""Average precision of drawn images, confidence intervals, and the paired test."""

import numpy as np
import pytest

from evaluation import bootstrap
from evaluation.average_precision import ap_as_area, ap_at_101_points
from evaluation.image_curves import ImageCurves
from evaluation.matched_set import match_set
from evaluation.open_images_ap import open_images_curves
from evaluation.paired_test import paired_test
from evaluation.precision_recall import curve_of
from evaluation.wider_face_lists import by_height
from evaluation.wider_face_protocol import wider_face_ap, wider_face_curves
from tests.evaluation.scenes import annotated, found, random_set

A, B = [0, 0, 60, 60], [100, 0, 160, 60]


def curves_of(images, detections, **more) -> ImageCurves:
    return ImageCurves.of_matched(match_set(images, detections), **more)


# ---- Curves by image -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_by_image_is_the_curve(seed):
    images, detections = random_set(seed, decimals=2, ignore=0.2)
    assert curves_of(images, detections).average_precision() == pytest.approx(
        curve_of(match_set(images, detections)).average_precision
    )


@pytest.mark.parametrize("seed", range(3))
def test_images_drawn_several_times_are_images_given_several_times(seed):
    """The independent oracle: evaluate the drawn images themselves."""
    images, detections = random_set(seed, count=15, ignore=0.2)
    weights = bootstrap.draws(15, resamples=6, seed=seed)
    drawn = [np.repeat(np.arange(15), row.astype(int)) for row in weights]
    sets = [([images[i] for i in rows], [detections[i] for i in rows]) for rows in drawn]
    np.testing.assert_allclose(
        curves_of(images, detections).average_precisions(weights),
        [curve_of(match_set(*one)).average_precision for one in sets],
    )
    hard = wider_face_curves(by_height(images), detections)["hard"].average_precisions(weights)
    # Scores are stretched over the whole set: draws with its lowest and its highest score are stretched alike.
    alike = [_extremes(theirs) == _extremes(detections) for _, theirs in sets]
    assert any(alike)
    for value, (some, theirs), same in zip(hard, sets, alike, strict=True):
        if same:
            assert wider_face_ap(by_height(some), theirs)["hard"] == pytest.approx(value)


def _extremes(detections):
    scores = np.concatenate([faces.scores for faces in detections])
    return scores.min(), scores.max()


def test_few_steps_are_exact_with_few_hits_and_close_with_many():
    images, detections = random_set(11, count=90, most=60)
    exact = curves_of(images, detections, most_steps=None).average_precision()
    hits = int(curve_of(match_set(images, detections)).true_positives[-1])
    assert hits > 200
    assert curves_of(images, detections, most_steps=hits).average_precision() == pytest.approx(exact, abs=1e-12)
    assert curves_of(images, detections, most_steps=200).average_precision() == pytest.approx(exact, abs=0.003)
    exact, few = (open_images_curves(images, detections, most)["V2"].average_precision() for most in (None, 200))
    assert few == pytest.approx(exact, abs=0.003)


def test_interpolations_by_hand():
    precision, recall = np.array([1.0, 0.5, np.nan, 0.6]), np.array([0.25, 0.25, 0.25, 0.5])
    assert ap_as_area(precision, recall) == pytest.approx(0.25 + 0.25 * 0.6)
    assert ap_at_101_points(precision, recall) == pytest.approx((26 + 25 * 0.6) / 101)
    both = np.stack([precision, precision]), np.stack([recall, recall])
    assert ap_as_area(*both).shape == ap_at_101_points(*both).shape == (2,)


# ---- Intervals -------------------------------------------------------------------------------------------------------


def coin_set(images: int, share: float, seed: int = 0):
    """Images of one face that is found with this probability, always at the same score: recall is a binomial share."""
    hit = np.random.default_rng(seed).random(images) < share
    return [annotated([A], f"{i}.jpg") for i in range(images)], [found(A) if h else found() for h in hit]


def test_draws():
    weights = bootstrap.draws(20, resamples=500, seed=1)
    assert weights.shape == (500, 20) and (weights.sum(axis=1) == 20).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.2)
    assert (bootstrap.draws(20, resamples=500, seed=1) == weights).all()
    assert (bootstrap.draws(20, resamples=500, seed=2) != weights).any()


def test_the_interval_is_that_of_a_binomial_share():
    images, detections = coin_set(400, 0.7)
    matched = match_set(images, detections)
    share = curve_of(matched).at(0.5)["recall"]
    expected = 1.96 * np.sqrt(share * (1 - share) / 400)
    low, high = bootstrap.intervals_at(matched, 0.5)["recall"]
    assert (share - low, high - share) == pytest.approx((expected, expected), rel=0.2)
    assert bootstrap.intervals_at(matched, 0.5)["precision"] == [1, 1]
    low, high = bootstrap.average_precision_interval(ImageCurves.of_matched(matched))
    assert low < share < high


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        matched = match_set(*coin_set(80, 0.6, seed))
        low, high = bootstrap.intervals_at(matched, 0.5, bootstrap.draws(80, 400, seed))["recall"]
        covered += low <= 0.6 <= high
    assert 0.87 <= covered / 100 <= 1


def test_one_image_no_detections_no_faces():
    one = match_set([annotated([A])], [found(A)])
    assert bootstrap.average_precision_interval(ImageCurves.of_matched(one)) is None
    assert bootstrap.intervals_at(one, 0.5) == {"precision": None, "recall": None, "f1": None}
    nothing = match_set([annotated([A])] * 3, [found()] * 3)
    assert bootstrap.average_precision_interval(ImageCurves.of_matched(nothing)) == [0, 0]
    assert bootstrap.intervals_at(nothing, 0.5) == {"precision": None, "recall": [0, 0], "f1": [0, 0]}
    no_faces = match_set([annotated([])] * 3, [found(A)] * 3)
    assert bootstrap.average_precision_interval(ImageCurves.of_matched(no_faces)) is None
    assert bootstrap.intervals_at(no_faces, 0.5)["recall"] is None
    assert bootstrap.average_precision_interval(curves_of([], [])) is None


def test_draws_without_faces_are_left_out():
    """One image in four has a face: a third of the draws has none."""
    images, detections = [annotated([A])] + [annotated([])] * 3, [found(A)] + [found()] * 3
    assert bootstrap.average_precision_interval(curves_of(images, detections)) == [1, 1]


# ---- Paired test -----------------------------------------------------------------------------------------------------


def test_a_detector_is_no_better_than_itself():
    images, detections = random_set(1, count=30)
    result = paired_test(curves_of(images, detections), curves_of(images, detections))
    assert (result.difference, result.interval, result.p, result.images) == (0, [0, 0], 1, 30)


def test_a_clear_difference():
    images, good = coin_set(100, 0.9)
    result = paired_test(curves_of(images, good), curves_of(images, [found()] * 100))
    assert result.difference > 0.8 and result.interval[0] > 0.7 and result.p == pytest.approx(1 / 1001)
    assert paired_test(curves_of(images, [found()] * 100), curves_of(images, good)).difference == -result.difference


def test_pairing_sees_what_two_intervals_do_not():
    """The second finds what the first finds less eight faces: intervals overlap, but it is never better."""
    images, ours = coin_set(200, 0.6)
    hits = [i for i, faces in enumerate(ours) if len(faces)][:8]
    theirs = [found() if i in hits else faces for i, faces in enumerate(ours)]
    intervals = [bootstrap.average_precision_interval(curves_of(images, some)) for some in (ours, theirs)]
    assert intervals[0][0] < intervals[1][1]
    result = paired_test(curves_of(images, ours), curves_of(images, theirs))
    assert result.interval[0] > 0 and result.p < 0.05


@pytest.mark.slow
def test_equal_detectors_differ_as_often_as_p_says():
    """Two detectors with the same chance of finding a face: p below .2 in about a fifth of the sets."""
    ps = []
    for seed in range(100):
        images, ours = coin_set(60, 0.6, seed)
        _, theirs = coin_set(60, 0.6, seed + 1000)
        ps.append(paired_test(curves_of(images, ours), curves_of(images, theirs), resamples=200, seed=seed).p)
    assert 0.1 <= np.mean(np.array(ps) <= 0.2) <= 0.3


def test_edges_of_the_paired_test():
    one = curves_of([annotated([A, B])], [found(A)])
    result = paired_test(one, curves_of([annotated([A, B])], [found(A, B)]))
    assert (result.p, result.interval, result.images) == (None, None, 1) and result.difference < 0
    no_faces = curves_of([annotated([])] * 2, [found(A)] * 2)
    assert paired_test(no_faces, no_faces) is None
    nothing = curves_of([annotated([A])] * 5, [found()] * 5)
    assert (paired_test(nothing, nothing).difference, paired_test(nothing, nothing).p) == (0, 1)
    with pytest.raises(ValueError, match="not evaluated on the same images"):
        paired_test(one, nothing)
    assert paired_test(nothing, nothing).to_json() == {"difference": 0, "interval": [0, 0], "p": 1, "images": 5}
