"""The state of an exported training step as an .npz file: arrays by name, and what they are of as JSON.

    step                      int32, the steps made
    variables/NAME            the model's, with batch norm's statistics
    first/NAME, second/NAME   Adam's moments
    averages/NAME             of the weights: what evaluates best
    about                     JSON text: what the file is of

A file of weights holds the same without Adam's moments. No array is pickled.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole

PARTS = ("variables", "first", "second", "averages")
WEIGHTS = ("variables", "averages")

# What a damaged .npz raises, depending on where it is damaged.
DAMAGED = (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def initial_state(variables: Mapping[str, np.ndarray], trained: Sequence[str]) -> dict:
    """The state before the first step: {"step": int32, "variables": {name: array}, "first", "second", "averages"}.

    Args:
        variables: of the model, by name.
        trained: the names of those that are trained.
    """
    zeros = {name: np.zeros_like(variables[name]) for name in trained}
    return {
        "step": np.int32(0),
        "variables": dict(variables),
        "first": zeros,
        "second": {name: value.copy() for name, value in zeros.items()},
        "averages": {name: np.array(variables[name]) for name in trained},
    }


def to_bytes(state: Mapping, about: Mapping | None = None, parts: tuple[str, ...] = PARTS) -> bytes:
    """The file of a state, {"step": ..., "variables": {name: array}, ...}, or of some of its parts."""
    arrays = {"step": np.asarray(state["step"], np.int32)}
    for part in parts:
        arrays |= {f"{part}/{name}": np.asarray(value) for name, value in state[part].items()}
    if about is not None:
        arrays["about"] = np.array(json.dumps(about))
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def from_bytes(data: bytes, parts: tuple[str, ...] = PARTS) -> tuple[dict, dict]:
    """The state in a file, and what it says about itself. Raises one of DAMAGED where it is none."""
    state: dict = {part: {} for part in parts}
    about = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for key in arrays.files:
            part, _, name = key.partition("/")
            if key == "about":
                about = json.loads(str(arrays[key]))
            elif key == "step":
                state["step"] = np.int32(arrays[key])
            elif part in state and name:
                state[part][name] = arrays[key]
            else:
                raise ValueError(f"{key} is nothing that a state has")
    if (
        "step" not in state
        or not isinstance(about, dict)
        or not state.get("averages", {}).keys() <= state["variables"].keys()
    ):
        raise ValueError("not the state of a step")
    return state, about


def save(path: Path, state: Mapping, about: Mapping, parts: tuple[str, ...] = PARTS) -> None:
    """Writes a state, or some of its parts, whole or not at all."""
    write_whole(path, to_bytes(state, about, parts))


def load(path: Path, parts: tuple[str, ...] = PARTS) -> tuple[dict, dict]:
    """The state in a file, and what it says about itself. Raises UserError where there is none, or no whole one."""
    try:
        return from_bytes(path.read_bytes(), parts)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or not written by training.run_step ({reason}); make it again") from error
