"""The models that come along: they are the files that their cards describe, and find the faces of real photographs."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from detect_faces import Detector, read_image
from detect_faces.detector import MODELS, SHIPPED

SAMPLE = Path(__file__).parents[2] / "data/sample"
PHOTOGRAPHS = ("astronaut", "faceapi-sample5", "grace_hopper")  # of the validation half; the others are generated


def faces_of(name: str, width: int, height: int) -> np.ndarray:
    """(N, 4) xyxy in pixels."""
    with open(SAMPLE / "validation-annotations-bbox.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["ImageID"] == name]
    sides = [[float(row[side]) for side in ("XMin", "YMin", "XMax", "YMax")] for row in rows]
    return np.array(sides) * [width, height, width, height]


def ious(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(K, N)."""
    low, high = np.maximum(found[:, None, :2], true[:, :2]), np.minimum(found[:, None, 2:], true[:, 2:])
    both = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, true)]
    return both / (areas[0][:, None] + areas[1] - both)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("model", SHIPPED)
def test_finds_every_face_of_photographs(model, name):
    (path,) = (SAMPLE / "images").glob(f"{name}.*")
    image = read_image(path)
    found = Detector(model).detect(image).xyxy
    true = faces_of(name, image.shape[1], image.shape[0])
    assert (ious(found, true).max(axis=0) > 0.5).all()
    assert len(found) == len(true)


@pytest.mark.parametrize("model", SHIPPED)
def test_the_card_describes_this_file(model):
    data = (MODELS / model / "model.tflite").read_bytes()
    card = (MODELS / model / "README.md").read_text(encoding="utf-8")
    assert f"`{hashlib.sha256(data).hexdigest()}`" in card
    assert card.startswith("---\n")  # the metadata that model hubs read


def test_both_are_small():
    assert sum(path.stat().st_size for path in MODELS.rglob("*.tflite")) < 20_000_000


@pytest.mark.parametrize("model", SHIPPED)
def test_its_other_input_sizes_find_the_faces_too(model):
    detector = Detector(model)
    image = read_image(SAMPLE / "images/faceapi-sample5.jpg")
    assert detector.model.other_sizes
    true = faces_of("faceapi-sample5", image.shape[1], image.shape[0])
    for width, _ in detector.model.other_sizes:
        found = Detector(model, input_size=width).detect(image).xyxy
        assert (ious(found, true).max(axis=0) > 0.5).all()
