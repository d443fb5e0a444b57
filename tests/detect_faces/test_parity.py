"""Detector against TensorFlow on the whole way from photograph to boxes, with a network of random weights.

What TensorFlow does here is what the Object Detection API does when it evaluates a checkpoint, behind its resizing (see
test_resizing): keep the aspect ratio, pad, normalise, run, decode, suppress, clip, and back to the photograph.
(That a trained checkpoint and its exports agree is tested with the demo.)
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from detect_faces import Detector, read_image
from detect_faces.resizing import resize_as_graph
from tests.conftest import MODEL_JSON

SIDE, CELL = 96, 8
PHOTOGRAPHS = [
    Path(__file__).parents[2] / "data/sample/images" / name for name in ("faceapi-sample2.jpg", "faceapi-sample5.jpg")
]


class RandomDetector(tf.Module):
    """Two convolutions, and an anchor of 2 x 2 cells in each cell whose sides they change."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.first = tf.constant(rng.normal(0, 0.3, (CELL, CELL, 3, 16)), tf.float32)
        self.second = tf.constant(rng.normal(0, 0.1, (3, 3, 16, 5)), tf.float32)
        y, x = np.meshgrid(*[(np.arange(SIDE // CELL) + 0.5) * CELL / SIDE] * 2, indexing="ij")
        self.centres = tf.constant(np.stack([y, x], axis=-1).reshape(-1, 2), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
    def detect(self, image):
        features = tf.nn.relu6(tf.nn.conv2d(image, self.first, CELL, "VALID"))
        codes = tf.reshape(tf.nn.conv2d(features, self.second, 1, "SAME"), (-1, 5))
        half = tf.exp(0.3 * tf.tanh(codes[:, 1:3])) * CELL / SIDE
        centres = self.centres + 0.5 * CELL / SIDE * tf.tanh(codes[:, 3:])
        return {"boxes": tf.concat([centres - half, centres + half], 1)[None], "scores": tf.sigmoid(codes[None, :, 0])}


@pytest.fixture(scope="module")
def network() -> RandomDetector:
    return RandomDetector()


@pytest.fixture(scope="module", params=["letterbox", "stretch"])
def exported(request, network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    tf.saved_model.save(network, str(folder / "saved_model"), signatures={"detect": network.detect})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), signature_keys=["detect"])
    (folder / "model.tflite").write_bytes(converter.convert())
    sizes = {"width": SIDE, "height": SIDE, "resize": request.param, "pad_value": 127.5}
    (folder / "model.json").write_text(json.dumps(MODEL_JSON | {"input": MODEL_JSON["input"] | sizes}))
    return folder


def by_tensorflow(network: RandomDetector, rgb: np.ndarray, letterbox: bool) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) yxyx in pixels, and scores."""
    wanted = tf.compat.v1.image.resize_images(
        rgb.astype(np.float32), (SIDE, SIDE), align_corners=False, preserve_aspect_ratio=letterbox
    )
    height, width = wanted.shape[:2]
    # Of random weights the smallest difference is amplified: how near this is to `wanted` is tested by itself.
    pixels = resize_as_graph(rgb, width, height).astype(np.float32)
    assert np.abs(pixels - wanted).mean() < 1
    pixels = tf.pad(pixels, [[0, SIDE - height], [0, SIDE - width], [0, 0]], constant_values=127.5)
    found = network.detect(2 / 255 * pixels[None] - 1)
    boxes, scores = found["boxes"][0], found["scores"][0]
    kept = tf.image.non_max_suppression(boxes, scores, 400, 0.45, 0.01)
    boxes, scores = tf.gather(boxes, kept).numpy(), tf.gather(scores, kept).numpy()
    boxes = np.clip(boxes * np.tile([SIDE / height, SIDE / width], 2), 0, 1)
    visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[visible] * np.tile(rgb.shape[:2], 2), scores[visible]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_the_same_boxes_as_tensorflow(network, exported, photograph, step):
    bgr = np.ascontiguousarray(read_image(photograph)[::step, : 1000 // step])
    boxes, scores = by_tensorflow(network, bgr[..., ::-1].copy(), "letterbox" in (exported / "model.json").read_text())
    faces = Detector(exported, whole=True).detect(bgr, 0.0)
    assert len(scores) > 20 and scores.std() > 0.1
    assert len(faces) == len(scores)
    # Boxes of equal scores may come in another order: to each the nearest.
    ours = np.column_stack([faces.xyxy[:, [1, 0, 3, 2]] / max(bgr.shape), faces.scores])
    theirs = np.column_stack([boxes / max(bgr.shape), scores])
    nearest = np.abs(ours[:, None] - theirs[None]).max(axis=2).argmin(axis=0)
    assert sorted(nearest) == list(range(len(scores)))
    np.testing.assert_allclose(ours[nearest], theirs, atol=1e-4)
