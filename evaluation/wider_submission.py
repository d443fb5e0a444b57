"""A WIDER FACE submission: a folder with a text file for each image, `<event>/<image>.txt`.

    0_Parade_marchingband_1_465
    2
    345.0 211.0 40.0 51.0 0.97
    10.5 126.0 33.0 43.0 0.12

The image's name, the number of detections, and `x y width height score` in pixels for each. The file has the path of
the image with .txt in place of its suffix; what its first line says is not looked at. Sizes and times are not kept.
Source: the README of eval_tools.zip, http://shuoyang1213.me/WIDERFACE/.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from detect_faces import Faces, UserError
from detect_faces.detections_file import ImageDetections
from tools.annotations import AnnotatedImage


def read(folder: str | Path, images: Sequence[AnnotatedImage]) -> list[ImageDetections]:
    """The detections of each text file; one that belongs to none of the images is named as its file is.

    Args:
        images: give the names and sizes.

    Raises:
        UserError: the folder has no such file, or one is not of the format; the message names the line.
    """
    folder = Path(folder)
    known = {_file_of(image.name): (image.name, image.width, image.height) for image in images}
    result = []
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).as_posix()
        result.append(ImageDetections(*known.get(name, (name, 0, 0)), _faces(path)))
    if not result:
        raise UserError(f"{folder}: no text file in it, so not a WIDER FACE submission (<event>/<image>.txt)")
    return result


def write(folder: str | Path, lines: Sequence[ImageDetections]) -> int:
    """Writes the folder whole or not at all, and returns the number of files; images that failed have none.

    Raises:
        UserError: there is something at that place, or two images would have the same file.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; give a folder that is new or empty")
    lines = [line for line in lines if line.error is None]
    names: dict[str, str] = {}
    for line in lines:
        if (other := names.setdefault(_file_of(line.image), line.image)) != line.image:
            raise UserError(f"{line.image} and {other} would both be {_file_of(other)}; rename one of them")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        whole.mkdir()
        for line in lines:
            path = whole / _file_of(line.image)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_text(line), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return len(lines)


def _file_of(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{name}: leads out of the folder; a submission needs relative image names")
    return str(path.with_suffix(".txt"))


def _text(line: ImageDetections) -> str:
    rows = [PurePosixPath(line.image).stem, str(len(line.faces))]
    for face in line.to_json()["faces"]:
        x_min, y_min, x_max, y_max = face["box"]
        rows.append(f"{x_min} {y_min} {round(x_max - x_min, 2)} {round(y_max - y_min, 2)} {face['score']:.6f}")
    return "\n".join(rows) + "\n"


def _faces(path: Path) -> Faces:
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
    rows = [row.strip() for row in rows]
    while rows and not rows[-1]:
        rows.pop()
    if len(rows) < 2 or not rows[1].isdecimal():
        raise UserError(f"{path}, line 2: not the number of detections, so not a file of a WIDER FACE submission")
    if int(rows[1]) != len(rows) - 2:
        raise UserError(f"{path}: {int(rows[1])} detections are announced, {len(rows) - 2} lines follow")
    values = []
    for number, row in enumerate(rows[2:], 3):
        try:
            x, y, width, height, score = (float(word) for word in row.split())
        except ValueError:
            x = y = width = height = score = math.nan
        if not all(map(math.isfinite, (x, y, width, height, score))):
            raise UserError(f"{path}, line {number}: not `x y width height score`: {row[:60]!r}")
        values.append([x, y, x + width, y + height, score])
    table = np.array(values).reshape(-1, 5)
    return Faces(table[:, :4], table[:, 4])
