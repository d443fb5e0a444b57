"""model.json: what is read from it, and what is said of a wrong one."""

import copy
import json

import pytest

from detect_faces import UserError
from detect_faces.model import load_model

MODEL_JSON = {
    "format": 1,
    "name": "demo",
    "model": "model.tflite",
    "class_names": ["face"],
    "input": {
        "width": 320,
        "height": 240,
        "channels": "RGB",
        "resize": "letterbox",
        "interpolation": "legacy_bilinear",
        "pad_value": 127.0,
        "scale": 0.0078,
        "offset": -1.0,
    },
    "postprocessing": {"score_threshold": 0.01, "iou_threshold": 0.45, "max_detections": 400},
    "min_score": 0.5,
}


def write(folder, description, tflite=b"x"):
    (folder / "model.json").write_text(description if isinstance(description, str) else json.dumps(description))
    if tflite is not None:
        (folder / "model.tflite").write_bytes(tflite)
    return folder


def changed(*path, value=None):
    description = copy.deepcopy(MODEL_JSON)
    inner = description
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return description


def test_reads_folder_and_file(tmp_path):
    write(tmp_path, MODEL_JSON)
    model = load_model(tmp_path)
    assert model == load_model(tmp_path / "model.json")
    assert (model.width, model.height, model.letterbox, model.min_score) == (320, 240, True, 0.5)
    assert model.tflite == tmp_path / "model.tflite"


def test_the_network_lies_beside_its_description(tmp_path):
    write(tmp_path, changed("model", value="../../elsewhere/model.tflite"))
    assert load_model(tmp_path).tflite == tmp_path / "model.tflite"


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("", "not a model description"),
        ("[]", "not a model description"),
        ("{}", "'format' is missing"),
        (changed("format", value=2), "format 2 is not 1"),
        (changed("input", "width"), "'width' is missing"),
        (changed("input", "width", value="wide"), "wide"),
        (changed("input", "height", value=-3), "height -3 is not positive"),
        (changed("input", "resize", value="crop"), "resize 'crop' is not supported, only letterbox or stretch"),
        (changed("input", "interpolation", value="area"), "interpolation 'area'"),
        (changed("postprocessing", "iou_threshold", value=45), "iou_threshold 45.0 is not in 0..1"),
        (changed("min_score", value=float("nan")), "min_score nan"),
    ],
)
def test_says_what_is_wrong(tmp_path, description, message):
    write(tmp_path, description)
    with pytest.raises(UserError, match=message) as error:
        load_model(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'model.json'}: ")


def test_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"model\.json: No such file.*exported model"):
        load_model(tmp_path)
    write(tmp_path, MODEL_JSON, tflite=None)
    with pytest.raises(UserError, match=r"model\.tflite: .*missing"):
        load_model(tmp_path)


DECODING = {
    "scales": [10, 10, 5, 5],
    "anchors": [
        {
            "input": [320, 240],
            "layers": [{"cells": [3, 4], "offset": [40, 40], "stride": [80, 80], "shapes": [[50, 40], [70, 60]]}],
        }
    ],
}


def test_decoding(tmp_path):
    assert load_model(write(tmp_path, MODEL_JSON)).decoding is None
    decoding = load_model(write(tmp_path, MODEL_JSON | {"decoding": DECODING})).decoding
    ((size, (grid,)),) = decoding.grids.items()
    assert size == (320, 240) and decoding.scales == (10, 10, 5, 5)
    assert (grid.cells, grid.stride, grid.shapes) == ((3, 4), (80, 80), ((50, 40), (70, 60)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scales": [10, 10, 5]}, "not a model description"),
        ({"scales": [10, 10, 5, 0]}, "scales that are not positive"),
        ({"anchors": []}, "no anchors for 320 x 240"),
        ({"anchors": [{"input": [320, 240], "layers": []}]}, "no layers"),
        ({"anchors": [{"input": [320, 240]}]}, "'layers' is missing"),
    ],
)
def test_wrong_decoding(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        load_model(write(tmp_path, MODEL_JSON | {"decoding": DECODING | wrong}))


@pytest.mark.parametrize("cells", [[0, 4], [-3, -4]])
def test_cells_that_are_none(tmp_path, cells):
    anchors = copy.deepcopy(DECODING)
    anchors["anchors"][0]["layers"][0]["cells"] = cells
    with pytest.raises(UserError, match="a layer that is none"):
        load_model(write(tmp_path, MODEL_JSON | {"decoding": anchors}))
