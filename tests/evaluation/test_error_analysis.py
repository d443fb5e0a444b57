"""Kinds of faces, kinds of errors, calibration and advice on thresholds: by hand, and by plain loops on random sets."""

import numpy as np
import pytest

from detect_faces import Faces
from evaluation.calibration import calibration
from evaluation.error_kinds import error_counts, false_alarm_kinds, miss_kinds
from evaluation.matched_set import match_set
from evaluation.matching import FALSE, IGNORED, NO_BOX, TRUE
from evaluation.precision_recall import curve, curve_of
from evaluation.subsets import subsets
from evaluation.thresholds import advice, score_for_precision
from tests.evaluation.scenes import annotated, found, random_set

A, B, C = [0, 0, 20, 20], [100, 0, 140, 40], [200, 0, 400, 200]
NEAR_A = [12, 0, 32, 20]  # IoU 8 / 32
ELSEWHERE = [500, 500, 520, 520]


def matched(boxes, *detections, scores=None, **flags):
    return match_set([annotated(boxes, **flags)], [found(*detections, scores=scores)])


# ---- Matched sets ----------------------------------------------------------------------------------------------------


def test_who_took_whom():
    images = [annotated([A, B], blur=[0, 2]), annotated([]), annotated([C, A], ignore=[0, 1])]
    result = match_set(images, [found(B, ELSEWHERE), found(A), found(A, C)])
    assert result.image.tolist() == [0, 0, 1, 2, 2] and result.face_image.tolist() == [0, 0, 2, 2]
    assert result.outcome.tolist() == [TRUE, FALSE, FALSE, IGNORED, TRUE]
    assert result.face.tolist() == [1, NO_BOX, NO_BOX, NO_BOX, 2]
    assert result.counted.tolist() == [True, True, True, False]
    np.testing.assert_allclose(result.found_at, [-np.inf, 0.9, 0.8, -np.inf], rtol=1e-6)
    assert result.flags["blur"].tolist() == [0, 2, -1, -1] and result.flags["ignore"].tolist() == [-1, -1, 0, 1]
    with pytest.raises(ValueError, match="3 images but the detections of 1"):
        match_set(images, [found(A)])


def test_nothing_at_all():
    empty = match_set([], [])
    assert (empty.images, len(empty.scores), len(empty.counted)) == (0, 0, 0)
    assert subsets(empty) == [] and calibration(empty).expected_error is None
    assert error_counts(empty, 0.5)["left_out"] == 0
    assert curve_of(empty).average_precision is None
    assert {point["score"] for point in advice(curve_of(empty))} == {None}


def test_average_precision_without_detections():
    assert curve_of(match_set([annotated([A])], [found()])).average_precision == 0


# ---- Kinds of faces --------------------------------------------------------------------------------------------------


def by_kind(result, by):
    return {subset.kind: subset.at(0.5) for subset in subsets(result) if subset.by == by}


def test_other_kinds_are_neither_missed_nor_mistakes():
    result = matched([A, B, C], A, C, blur=[0, 2, 2])
    kinds = by_kind(result, "blur")
    assert kinds["clear"] == {
        "by": "blur",
        "kind": "clear",
        "faces": 1,
        "AP50": 1,
        "found": 1,
        "missed": 0,
        "recall": 1,
    }
    assert (kinds["heavy"]["found"], kinds["heavy"]["missed"]) == (1, 1)
    assert kinds["heavy"]["AP50"] == pytest.approx(51 / 101)
    assert set(by_kind(result, "size")) == {"16 to 32", "32 to 64", "from 128"}


def test_false_alarms_count_against_each_kind_but_size():
    result = matched([A, C], ELSEWHERE, A, C, pose=[0, 1])  # the false alarm, 20 px high, scores best
    assert [kind["AP50"] for kind in by_kind(result, "pose").values()] == pytest.approx([0.5, 0.5])
    sizes = by_kind(result, "size")
    assert (sizes["16 to 32"]["AP50"], sizes["from 128"]["AP50"]) == pytest.approx((0.5, 1))


def test_flags_that_tell_nothing_apart():
    assert by_kind(matched([A, B], A, blur=[1, 1]), "blur") == {}
    assert set(by_kind(matched([A, B], A, occluded=[1, -1]), "occluded")) == {"yes", "not known"}
    assert by_kind(matched([A, B], A, blur=[0, 2], ignore=[0, 1]), "blur") == {}  # only the clear one counts


@pytest.mark.parametrize("seed", range(3))
def test_kinds_add_up_and_agree_with_a_plain_count(seed):
    images, detections = random_set(seed, ignore=0.2, pose=0.4)
    result = match_set(images, detections)
    kinds = by_kind(result, "pose")
    assert sum(kind["faces"] for kind in kinds.values()) == result.counted.sum()
    for value, kind in enumerate(kinds.values()):
        wanted = [
            row for row in range(len(result.counted)) if result.counted[row] and result.flags["pose"][row] == value
        ]
        kept = [
            (score, face in wanted)
            for score, outcome, face in zip(result.scores, result.outcome, result.face, strict=True)
            if outcome == FALSE or (outcome == TRUE and face in wanted)
        ]
        expected = curve(np.array([k[0] for k in kept]), np.array([k[1] for k in kept]), len(wanted))
        assert kind["AP50"] == pytest.approx(expected.average_precision)
        assert kind["found"] == sum(hit for score, hit in kept if score >= 0.5)


