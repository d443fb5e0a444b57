"""Photographs on which an int8 network's ranges are measured, as its inputs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from detect_faces.model import from_description
from detect_faces.preprocessing import network_input
from export.tflite import Inputs, named
from tools.report import Report
from training.photographs import photographs

MOST = 100  # at the smallest size; at larger ones fewer, which show as many pixels
FEWEST = 10


def check(place: Path) -> int:
    """The number of photographs that `inputs` gives of a folder of images or of records; bad ones are told of.

    Raises:
        UserError: there are fewer than FEWEST.
    """
    count = sum(1 for _ in photographs(place, MOST, Report()))
    if count < FEWEST:
        raise UserError(f"{place}: {count} photographs are too few to measure an int8 model on; give {FEWEST} or more")
    return count


def inputs(place: Path, description: Mapping, sizes: Sequence[tuple[int, int]]) -> Inputs:
    """What `export.tflite.convert` measures on: MOST photographs, evenly from all, as the runtime takes them.

    They are read again for each size: a hundred large ones would fill the memory.

    Args:
        place: a folder of images, or of records.
        description: the contents of model.json.
        sizes: (width, height) of the inputs.
    """
    model = from_description(description, Path())

    def each() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        smallest = min(width * height for width, height in sizes)
        for name, size in named(sizes).items():
            most = max(FEWEST, MOST * smallest // (size[0] * size[1]))
            for photograph in photographs(place, most, Report(show=lambda line: None)):
                yield name, {"image": network_input(np.ascontiguousarray(photograph[..., ::-1]), model, size)[0]}

    return each
