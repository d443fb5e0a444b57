"""Small sets of images and detectors of known results, on disk, for the commands that compare."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tools.annotations import AnnotatedImage
from tools.formats import tfrecord
from tools.report import Report

WIDTH, HEIGHT = 120, 90


def records(folder: Path, boxes: Sequence[Sequence[Sequence[float]]], flags: Sequence[dict] | None = None) -> str:
    """Records of grey images, one for each list of boxes, whose pixels are bright in the boxes; returns their path."""
    images = []
    for i, xyxy in enumerate(boxes):
        pixels = np.full((HEIGHT, WIDTH, 3), 40 + i, np.uint8)
        for x_min, y_min, x_max, y_max in np.array(xyxy, int).reshape(-1, 4):
            pixels[y_min:y_max, x_min:x_max] = 220
        data = cv2.imencode(".png", pixels)[1].tobytes()
        images.append(
            AnnotatedImage(
                f"folder/{i}.png", WIDTH, HEIGHT, xyxy, ("face",) * len(xyxy), data, flags[i] if flags else {}
            )
        )
    tfrecord.save(images, folder, Report(), label_map={"face": 1}, shards=1)
    return str(folder)


def detector(path: Path, find: str, name: str = "", settings: str = "as written") -> str:
    """A detector's file; `find` is the Python expression of its faces, from `image` and `np`. Returns its path."""
    path.write_text(
        f"""
import numpy as np
from detect_faces import Faces

class Written:
    name, settings, min_score, files = {name or path.stem!r}, {settings!r}, 0.5, ()

    def detect(self, image, min_score=0.0):
        return ({find}).at_least(min_score)

def load(model, threads):
    return Written()
"""
    )
    return str(path)


# The box around all that is bright, as `records` paints faces.
BRIGHT = (
    "(lambda y, x: Faces([[x.min(), y.min(), x.max() + 1, y.max() + 1]], [0.9]) if len(x) else Faces.empty())"
    "(*np.nonzero(image[..., 0] > 128))"
)
NOTHING = "Faces.empty()"
CORNER = "Faces([[0, 0, 10, 10]], [0.6])"
