"""Images and detections for the tests of the metrics: by hand, and random ones with stray detections."""

import numpy as np

from detect_faces import Faces
from tools.annotations import AnnotatedImage


def annotated(boxes, name: str = "a.jpg", side: int = 1000, **flags) -> AnnotatedImage:
    return AnnotatedImage(name, side, side, boxes, ("face",) * len(boxes), b"", flags)


def found(*boxes, scores=None) -> Faces:
    """Detections with scores 0.9, 0.8, ... or those given."""
    return Faces(list(boxes), [0.9 - i / 10 for i in range(len(boxes))] if scores is None else scores)


def random_set(seed: int, count: int = 12, most: int = 20, decimals: int = 6, **flags: float):
    """`count` images of 0 to `most` boxes, and detections of which 70 % are near a face; few decimals: equal scores.

    flags: how often each is set.
    """
    draw = np.random.default_rng(seed)

    def boxes(n):
        corner, size = draw.uniform(0, 900, (n, 2)), np.exp(draw.uniform(1, 5, (n, 2)))
        return (
            np.rint(np.hstack([corner, corner + size])) if draw.random() < 0.3 else np.hstack([corner, corner + size])
        )

    images, detections = [], []
    for number in range(count):
        n, m = int(draw.choice([0, 1, 3, most])), int(draw.choice([0, 2, 3 * most]))
        true, moved = boxes(n), boxes(m)
        if n:
            near = draw.random(m) < 0.7
            noise = draw.choice([0, 1, 4]) * draw.normal(size=(near.sum(), 4))
            moved[near] = true[draw.integers(0, n, near.sum())] + noise
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        values = {name: draw.random(n) < share for name, share in flags.items()}
        images.append(annotated(true, f"e/{number}.jpg", **values))
        detections.append(Faces(moved, np.round(draw.random(m), decimals)))
    return images, detections
