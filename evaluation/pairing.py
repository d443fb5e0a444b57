"""Brings detections and the annotated images together, and refuses what does not fit.

Detections are a detections file (.jsonl), COCO results (.json, evaluation.coco_results) or a WIDER FACE submission (a
folder, evaluation.wider_submission).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from evaluation import coco_results, wider_submission
from tools.annotations import AnnotatedImage


def detections_for(
    images: Sequence[AnnotatedImage], path: str | Path, ids: coco_results.Ids | None = None
) -> list[Faces]:
    """The detections of each image, in the order of the images; see lines_for."""
    return [line.faces for line in lines_for(images, path, ids)]


def lines_for(
    images: Sequence[AnnotatedImage],
    path: str | Path,
    ids: coco_results.Ids | None = None,
    *,
    allow_failed: bool = False,
) -> list[ImageDetections]:
    """The detections of each image with what else is known of it, in the order of the images.

    Args:
        path: a file or folder of one of the three formats.
        ids: the image ids of COCO results, {id: name}; by default the images count from 1.
        allow_failed: return lines with an `error`, too, for the caller to leave out.

    Raises:
        UserError: an image has no line or a failed one, a line has no image, or comes twice, or is for an image of
            another size, or has a number that is not finite. An evaluation that passes over such things gives figures
            that cannot be compared.
    """
    lines: dict[str, ImageDetections] = {}
    for line in without_folder(_read(Path(path), images, ids), {image.name for image in images}):
        if line.image in lines:
            raise UserError(f"{path}: {line.image} is there twice")
        lines[line.image] = line
    sizes = {image.name: (image.width, image.height) for image in images}
    found = {name: line for name, line in lines.items() if line.error is None}
    missing = f"images have no {'file' if Path(path).is_dir() else 'line'} in it"
    failed = [] if allow_failed else [name for name in sizes if name in lines and name not in found]
    wrong = [
        (missing, [name for name in sizes if name not in lines]),
        ("images failed when it was made", failed),
        ("of its images are not in the annotations", [name for name in lines if name not in sizes]),
        (
            "images had another size when it was made",
            [name for name, size in sizes.items() if name in found and (found[name].width, found[name].height) != size],
        ),
        (
            "images have a box or score in it that is not a finite number",
            [name for name, line in found.items() if not _finite(line.faces)],
        ),
    ]
    for what, names in wrong:
        if names:
            more = "" if len(names) == 1 else ", ..."
            raise UserError(f"{path}: {len(names)} of {len(sizes)} {what} ({names[0]}{more}); make it on these images")
    return [lines[name] for name in sizes]


def without_folder(lines: Iterable[ImageDetections], names: Collection[str]) -> Iterator[ImageDetections]:
    """Lines of `detect-faces FOLDER`, whose images have the folder in front, with the names that annotations have.

    Args:
        names: of the annotated images. What the first line has in front of one of them is taken off all lines that
            begin with it, where not one line has a name of theirs as it stands.
    """
    lines = list(lines)
    known = set(names)
    if not lines or any(line.image in known for line in lines):
        return iter(lines)
    parts = lines[0].image.split("/")
    folder = next((f"{'/'.join(parts[:n])}/" for n in range(1, len(parts)) if "/".join(parts[n:]) in known), "")
    return (replace(line, image=line.image.removeprefix(folder)) for line in lines)


def _read(path: Path, images: Sequence[AnnotatedImage], ids: coco_results.Ids | None):
    if path.is_dir():
        return wider_submission.read(path, images)
    if path.suffix.lower() == ".json":
        return coco_results.read(path, images, ids)
    return detections_file.read(path)


def _finite(faces: Faces) -> bool:
    return bool(np.isfinite(faces.xyxy).all() and np.isfinite(faces.scores).all())
