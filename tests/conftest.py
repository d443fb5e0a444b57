"""Fixtures that the tests of several rooms use."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.loopback_server import LoopbackServer

pytest_plugins = ["tests.demo_checkout"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The same examples each time, so that what fails is what was changed; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


DEMO = ("tests/test_demo.py", "tests/test_readme.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Of several processes each gets whole files, whose fixtures are made once; those of the demo are one.

    pytest-xdist's own way, --dist loadgroup, does nothing under pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "demo" if file in DEMO else file

    return ByFile(config, log)


SIDE = 16

MODEL_JSON = {
    "format": 1,
    "name": "tiny",
    "model": "model.tflite",
    "class_names": ["face"],
    "input": {
        "width": SIDE,
        "height": SIDE,
        "channels": "RGB",
        "resize": "letterbox",
        "interpolation": "legacy_bilinear",
        "pad_value": 0.0,
        "scale": 2 / 255,
        "offset": -1.0,
    },
    "postprocessing": {"score_threshold": 0.01, "iou_threshold": 0.45, "max_detections": 400},
    "min_score": 0.5,
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """An exported model whose detections can be told by hand.

    Each pixel of its 16 x 16 input is a "face" whose score is the red channel of the pixel (0..1). A second box for
    each lies a tenth of a pixel to the lower right and scores 0.9 of that: non-maximum suppression has to drop it.
    """
    import tensorflow as tf

    steps = np.arange(SIDE) / SIDE
    y, x = np.meshgrid(steps, steps, indexing="ij")
    cells = np.stack([y, x, y + 1 / SIDE, x + 1 / SIDE], axis=-1).reshape(-1, 4)
    boxes = tf.constant(np.concatenate([cells, cells + 0.1 / SIDE])[None], tf.float32)

    class PixelDetector(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
        def detect(self, image):
            red = tf.reshape((image[..., 0] + 1) / 2, (1, -1))
            return {"boxes": boxes + 0 * red[:, :1, None], "scores": tf.concat([red, 0.9 * red], axis=1)}

    folder = tmp_path_factory.mktemp("tiny")
    module = PixelDetector()
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"detect": module.detect})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), signature_keys=["detect"])
    (folder / "model.tflite").write_bytes(converter.convert())
    (folder / "model.json").write_text(json.dumps(MODEL_JSON))
    return folder


@pytest.fixture
def server():
    running = LoopbackServer()
    yield running
    running.close()
