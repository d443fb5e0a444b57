"""Brings the lines of a detections file and the annotated images together, and refuses what does not fit."""

from collections.abc import Sequence
from pathlib import Path

from detect_faces import Faces, UserError, detections_file
from tools.annotations import AnnotatedImage


def detections_for(images: Sequence[AnnotatedImage], path: str | Path) -> list[Faces]:
    """The detections of each image, in the order of the images.

    Raises:
        UserError: an image has no line or a failed one, a line has no image, or comes twice, or is for an image of
            another size. An evaluation that passes over such things gives figures that cannot be compared.
    """
    lines = {}
    for line in detections_file.read(path):
        if line.image in lines:
            raise UserError(f"{path}: {line.image} is there twice")
        lines[line.image] = line
    sizes = {image.name: (image.width, image.height) for image in images}
    found = {name: line for name, line in lines.items() if line.error is None}
    wrong = [
        ("images have no line in it", [name for name in sizes if name not in lines]),
        ("images failed when it was made", [name for name in sizes if name in lines and name not in found]),
        ("of its images are not in the annotations", [name for name in lines if name not in sizes]),
        (
            "images had another size when it was made",
            [name for name, size in sizes.items() if name in found and (found[name].width, found[name].height) != size],
        ),
    ]
    for what, names in wrong:
        if names:
            more = "" if len(names) == 1 else ", ..."
            raise UserError(f"{path}: {len(names)} of {len(sizes)} {what} ({names[0]}{more}); make it on these images")
    return [found[name].faces for name in sizes]
