"""The description of an exported model, model.json: what the network expects and how its output is to be read."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from detect_faces.box_decoding import BoxDecoding, Grid
from detect_faces.errors import UserError

FORMAT = 1
# What this runtime can do; a model that says something else is refused rather than run wrongly.
SUPPORTED = {"channels": ["RGB"], "resize": ["letterbox", "stretch"], "interpolation": ["means", "legacy_bilinear"]}


@dataclass(frozen=True)
class Model:
    """An exported model.

    Attributes:
        name: of the run that made it.
        tflite: the file of the network.
        width, height: pixels of the network's input.
        other_sizes: (width, height) of the inputs that it takes as well.
        letterbox: keep the aspect ratio, image at the top left, the rest filled with `pad_value`; else stretch.
        pad_value: grey level in 0..255.
        scale, offset: network input = pixel * scale + offset.
        score_threshold: detections need a higher score.
        iou_threshold: of two boxes that overlap more, the one with the lower score is dropped.
        max_detections: at most so many in one image.
        min_score: the score from which on a detection is worth showing.
        decoding: of a network that gives encodings and logits; None for one that gives boxes and scores.
        by_means: images become of the input's size by means; else as the OD API's graph makes them (see
            detect_faces.resizing).
    """

    name: str
    tflite: Path
    width: int
    height: int
    other_sizes: tuple[tuple[int, int], ...]
    letterbox: bool
    pad_value: float
    scale: float
    offset: float
    score_threshold: float
    iou_threshold: float
    max_detections: int
    min_score: float
    decoding: BoxDecoding | None = None
    by_means: bool = False


def signature(size: tuple[int, int] | None) -> str:
    """The name of a network's signature for an input of this (width, height); None: for the model's own size.

    >>> signature((640, 640))
    'detect_640x640'
    """
    return "detect" if size is None else f"detect_{size[0]}x{size[1]}"


def load_model(path: str | Path) -> Model:
    """Reads the model.json of a folder that the export made, or the model.json itself.

    Raises:
        UserError: it is not there, not a model description, or of a kind that this version cannot run.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise UserError(
                f"{path}: format {description['format']!r} is not {FORMAT}; it needs another version of detect-faces"
            )
        for key, values in SUPPORTED.items():
            if description["input"][key] not in values:
                raise UserError(
                    f"{path}: {key} {description['input'][key]!r} is not supported, only {' or '.join(values)}"
                )
        model = from_description(description, path.parent)
    except OSError as error:
        raise UserError(
            f"{path}: {os.strerror(error.errno)}; give the folder of an exported model, with its model.json"
        ) from error
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; export the model again") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a model description: {error}") from error
    if not model.tflite.is_file():
        raise UserError(f"{model.tflite}: the network that {path.name} names is missing; export the model again")
    return model


def from_description(description: dict, folder: Path) -> Model:
    """The Model that the contents of a model.json describe, and a folder. Raises KeyError, TypeError, ValueError."""
    image, post = description["input"], description["postprocessing"]
    model = Model(
        name=str(description["name"]),
        tflite=folder / Path(description["model"]).name,
        width=int(image["width"]),
        height=int(image["height"]),
        other_sizes=tuple((int(width), int(height)) for width, height in image.get("other_sizes", [])),
        letterbox=image["resize"] == "letterbox",
        pad_value=float(image["pad_value"]) if image["resize"] == "letterbox" else 0.0,
        scale=float(image["scale"]),
        offset=float(image["offset"]),
        score_threshold=float(post["score_threshold"]),
        iou_threshold=float(post["iou_threshold"]),
        max_detections=int(post["max_detections"]),
        min_score=float(description["min_score"]),
        decoding=_decoding(description["decoding"]) if "decoding" in description else None,
        by_means=image["interpolation"] == "means",
    )
    for name in ("score_threshold", "iou_threshold", "min_score"):
        if not 0 <= getattr(model, name) <= 1:
            raise ValueError(f"{name} {getattr(model, name)} is not in 0..1")
    for name in ("width", "height", "max_detections"):
        if getattr(model, name) < 1:
            raise ValueError(f"{name} {getattr(model, name)} is not positive")
    if any(side < 1 for size in model.other_sizes for side in size):
        raise ValueError(f"other_sizes {model.other_sizes} are not positive")
    if model.decoding:
        sizes = {(model.width, model.height), *model.other_sizes}
        if missing := sizes - model.decoding.grids.keys():
            raise ValueError(f"decoding has no anchors for {' and '.join(f'{w} x {h}' for w, h in sorted(missing))}")
    return model


def _decoding(described: dict) -> BoxDecoding:
    def grid(layer: dict) -> Grid:
        rows, columns = layer["cells"]
        pairs = [tuple(map(float, layer[name])) for name in ("offset", "stride")]
        shapes = tuple((float(height), float(width)) for height, width in layer["shapes"])
        if min(rows, columns, len(shapes)) < 1 or any(len(pair) != 2 for pair in pairs):
            raise ValueError("decoding has a layer that is none")
        return Grid((int(rows), int(columns)), *pairs, shapes)

    y, x, height, width = map(float, described["scales"])
    if not min(y, x, height, width) > 0:
        raise ValueError("decoding has scales that are not positive")
    grids = {}
    for anchors in described["anchors"]:
        size = (int(anchors["input"][0]), int(anchors["input"][1]))
        grids[size] = tuple(map(grid, anchors["layers"]))
        if not grids[size]:
            raise ValueError("decoding has no layers")
    return BoxDecoding((y, x, height, width), grids)
