"""COCO's results format: one JSON list, an object for each detection.

    [{"image_id": 1, "category_id": 1, "bbox": [10.0, 20.5, 30.0, 40.0], "score": 0.9}]

A bbox is [x, y, width, height] in pixels of the upright image. Which image an image_id means is written in the
annotations; without COCO annotations the images count from 1 in their order, as `tools.convert --to coco` numbers them.
An image without detections does not appear, so that an image which nobody looked at cannot be told from one without
faces; image sizes and times are not kept. Every category is taken for the face. Source:
https://cocodataset.org/#format-results.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from detect_faces import Faces, UserError
from detect_faces.detections_file import ImageDetections
from detect_faces.whole_file import whole_file
from tools.annotations import AnnotatedImage

Ids = Mapping[int | str, str]  # of images: {id: name}


def ids_by_order(images: Sequence[AnnotatedImage]) -> Ids:
    """1, 2, ... in the order of the images."""
    return {number: image.name for number, image in enumerate(images, 1)}


def ids_in_annotations(path: str | Path) -> Ids:
    """The ids in a COCO annotations file that could be read before (tools.formats.coco)."""
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["images"]
    return {entry["id"]: entry["file_name"] for entry in entries if "id" in entry and "file_name" in entry}


def read(path: str | Path, images: Sequence[AnnotatedImage], ids: Ids | None = None) -> list[ImageDetections]:
    """The detections of all images, and of what else is in the file under its id as a name.

    Args:
        images: those that were looked at; they give the names and sizes.
        ids: {id: name}, by default ids_by_order.

    Raises:
        UserError: it cannot be read, or is not of the format; the message names the entry.
    """
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a COCO results file (.json)") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}), so not a COCO results file") from error
    if not isinstance(entries, list):
        raise UserError(f"{path}: not a COCO results file, which is a list; annotations are given as --annotations")
    ids = ids_by_order(images) if ids is None else ids
    found: dict[str, tuple[list, list]] = {image.name: ([], []) for image in images}
    for number, entry in enumerate(entries):
        try:
            name = ids.get(entry["image_id"], f"image_id {entry['image_id']}")
            x, y, width, height = (float(value) for value in entry["bbox"])
            score = float(entry["score"])
            if not all(map(math.isfinite, (x, y, width, height, score))):
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, entry {number}: not a COCO result ({error!r})") from error
        boxes, scores = found.setdefault(name, ([], []))
        boxes.append([x, y, x + width, y + height])
        scores.append(score)
    sizes = {image.name: (image.width, image.height) for image in images}
    return [ImageDetections(name, *sizes.get(name, (0, 0)), Faces(*these)) for name, these in found.items()]


def write(path: str | Path, lines: Sequence[ImageDetections], ids: Ids | None = None) -> int:
    """Writes the file whole or not at all, and returns the number of detections; images that failed are left out.

    Args:
        ids: {id: name} of the images; by default they count from 1 in the order of the lines.
    """
    numbers = {name: number for number, name in (ids or dict(enumerate((line.image for line in lines), 1))).items()}
    count = 0
    with whole_file(Path(path), encoding="utf-8") as file:
        file.write("[")
        for line in lines:
            for face in line.to_json().get("faces", []):
                x_min, y_min, x_max, y_max = face["box"]
                bbox = [x_min, y_min, round(x_max - x_min, 2), round(y_max - y_min, 2)]
                entry = {"image_id": numbers[line.image], "category_id": 1, "bbox": bbox, "score": face["score"]}
                file.write((",\n" if count else "\n") + json.dumps(entry))
                count += 1
        file.write("\n]\n")
    return count
