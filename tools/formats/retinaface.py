"""RetinaFace and SCRFD labels: one text file, a line `# path` for each image and a line for each of its faces.

    # 0--Parade/0_Parade_Parade_0_904.jpg 1024 1385
    361 98 624 437 424.143 251.656 0 547.134 232.571 0 494.121 325.875 0 453.83 368.286 0 561.978 342.839 0 0.89

The two generations of the format can only be told apart by the line of the image:
- `# path width height` (labelv2.txt of SCRFD): a face is `x1 y1 x2 y2`, its corners in pixels. With exactly one more
  number this says whether the face is to be ignored, 1 or 0.
- `# path` (label.txt of RetinaFace): a face is `x y width height`.
In both, five landmarks `x y visibility` (-1 -1 -1: not annotated) may follow, and behind them one score of the face's
clearness. Source: detection/scrfd/README.md, mmdet/datasets/retinaface.py below it, and
detection/retinaface/rcnn/dataset/retinaface.py in https://github.com/deepinsight/insightface.

Loading drops landmarks and score; faces of zero or negative size are dropped and counted. Saving writes labelv2 with
the number that says what is to be ignored, as SCRFD trains on no line of four numbers; groups are to be ignored too.
Class names and the other flags are dropped. SCRFD itself reads no path with spaces.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.formats import ImageStream
from tools.images import ImageError, image_folder, path_inside, put_image, upright_boxes
from tools.report import Report
from tools.text_lines import numbered_lines

ANNOTATIONS = "labelv2.txt"  # what save calls it
KEEPS = ("ignore", "group_of")  # both as ignore
_LANDMARKS = 15  # numbers


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a label file, in its order. The one class of the format is called "face"."""
    if "face" not in (classes or {"face": "face"}):
        raise UserError("RetinaFace labels have one class, face: give --class face=NAME or nothing")
    folder = image_folder(images)
    count = sum(text.startswith("#") for _, text in numbered_lines(annotations, "a RetinaFace label file"))
    if not count:
        raise UserError(f"{annotations}: no line `# path`, so not a RetinaFace label file (label.txt, labelv2.txt)")
    return ImageStream(count, _load(annotations, folder, classes, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/labelv2.txt; images that are not files yet go to `output`/images."""
    output = Path(output)
    with whole_file(output / ANNOTATIONS, encoding="utf-8") as file:
        for image in images:
            try:
                name = put_image(image, output / "images")
                if name != name.strip() or "\n" in name or "\r" in name:
                    raise ImageError(f"{name!r} would not be read as an image's path in a label file")
            except ImageError as error:
                report.problem(" ".join(image.name.splitlines()), str(error))
                continue
            file.write("\n".join([f"# {name} {image.width} {image.height}", *_face_lines(image), ""]))
            report.images += 1
            report.boxes += len(image)
        report.need_images(output)


def _entries(path: str | Path, report: Report) -> Iterator[tuple[int, str, list[tuple[int, str]]]]:
    """What stands behind each #, with its line number, and the lines up to the next one."""
    entry = None
    for number, text in numbered_lines(path, "a RetinaFace label file"):
        if text.startswith("#"):
            if entry:
                yield entry
            entry = number, text[1:].strip(), []
        elif entry:
            entry[2].append((number, text))
        else:
            report.problem(f"{path}, line {number}", f"comes before the first image path: {text[:40]!r}")
    if entry:
        yield entry


def _load(
    path: str | Path, folder: Path, classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    seen: dict[str, int] = {}
    for number, header, rows in _entries(path, report):
        place = f"{path}, line {number}"
        name, size = _name_and_size(header)
        if name in seen:
            report.problem(place, f"{name} is there twice, first on line {seen[name]}; this one is left out")
            continue
        seen[name] = number
        try:
            source = path_inside(folder, name)
            if not os.path.isfile(source):
                raise ImageError("no such file")
            found = [_face(text, bool(size), f"{path}, line {row}", classes, report) for row, text in rows]
            faces = [face for face in found if face]
            width, height, xyxy = upright_boxes(source, size or (0, 0), [face[:4] for face in faces])
        except ImageError as error:
            report.problem(place, f"{name}: {error}")
            continue
        flags = {"ignore": [face[4] for face in faces]}
        yield AnnotatedImage(name, width, height, xyxy, tuple(face[5] for face in faces), source, flags)


def _name_and_size(header: str) -> tuple[str, tuple[int, int] | None]:
    """The path in an image's line, and the (width, height) that labelv2 states."""
    parts = header.rsplit(maxsplit=2)
    if len(parts) == 3 and all(part.isdecimal() and len(part) < 10 for part in parts[1:]):
        return parts[0], (int(parts[1]), int(parts[2]))
    return header, None


def _face(
    text: str, corners: bool, place: str, classes: Mapping[str, str] | None, report: Report
) -> tuple[float, float, float, float, bool, str] | None:
    """The box of a face line, whether to ignore it, and its class; None for a face that is left out."""
    try:
        values = [float(value) for value in text.split()]
    except ValueError:
        values = []
    more = len(values) - 4
    if more not in (0, _LANDMARKS, _LANDMARKS + 1) and not (corners and more == 1):
        what = "`x1 y1 x2 y2`, whether to ignore it" if corners else "`x y width height`"
        report.problem(place, f"not {what} or five landmarks: {text[:60]!r}; this face is left out")
        return None
    name = report.chosen("face", classes)
    if more == 1 and values[4] not in (0, 1):
        report.problem(place, f"the fifth number must be 1 (ignore) or 0: {text[:60]!r}; this face is left out")
        return None
    x1, y1, x2, y2 = values[:4]
    if not corners:
        if x2 <= 0 or y2 <= 0:  # WIDER FACE has some: nothing that a user would have to mend
            report.dropped["zero or negative size"] += 1
            return None
        x2, y2 = x1 + x2, y1 + y2
    if reason := boxes.fault(x1, y1, x2, y2):
        report.problem(place, f"the box is {text[:60]!r}: {reason}; this face is left out")
        return None
    if x1 == x2 or y1 == y2:
        report.dropped["zero or negative size"] += 1
        return None
    return x1, y1, x2, y2, more == 1 and values[4] == 1, name


def _face_lines(image: AnnotatedImage) -> Iterator[str]:
    ignore = image.ignore | (image.flags.get("group_of", image.ignore) == 1)
    for box, ignored in zip(image.xyxy.tolist(), ignore, strict=True):
        yield " ".join([*map(_number, box), str(int(ignored))])


def _number(value: float) -> str:
    """`value` in the fewest digits that read as the same number."""
    return str(int(value)) if value.is_integer() else repr(value)
