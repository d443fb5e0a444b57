"""Tracking: boxes on hand-made paths, seen by a detector that shakes, blinks and doubts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces import Faces
from detect_faces.tracking import Tracker, steady


def one(box, score: float = 0.9) -> Faces:
    return Faces([box], [score])


def at(x: float, y: float, side: float = 40) -> list[float]:
    return [x, y, x + side, y + side]


def follow(tracker: Tracker, frames: list[Faces]) -> list:
    return [tracker.update(faces) for faces in frames]


def iou(a, b) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = np.maximum(sides, 0).prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)


def test_no_faces():
    assert [len(tracks) for tracks in follow(Tracker(), [Faces.empty()] * 3)] == [0, 0, 0]
    assert list(steady([], Tracker())) == []


def test_two_faces_that_pass_each_other_keep_their_numbers():
    frames = [Faces([at(8 * k, 100), at(160 - 8 * k, 130)], [0.9, 0.8]) for k in range(21)]
    for k, tracks in enumerate(follow(Tracker(), frames)):
        assert tracks.ids.tolist() == [1, 2]
        assert iou(tracks.faces.xyxy[0], np.array(at(8 * k, 100))) > 0.7


@pytest.mark.parametrize("speed", [0, 2, 5, 10, 20, 39])
def test_smoothing_does_not_lag_behind_a_moving_face(speed):
    frames = [one(at(speed * k, 50)) for k in range(30)]
    for k, tracks in enumerate(follow(Tracker(), frames)):
        assert tracks.ids.tolist() == [1]
        assert iou(tracks.faces.xyxy[0], np.array(at(speed * k, 50))) >= 0.7
    assert iou(tracks.faces.xyxy[0], np.array(at(speed * 29, 50))) > 0.95


def test_a_shaking_box_is_steadied():
    rng = np.random.default_rng(0)
    frames = [one(np.array(at(100, 100)) + rng.normal(0, 1.5, 4)) for _ in range(200)]
    steadied = np.array([tracks.faces.xyxy[0] for tracks in follow(Tracker(), frames)])
    shaking = np.array([faces.xyxy[0] for faces in frames])
    assert np.abs(np.diff(steadied, axis=0)).mean() < 0.75 * np.abs(np.diff(shaking, axis=0)).mean()
    assert np.array_equal(
        [tracks.faces.xyxy[0] for tracks in follow(Tracker(smoothing=0), frames)], shaking.astype(np.float32)
    )


def test_a_face_is_covered_through_its_gaps_and_not_longer():
    """It moves on while it is not seen, and is the same when it comes back."""
    seen = [True] * 10 + [False] * 4 + [True] * 5 + [False] * 8
    frames = [one(at(4 * k, 50)) if there else Faces.empty() for k, there in enumerate(seen)]
    tracks = follow(Tracker(grace=5), frames)
    assert [len(of) for of in tracks] == [1] * 24 + [0] * 3
    assert [of.unseen.tolist() for of in tracks[9:16]] == [[0], [1], [2], [3], [4], [0], [0]]
    for k in range(19):
        assert tracks[k].ids.tolist() == [1]
        assert iou(tracks[k].faces.xyxy[0], np.array(at(4 * k, 50))) > 0.7
    assert len(follow(Tracker(grace=0), frames)[10]) == 0


def test_doubtful_detections_go_on_with_a_track_but_begin_none():
    frames = [one(at(0, 0), score) for score in (0.3, 0.6, 0.3, 0.3)]
    tracks = follow(Tracker(start_score=0.5, grace=0), frames)
    assert [of.ids.tolist() for of in tracks] == [[], [1], [1], [1]]


def test_a_sure_detection_takes_the_track_before_a_doubtful_one_that_overlaps_more():
    tracker = Tracker(start_score=0.5)
    tracker.update(one(at(100, 100)))
    tracks = tracker.update(Faces([at(104, 100), at(100, 101)], [0.8, 0.2]))
    assert tracks.ids.tolist() == [1] and tracks.faces.scores.tolist() == [pytest.approx(0.8)]


def test_a_face_elsewhere_is_another():
    tracks = follow(Tracker(grace=2), [one(at(0, 0)), one(at(300, 300)), one(at(0, 300))])
    assert [sorted(of.ids.tolist()) for of in tracks] == [[1], [1, 2], [1, 2, 3]]


@pytest.mark.parametrize("look_back", [0, 1, 5, 50])
def test_a_face_is_shown_before_it_is_first_seen(look_back):
    frames = [(k, one(at(10, 10)) if k >= 8 else Faces.empty()) for k in range(12)]
    result = list(steady(iter(frames), Tracker(), look_back))
    assert [k for k, _ in result] == list(range(12))
    for k, tracks in result:
        expected = [max(0, 8 - k)] if k >= 8 - look_back else []
        assert tracks.unseen.tolist() == expected
        assert len(tracks.faces) == len(expected)


def test_looking_back_holds_no_more_frames_than_it_says():
    drawn = 0

    def frames():
        nonlocal drawn
        for k in range(100):
            drawn += 1
            yield k, one(at(k, 10))

    for k, _ in steady(frames(), Tracker(), 5):
        assert drawn - k <= 6


@pytest.mark.parametrize("wrong", [{"grace": -1}, {"smoothing": 1}, {"smoothing": -0.1}])
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tracker(**wrong)


box = st.tuples(*[st.floats(-50, 500)] * 2, *[st.floats(0, 300)] * 2).map(
    lambda of: [of[0], of[1], of[0] + of[2], of[1] + of[3]]
)


@given(st.lists(st.lists(st.tuples(box, st.floats(0, 1)), max_size=6), max_size=12), st.integers(0, 3))
def test_every_sure_detection_is_covered_in_its_frame_and_numbers_are_never_given_twice(frames, grace):
    tracker = Tracker(start_score=0.5, grace=grace, smoothing=0)
    gone, before = set(), set()
    for found in frames:
        faces = Faces([box for box, _ in found], [score for _, score in found])
        tracks = tracker.update(faces)
        assert len(tracks.ids) == len(set(tracks.ids)) == len(tracks.faces)
        assert (np.diff(tracks.faces.scores) <= 0).all()
        for sure in faces.at_least(0.5).xyxy:
            assert np.abs(tracks.faces.xyxy - sure).max(axis=1).min() < 1e-3
        now = set(tracks.ids.tolist())
        gone |= before - now
        before = now
        assert not gone & now and (tracks.unseen <= grace).all()
