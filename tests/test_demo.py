"""`make demo` in a copy of the checkout, and what it leaves: the whole way from photographs to a detector."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.demo_checkout import STEPS, make

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "data/sample/images/faceapi-sample5.jpg"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """(H, W, 3) uint8."""
    return cv2.imread(str(PHOTOGRAPH))[..., ::-1].copy()


@pytest.fixture(scope="module")
def frozen(demo, rgb) -> dict[str, np.ndarray]:
    """What the frozen graph says of the photograph, asked by its tensor names in plain TensorFlow 1 style."""
    import tensorflow.compat.v1 as tf

    graph_def = tf.GraphDef()
    graph_def.ParseFromString((demo / "exported-models/demo/frozen_inference_graph.pb").read_bytes())
    assert not graph_def.library.function
    names = ["detection_boxes", "detection_scores", "detection_classes", "num_detections"]
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        image = graph.get_tensor_by_name("image_tensor:0")
        assert image.dtype == tf.uint8
        found = session.run([f"{name}:0" for name in names], {image: rgb[None]})
    return dict(zip(names, found, strict=True))


def test_ends_with_the_picture_to_open(demo):
    last = (demo / "demo.out").read_text().strip().splitlines()[-1]
    assert "runs/demo/faces.jpg" in last
    picture, photograph = cv2.imread(str(demo / "runs/demo/faces.jpg")), cv2.imread(str(PHOTOGRAPH))
    assert picture.shape == photograph.shape
    assert np.abs(picture.astype(int) - photograph).max() > 50  # something is drawn


def test_loss_falls(demo):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(demo / "runs/demo/train"))
    events.Reload()
    parts = [events.Tensors(f"loss/{name}") for name in ("localization", "classification")]  # weight decay aside
    losses = np.sum([[float(make_ndarray(event.tensor_proto)) for event in part] for part in parts], axis=0)
    assert len(losses) == STEPS // 10
    assert losses[-1] < 0.8 * losses[0]


def test_most_validation_faces_are_found(demo):
    """Thirty steps from a face detector do not spoil it; from noise, or half restored, they make none."""
    for name in ("checkpoint", "export"):
        done = subprocess.run(
            f"{sys.executable} -m evaluation.evaluate --json --records data/records/sample/validation "
            f"--detections runs/demo/eval/{name}.jsonl".split(),
            cwd=demo,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["coco"]["AP50"] > 0.9, name


def test_frozen_graph_has_the_zoo_names_and_forms(frozen):
    count = int(frozen["num_detections"][0])
    assert frozen["detection_boxes"].shape == (1, 400, 4)
    assert frozen["detection_scores"].shape == frozen["detection_classes"].shape == (1, 400)
    assert count >= 5
    scores = frozen["detection_scores"][0, :count]
    assert (np.diff(scores) <= 0).all()
    assert set(frozen["detection_classes"][0, :count]) == {1.0}
    boxes = frozen["detection_boxes"][0, :count]
    assert ((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, 2:] >= boxes[:, :2]).all()


def test_frozen_graph_takes_any_size_and_finds_the_annotated_faces(demo, frozen, rgb):
    with open(ROOT / "data/sample/validation-annotations-bbox.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ImageID"] == PHOTOGRAPH.stem]
    truth = np.array([[float(row[side]) for side in ("YMin", "XMin", "YMax", "XMax")] for row in rows])
    found = frozen["detection_boxes"][0][frozen["detection_scores"][0] > 0.2]
    best = [max(iou(face, box) for box in found) for face in truth]
    assert np.median(best) > 0.5


def iou(a, b) -> float:
    """Of two yxyx boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = np.maximum(sides, 0).prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)


def test_the_three_exports_agree(demo, frozen, rgb):
    """Frozen graph and SavedModel to float rounding; TFLite, whose weights are float16, to a hundredth.

    Faces whose scores differ by a rounding change places, so each is compared with the nearest one of the other export.
    """
    import tensorflow as tf

    from detect_faces import Detector

    loaded = tf.saved_model.load(str(demo / "exported-models/demo/saved_model"))
    served = loaded.signatures["serving_default"](input_tensor=tf.constant(rgb[None]))
    assert int(served["num_detections"][0]) == int(frozen["num_detections"][0])
    np.testing.assert_allclose(served["detection_scores"], frozen["detection_scores"], atol=1e-4)
    others = np.column_stack([served["detection_boxes"][0], served["detection_scores"][0]])
    for face in np.column_stack([frozen["detection_boxes"][0], frozen["detection_scores"][0]]):
        assert np.abs(others - face).max(axis=1).min() < 1e-4

    height, width = rgb.shape[:2]
    lite = Detector(demo / "exported-models/demo", whole=True).detect(rgb[..., ::-1].copy(), 0.0)
    sure = frozen["detection_scores"][0] > 0.2
    boxes = frozen["detection_boxes"][0][sure][:, [1, 0, 3, 2]] * [width, height, width, height]
    assert len(boxes) >= 3
    for box, score in zip(boxes, frozen["detection_scores"][0][sure], strict=True):
        nearest = np.abs(lite.xyxy - box).max(axis=1).argmin()
        assert np.abs(lite.xyxy[nearest] - box).max() < 0.01 * width
        assert abs(lite.scores[nearest] - score) < 0.02


def test_compare_has_a_row_for_each_detector(demo):
    table = (demo / "runs/demo/compare/compare.md").read_text()
    assert "cascade" in table and "AP50" in table and " ms" in table


def test_one_set_becomes_both_splits(demo):
    source = ["DATASET=open_images", "HOLD_OUT=0.3", "IMAGES=data/sample/images"]
    done = make(demo, "data", *source, "ANNOTATIONS=data/sample/train-annotations-bbox.csv")
    assert done.returncode == 0, done.stderr
    manifests = [demo / "data/records/open_images" / part / "manifest.json" for part in ("train", "validation")]
    train, validation = (json.loads(manifest.read_text())["counts"]["images"] for manifest in manifests)
    assert train + validation == 53 and 5 < validation < train


def test_training_again_finds_the_run_finished(demo):
    done = make(demo, "train", f"STEPS={STEPS}")
    assert done.returncode == 0, done.stderr
    assert f"ended at step {STEPS} and has its weights; nothing to do" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "PIPELINE=yolo"], "yolo: no such pipeline"),
        (["train", "RUN=other", "CHECKPOINT=checkpoints/none/model.ckpt"], "no checkpoint here"),
        (["train", "RUN=other", "DATASET=nothing"], "data/records/nothing/train"),
        (["train", "BATCH=3"], "another config"),
        (["eval", "RUN=other"], "no run here"),
        (["export", "RUN=other"], "no run here"),
        (["export", "EXPORT_DIR=runs/demo"], "not an export"),
        (["compare", "RUN=other"], "exported-models/other"),
        (["data", "DATASET=wider_face"], "IMAGES="),
        (["data", "IMAGES=data/sample/images"], "DATASET="),
        (["data", "DATASET=yolo", "SPLIT=val", "IMAGES=a", "ANNOTATIONS=b"], "SPLIT=val: give SPLIT=train or"),
        (["train", "RUN=other", "VALIDATION=data/records/nothing"], "data/records/nothing"),
        (["data", "DATASET=wider_face", "IMAGES=data/sample/images", "ANNOTATIONS=none.txt"], "none.txt"),
    ],
)
def test_mistakes_give_one_clear_line(demo, arguments, says):
    done = make(demo, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert says in error
