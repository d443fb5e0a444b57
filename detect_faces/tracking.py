"""Tracking: which face of a video is which, so that boxes don't jump and none is missing for a frame.

Boxes of two frames belong together by their overlap, as in SORT (Bewley et al., 2016), the best pair first, and surer
detections before doubtful ones, which may go on with a track but not begin one, as in ByteTrack (Zhang et al., 2022).
The boxes are enlarged before they are compared, so that small fast faces still meet (Yang et al., "Hard to track
objects with irregular motions and similar appearances?", 2023). Positions are smoothed by an alpha-beta filter
(Benedict and Bordner, 1962), which follows steady motion without lagging behind it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from detect_faces.faces import Faces

GO_ON = 0.5  # of the score that begins a track: enough to go on with one, so detect from there on
BUFFER = 0.3  # of its width and height, that a box is enlarged by on every side before it is compared
MIN_IOU = 0.2  # of enlarged boxes that may be the same face: it may move by its own width between two frames
BETA = 0.2  # how much of what was not foreseen goes into the velocity
LOST_DAMPING = 0.8  # of the velocity, with each frame that a face is not seen in
CLOSE_IOU = 0.7  # of the smoothed box and the detection; where they overlap less, the detection counts

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Tracks:
    """The faces of a frame, each with the number that it has in all frames.

    Attributes:
        faces: smoothed, best score first, those that are not seen at the moment among them, with their last score.
        ids: (N,) int, from 1.
        unseen: (N,) int, frames since the detector saw it last, or until it sees it first; 0 if it does in this one.
    """

    faces: Faces
    ids: np.ndarray
    unseen: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Tracker:
    """Follows faces from frame to frame.

    >>> tracker = Tracker(grace=1)
    >>> for boxes in [[[10, 10, 50, 50]], [[14, 10, 54, 50]], [], []]:
    ...     tracks = tracker.update(Faces(boxes, [0.9] * len(boxes)))
    ...     print(tracks.ids, tracks.unseen, tracks.faces.xyxy.round().astype(int).tolist())
    [1] [0] [[10, 10, 50, 50]]
    [1] [0] [[12, 10, 52, 50]]
    [1] [1] [[13, 10, 53, 50]]
    [] [] []

    Attributes:
        start_score, grace, smoothing: as given.
    """

    def __init__(self, *, start_score: float = 0.0, grace: int = 12, smoothing: float = 0.4):
        """Args:
        start_score: a detection with a lower one begins no track. So detect from GO_ON of it on.
        grace: frames for which a face is kept that the detector does not see; 12 are half a second of most videos.
        smoothing: 0 takes the boxes as they are detected; near 1 they hardly move.

        Raises:
            ValueError: grace below 0, or smoothing not in 0..1 without 1.
        """
        if grace < 0 or not 0 <= smoothing < 1:
            raise ValueError(f"grace {grace} is below 0, or smoothing {smoothing} is not in 0..1, without 1")
        self.start_score, self.grace, self.smoothing = start_score, grace, smoothing
        self._tracks: list[_Track] = []
        self._last_id = 0

    def update(self, faces: Faces) -> Tracks:
        """The tracks after the next frame.

        Args:
            faces: that were detected in it.
        """
        for track in self._tracks:
            track.foresee()
        sure = faces.scores >= self.start_score
        rest, new = self._match(self._tracks, faces.select(sure))
        rest, _ = self._match(rest, faces.select(~sure))
        for track in rest:
            track.miss()
        for box, score in new:
            self._last_id += 1
            self._tracks.append(_Track(self._last_id, box, score))
        self._tracks = [track for track in self._tracks if track.unseen <= self.grace]
        return _tracks([(track.box, track.score, track.id, track.unseen) for track in self._tracks])

    def _match(self, tracks: list["_Track"], faces: Faces) -> tuple[list["_Track"], list[tuple[np.ndarray, float]]]:
        """Moves the tracks to the faces that are theirs. Returns the tracks and the (box, score) that are left."""
        pairs = _pairs(np.array([track.box for track in tracks]).reshape(-1, 4), faces.xyxy)
        found = list(faces)
        for t, f in pairs:
            tracks[t].see(*found[f], self.smoothing)
        seen, taken = {t for t, _ in pairs}, {f for _, f in pairs}
        left = [track for t, track in enumerate(tracks) if t not in seen]
        return left, [face for f, face in enumerate(found) if f not in taken]


def steady(frames: Iterable[tuple[Item, Faces]], tracker: Tracker, look_back: int = 5) -> Iterator[tuple[Item, Tracks]]:
    """Follows the faces of a video, and shows each also in the frames before the one that it was first detected in.

    A face that turns to the camera, or comes into the light, is there before the detector sees it.

    Args:
        frames: pairs of anything, such as the picture, and the faces detected in it.
        tracker: a new one.
        look_back: so many frames earlier; so many pairs are held in memory.

    Yields:
        The same items in the same order with their tracks.
    """
    held: deque[tuple[Item, Tracks]] = deque()
    known = 0  # the highest id so far
    for item, faces in frames:
        tracks = tracker.update(faces)
        new = tracks.ids > known
        if new.any():
            known = tracks.ids.max()
            for back, (earlier, before) in enumerate(reversed(held), 1):
                added = [(box, score, id, back) for box, score, id, _ in _entries(tracks) if id in tracks.ids[new]]
                held[-back] = (earlier, _tracks(_entries(before) + added))
        held.append((item, tracks))
        if len(held) > look_back:
            yield held.popleft()
    yield from held


def _entries(tracks: Tracks) -> list[tuple[np.ndarray, float, int, int]]:
    """(box, score, id, unseen) of each track."""
    return list(zip(tracks.faces.xyxy, tracks.faces.scores, tracks.ids, tracks.unseen, strict=True))


def _tracks(entries: list[tuple[np.ndarray, float, int, int]]) -> Tracks:
    """From (box, score, id, unseen) in any order."""
    entries = sorted(entries, key=lambda entry: -entry[1])  # the order that Faces has
    boxes, scores, ids, unseen = zip(*entries, strict=True) if entries else ((), (), (), ())
    return Tracks(Faces(np.array(boxes), np.array(scores)), np.array(ids, int), np.array(unseen, int))


class _Track:
    """One face: its smoothed box, as centre and size, and how these change from frame to frame."""

    def __init__(self, id: int, box: np.ndarray, score: float):
        self.id, self.score, self.unseen = id, score, 0
        self._state, self._velocity = _centre_and_size(box), np.zeros(4)

    @property
    def box(self) -> np.ndarray:
        """(4,) xyxy."""
        centre, size = self._state[:2], self._state[2:]
        return np.concatenate([centre - size / 2, centre + size / 2])

    def foresee(self) -> None:
        """Moves on by one frame."""
        self._state = self._state + self._velocity
        self._state[2:] = np.maximum(self._state[2:], 1)

    def see(self, box: np.ndarray, score: float, smoothing: float) -> None:
        """Corrects what was foreseen by what was detected."""
        seen = _centre_and_size(box)
        surprise = seen - self._state
        self._state = seen - smoothing * surprise
        self._velocity = self._velocity + BETA * surprise
        if _iou(self.box[None], box[None].astype(float))[0, 0] < CLOSE_IOU:
            self._state = seen
        self.score, self.unseen = score, 0

    def miss(self) -> None:
        """Notes that it was not detected: it moves on, more and more slowly, and keeps its size."""
        self._velocity = self._velocity * LOST_DAMPING
        self._velocity[2:] = 0
        self.unseen += 1


def _centre_and_size(box: np.ndarray) -> np.ndarray:
    """(x, y, width, height) of (4,) xyxy, float64."""
    low, high = box[:2].astype(float), box[2:].astype(float)
    return np.concatenate([(low + high) / 2, high - low])


def _pairs(tracked: np.ndarray, detected: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of positions of boxes, (T, 4) and (N, 4) xyxy, that are the same face; those that overlap most first."""
    overlaps = _iou(_enlarged(tracked), _enlarged(detected.astype(float)))
    t_index, f_index = np.nonzero(overlaps >= MIN_IOU)
    pairs, t_taken, f_taken = [], set(), set()
    for best in np.argsort(-overlaps[t_index, f_index], kind="stable"):
        t, f = int(t_index[best]), int(f_index[best])
        if t not in t_taken and f not in f_taken:
            pairs.append((t, f))
            t_taken.add(t)
            f_taken.add(f)
    return pairs


def _enlarged(boxes: np.ndarray) -> np.ndarray:
    margins = BUFFER * (boxes[:, 2:] - boxes[:, :2])
    return np.hstack([boxes[:, :2] - margins, boxes[:, 2:] + margins])


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(A, B) intersection over union of boxes (A, 4) and (B, 4) xyxy; 0 where both have no area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    overlap = np.maximum(high - low, 0).prod(axis=2)
    areas, other_areas = ((of[:, 2:] - of[:, :2]).prod(axis=1) for of in (boxes, others))
    return overlap / np.maximum(areas[:, None] + other_areas[None] - overlap, 1e-9)
