"""A folder of what the first part of a split graph gives: one .npz for each photograph, and features.json.

    features.json            the photographs in their order, with the reason for each that has no features
    a/b.jpg.npz              of a/b.jpg: the tensors handed over, the photograph's size and sha256, the time

Files are written whole. features.json comes last, so that a folder without it is one that is not finished.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file, write_whole

INDEX = "features.json"
FORMAT = 1
_TENSOR = "tensor/"  # before the names of tensors, which may be any


@dataclass(frozen=True, eq=False)
class Features:
    """What the first part gave for a photograph.

    Attributes:
        image: its name in the folder, with /.
        width, height: in pixels, upright.
        sha256: of the photograph's file.
        graph: sha256 of the graph (before.pb) that gave them.
        ms: the time it took, from the decoded photograph on.
        tensors: by the name of the placeholder of the second part ("node:0").
    """

    image: str
    width: int
    height: int
    sha256: str
    graph: str
    ms: float
    tensors: dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """A photograph of the folder; `error` says why it has no features."""

    image: str
    error: str | None = None


def path_of(folder: Path, image: str) -> Path:
    """Where the features of a photograph are."""
    return folder / f"{image}.npz"


def write(folder: Path, features: Features) -> None:
    """Writes the features of a photograph, whole or not at all."""
    tensors = {_TENSOR + name: value for name, value in features.tensors.items()}
    facts = {name: getattr(features, name) for name in ("image", "width", "height", "sha256", "graph", "ms")}
    with whole_file(path_of(folder, features.image), "wb") as file:
        np.savez(file, **facts, **tensors)


def is_complete(folder: Path, image: str, sha256: str, graph: str) -> bool:
    """Whether the features of this very photograph are there, from this graph, and every byte of them as written."""
    path = path_of(folder, image)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        features = read(folder, image)
    except (OSError, zipfile.BadZipFile, UserError):
        return False
    return (features.sha256, features.graph) == (sha256, graph)


def read(folder: Path, image: str) -> Features:
    """The features of a photograph. Raises UserError where they are not there, or not whole."""
    path = path_of(folder, image)
    try:
        with np.load(path, allow_pickle=False) as held:
            tensors = {name.removeprefix(_TENSOR): held[name] for name in held.files if name.startswith(_TENSOR)}
            size = int(held["width"]), int(held["height"])
            return Features(image, *size, str(held["sha256"]), str(held["graph"]), float(held["ms"]), tensors)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; run the first part again") from error
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, TypeError) as error:
        raise UserError(f"{path}: not features of a photograph, or not whole; run the first part again") from error


def write_index(folder: Path, graph: str, entries: list[Entry]) -> None:
    """Writes features.json: the folder is finished."""
    rows = [{"image": e.image} | ({"error": e.error} if e.error else {}) for e in entries]
    index = {"format": FORMAT, "graph": graph, "images": rows}
    write_whole(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode())


def read_index(folder: Path, graph: str) -> list[Entry]:
    """The photographs of a finished folder in their order.

    Raises:
        UserError: the folder is not finished, or its features come from another graph.
    """
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        rows = [Entry(str(row["image"]), row.get("error")) for row in index["images"]]
        made_by = index["graph"]
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; run the first part (before.pb) to its end, with --output {folder}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the list of a folder of features; run the first part again") from error
    if made_by != graph:
        raise UserError(f"{folder}: made by another graph than the before.pb of this split; run that one again")
    return rows
