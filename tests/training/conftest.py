"""The model, the records and the start checkpoint that the tests of training share."""

import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from tools import convert, sample_set, tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.images import EncodedImage

ROOT = Path(__file__).parents[2]
COCO_CHECKPOINTS = [
    place / "checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt" for place in (ROOT.parent / "shared", ROOT)
]


@pytest.fixture(scope="session")
def coco_checkpoint() -> str:
    """The prefix of the SSDLite-MobileNetV2 COCO checkpoint."""
    for prefix in COCO_CHECKPOINTS:
        if prefix.with_name("model.ckpt.index").is_file():
            return str(prefix)
    pytest.skip("the COCO checkpoint is neither beside this checkout nor in checkpoints/ (`make checkpoint`)")


@pytest.fixture(scope="session")
def label_map() -> Path:
    return ROOT / "data/label_map.pbtxt"


@pytest.fixture(scope="session")
def _built():
    import tensorflow as tf

    from training.od_api import model, pipeline

    tf.keras.utils.set_random_seed(0)
    return model.build(pipeline.load("ssdlite_mobilenet_v2_320_face"), training=True)


@pytest.fixture
def face_model(_built):
    """The SSDLite face model at its initial values, in inference mode; what a test does to it is undone."""
    from training.od_api import model

    before = [variable.numpy() for variable in _built.variables]
    model.set_training(False)
    yield _built
    model.set_training(False)
    for variable, value in zip(_built.variables, before, strict=True):
        variable.assign(value)


@pytest.fixture
def record(tmp_path):
    """A function that writes records of a white 640 x 480 picture with black boxes, and gives their path.

    Args: boxes (N, 4) xyxy in pixels; ignore (N,); copies: so many records of it.
    """

    def write(boxes, ignore=None, copies=1) -> str:
        pixels = np.full((480, 640, 3), 255, np.uint8)
        for x_min, y_min, x_max, y_max in np.round(boxes).astype(int):
            pixels[y_min:y_max, x_min:x_max] = 0
        data = cv2.imencode(".jpg", pixels)[1].tobytes()
        flags = {} if ignore is None else {"ignore": ignore}
        image = AnnotatedImage("picture.jpg", 640, 480, boxes, ["face"] * len(boxes), data, flags)
        example = tf_example.encode(image, EncodedImage(data, "jpeg", 640, 480, (640, 480)), {"face": 1})
        path = tmp_path / "train.tfrecord"
        path.write_bytes(tfrecord_file.frame(example) * copies)
        return str(path)

    return write


class LoopbackServer:
    """An HTTP server for `files` (path -> bytes) that can be told to misbehave.

    Attributes:
        status: answered in place of everything.
        breaks_after: bytes of a body after which the connection is closed.
        ranges: whether parts of a file can be asked for.
        pause: seconds before each answer.
        asked: the Range header (or None) of each request.
    """

    def __init__(self):
        self.files, self.asked = {}, []
        self.status, self.breaks_after, self.ranges, self.pause = None, None, True, 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        time.sleep(self.pause)
        body, first = self.files.get(request.path), 0
        status = self.status or (200 if body is not None else 404)
        if status == 200 and wanted and self.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if first < len(body) else 416
        request.send_response(status)
        if status == 206:
            request.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        elif status == 416:
            request.send_header("Content-Range", f"bytes */{len(body)}")
        body = body[first:] if status < 400 else b"no"
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks_after])

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server():
    running = LoopbackServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def sample_records(tmp_path_factory, label_map) -> dict[str, str]:
    """Records of the sample set: {"train": folder, "validation": folder}."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(ROOT / "data/sample", folder / "sample")
    sample_set.main(folder / "sample")
    for part in ("train", "validation"):
        annotations = str(folder / f"sample/{part}-annotations-bbox.csv")
        source = ["--from", "open_images", "--images", str(folder / "sample/images"), "--annotations", annotations]
        target = ["--to", "tfrecord", "--output", str(folder / part), "--label-map", str(label_map)]
        assert convert.main(source + target) == 0
    return {part: str(folder / part) for part in ("train", "validation")}
