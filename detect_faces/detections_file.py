"""The detections file: JSON lines, one image a line, written and read by every detector and metric.

    {"image": "a/b.jpg", "width": 640, "height": 480, "faces": [{"box": [xmin, ymin, xmax, ymax], "score": 0.9}],
     "ms": 7.1}

Boxes are in pixels of the upright image; `ms` is the time from the decoded image to the boxes. A bad image has "error"
(one line of text) in place of the faces.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.faces import Faces
from detect_faces.whole_file import whole_file


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What a detector found in one image. `image` is its name in the data set; `error` says why there is no result."""

    image: str
    width: int = 0
    height: int = 0
    faces: Faces | None = None
    ms: float | None = None
    error: str | None = None

    def to_json(self) -> dict:
        """The line of a detections file, as the dictionary that json.dumps takes."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        boxes = [[round(float(side), 2) for side in box] for box in self.faces.xyxy]
        faces = [
            {"box": box, "score": round(float(score), 6)} for box, score in zip(boxes, self.faces.scores, strict=True)
        ]
        ms = None if self.ms is None else round(self.ms, 3)
        return {"image": self.image, "width": self.width, "height": self.height, "faces": faces, "ms": ms}

    @classmethod
    def from_json(cls, line: dict) -> "ImageDetections":
        """The reverse of to_json. Raises KeyError, TypeError or ValueError where the line is not of that form."""
        if "error" in line:
            return cls(str(line["image"]), error=str(line["error"]))
        faces = Faces([face["box"] for face in line["faces"]], [face["score"] for face in line["faces"]])
        return cls(str(line["image"]), int(line["width"]), int(line["height"]), faces, line.get("ms"))


def read(path: str | Path) -> Iterator[ImageDetections]:
    """The images of a detections file, in its order. Raises UserError naming the line that is not of the format."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield ImageDetections.from_json(json.loads(line))
                except (KeyError, TypeError, ValueError) as error:
                    raise UserError(f"{path}, line {number}: not a line of a detections file ({error!r})") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a detections file (.jsonl)") from error


def write(path: str | Path, images: Iterable[ImageDetections]) -> int:
    """Writes the file whole or not at all, and returns the number of images."""
    count = 0
    with whole_file(Path(path), encoding="utf-8") as file:
        for image in images:
            file.write(json.dumps(image.to_json()) + "\n")
            count += 1
    return count
