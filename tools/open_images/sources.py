"""Where the official files of Open Images V7 are, and a copy of one on this machine.

The boxes of a split, its verified image labels (of the classes that have boxes) and its images with author and licence
are one CSV each; V7 has kept those of earlier versions. A mirror, or a folder on this machine, must have the same paths
below its address; in a folder the CSV files may also lie side by side. Source of the names:
https://storage.googleapis.com/openimages/web/download_v7.html and https://github.com/cvdfoundation/open-images-dataset
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from detect_faces.errors import UserError
from tools.download import ATTEMPTS, download

ANNOTATIONS_URL = "https://storage.googleapis.com/openimages"
IMAGES_URL = "https://s3.amazonaws.com/open-images-dataset"  # <split>/<ImageID>.jpg, at most 1024 pixels wide and high
IMAGE_BYTES = 300_000  # of an image on average

CLASSES = "v7/oidv7-class-descriptions-boxable.csv"  # 12 KB; LabelName,DisplayName


@dataclass(frozen=True)
class Split:
    """The CSV files of a split, as paths below ANNOTATIONS_URL.

    Attributes:
        boxes: a line for each box.
        labels: a line for each class that people verified in an image, or found missing.
        images: a line for each image: address, author, licence, rotation.
    """

    boxes: str
    labels: str
    images: str


SPLITS = {
    "train": Split(  # 1,743,042 images
        boxes="v6/oidv6-train-annotations-bbox.csv",  # 2.3 GB
        labels="v5/train-annotations-human-imagelabels-boxable.csv",
        images="2018_04/train/train-images-boxable-with-rotation.csv",  # 638 MB
    ),
    "validation": Split(  # 41,620 images
        boxes="v5/validation-annotations-bbox.csv",
        labels="v5/validation-annotations-human-imagelabels-boxable.csv",
        images="2018_04/validation/validation-images-with-rotation.csv",  # 15 MB
    ),
    "test": Split(  # 125,436 images
        boxes="v5/test-annotations-bbox.csv",
        labels="v5/test-annotations-human-imagelabels-boxable.csv",
        images="2018_04/test/test-images-with-rotation.csv",  # 45 MB
    ),
}


def local_folder(base: str) -> Path | None:
    """The folder that `base` names, or None if it is an http(s) address. Raises UserError for anything else."""
    if base.startswith(("http://", "https://")):
        return None
    folder = Path(urlsplit(base).path) if base.startswith("file://") else Path(base)
    if not folder.is_dir():
        raise UserError(f"{base}: neither an http(s) address nor a folder")
    return folder


def local_file(base: str, name: str) -> Path | None:
    """The file `name` of the folder `base`, or None if `base` is an address. Raises UserError if it isn't there."""
    if (folder := local_folder(base)) is None:
        return None
    for path in (folder / name, folder / Path(name).name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: has neither {name} nor {Path(name).name}")


def address(base: str, name: str) -> str:
    """The address of the file `name` below `base`."""
    return f"{base.rstrip('/')}/{name}"


def official_file(
    base: str, name: str, folder: Path, attempts: int = ATTEMPTS, wait: Callable[[float], object] = time.sleep
) -> Path:
    """The path of an official CSV file, fetched into `folder` unless `base` is a folder that has it.

    It takes its final name when it is whole; until then it is `<name>.part`, where a later call goes on.

    Args:
        base: ANNOTATIONS_URL or a mirror of it, or a folder.
        name: the path below `base`.
        folder: for what is fetched.
        attempts: how often to try without getting on.
        wait: sleeps so many seconds.

    Raises:
        UserError: it cannot be had, or is no CSV file.
    """
    if there := local_file(base, name):
        return there
    path = folder / Path(name).name
    if path.is_file():
        return path
    url, part = address(base, name), path.with_name(path.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download(url, part, attempts, wait)
    except UserError as error:
        if part.stat().st_size == 0:
            part.unlink()
        raise UserError(f"{error}; --annotations-url takes a mirror or a folder") from error
    except OSError as error:
        raise UserError(
            f"{part}: {error.strerror}; what has arrived is kept, the same command goes on from there"
        ) from error
    with open(part, "rb") as file:
        head = file.readline(200).strip()
    if b"," not in head or head.startswith((b"<", b"{")):
        part.unlink()
        raise UserError(f"{url}: no CSV file comes from there, but {head[:40]!r}: a proxy, or another site's page")
    part.replace(path)
    return path