# ---- Kinds of errors -------------------------------------------------------------------------------------------------


def test_kinds_of_false_alarms():
    ignored = [600, 0, 640, 40]
    half_in = [625, 0, 665, 40]  # 15 of its 40 columns: IoU 15 / 65
    result = matched([A, B, ignored], A, A, NEAR_A, half_in, ELSEWHERE, ignored, [660, 0, 700, 40], B, ignore=[0, 0, 1])
    assert false_alarm_kinds(result, 0.0).tolist() == [-1, 0, 1, 2, 3, -1, 3, -1]
    assert error_counts(result, 0.0)["false_alarms"] == {
        "duplicate": 1,
        "badly localised": 1,
        "on an ignored face": 1,
        "background": 2,
    }
    assert error_counts(result, 0.0)["left_out"] == 1
    assert false_alarm_kinds(result, 0.65).tolist() == [-1, 0, 1, -1, -1, -1, -1, -1]


def test_a_score_that_is_just_reached_is_reached_everywhere():
    """.9 is a larger number in float64 than in float32, which scores are."""
    result = match_set([annotated([A])], [found(A)])
    assert result.scores.tolist() == [np.float32(0.9)]
    assert curve_of(result).at(0.9)["recall"] == 1 and miss_kinds(result, 0.9).tolist() == [-1]


def test_kinds_of_misses():
    double = [2, 0, 22, 20]  # IoU 18 / 22 with A
    result = match_set(
        [annotated([A, double, B, C]), annotated([A, B])],
        [found(A, C, scores=[0.9, 0.2]), found(NEAR_A, scores=[0.9])],
    )
    assert miss_kinds(result, 0.5).tolist() == [-1, 1, 3, 0, 2, 3]
    counts = error_counts(result, 0.5)["missed"]
    assert counts == {"score too low": 1, "taken by a neighbour": 1, "badly localised": 1, "nothing there": 2}


@pytest.mark.parametrize("score", [0.0, 0.4, 2.0])
def test_kinds_add_up(score):
    images, detections = random_set(5, ignore=0.3)
    result = match_set(images, detections)
    point, counts = curve_of(result).at(score), error_counts(result, score)
    assert sum(counts["false_alarms"].values()) == point["false_positives"]
    assert sum(counts["missed"].values()) == point["missed"]


# ---- Calibration -----------------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    """.95, .9 (on the limit) and 1, two of them faces; .125 and .125, one of them."""
    result = match_set(
        [annotated([A, B, C]), annotated([A])],
        [found(A, B, ELSEWHERE, scores=[0.95, 0.9, 0.125]), found(A, ELSEWHERE, scores=[0.125, 1.0])],
    )
    bins = calibration(result)
    assert bins.detections.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins.mean_score[[1, 9]] == pytest.approx([0.125, 2.85 / 3])
    assert bins.share_true[[1, 9]] == pytest.approx([1 / 2, 2 / 3])
    assert bins.expected_error == pytest.approx((2 * 0.375 + 3 * (2.85 / 3 - 2 / 3)) / 5)
    described = bins.to_json()["bins"]
    assert described[0] == {"from": 0, "to": 0.1, "detections": 0, "mean_score": None, "share_true": None}
    assert described[9]["share_true"] == pytest.approx(2 / 3)


def test_calibrated_scores_have_no_error_and_ignored_detections_do_not_count():
    draw = np.random.default_rng(0)
    boxes = np.array([[i * 30, 0, i * 30 + 20, 20] for i in range(50)])
    detections = [Faces(boxes, draw.uniform(size=50)) for _ in range(200)]
    images = [annotated(faces.xyxy[draw.uniform(size=50) < faces.scores]) for faces in detections]
    assert calibration(match_set(images, detections)).expected_error < 0.03
    everything_ignored = match_set([annotated(boxes, ignore=np.ones(50))] * 200, detections)
    assert calibration(everything_ignored).expected_error is None


# ---- Thresholds ------------------------------------------------------------------------------------------------------


def test_advice_by_hand():
    #          hit   hit    false   hit    false  false
    result = curve(
        np.float32([0.9, 0.731, 0.7302, 0.5, 0.44, 0.43]), np.array([True, True, False, True, False, False]), 4
    )
    assert score_for_precision(result, 1) == 0.731  # the lowest with precision 1; 0.73 would take the next one too
    assert score_for_precision(result, 0.75) == 0.5  # precision 3/4 there, though 2/3 in between
    assert score_for_precision(result, 0.6) == 0.44
    assert score_for_precision(result, 0.1) == 0.4  # the number with fewest digits that keeps all
    assert [point["score"] for point in advice(result, (0.75, 1.0))] == [0.5, 0.731]
    assert score_for_precision(curve(np.float32([0.9]), np.array([False]), 1), 0.5) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_advised_score_keeps_its_promise(seed):
    images, detections = random_set(seed, count=30, decimals=6)
    result = curve_of(match_set(images, detections))
    for point in advice(result, tuple(np.linspace(0.05, 0.95, 10))):
        if point["score"] is not None:
            assert point["precision"] >= point["wanted_precision"]
        lower = result.scores if point["score"] is None else result.scores[result.scores < np.float32(point["score"])]
        assert all(result.at(score)["precision"] < point["wanted_precision"] for score in lower.tolist())
