"""The model, the records and the start checkpoint that the tests of training share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from tests.training import tiny_detector
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
def seeing_model(face_model):
    """The face model with statistics that fit and strong predictors: what it finds, if wrong, depends on the image."""
    import tensorflow as tf

    from training.od_api import model

    photographs = [cv2.imread(str(path))[..., ::-1] for path in sorted((ROOT / "data/sample/images").glob("*.*g"))[:4]]
    prepared = [face_model.preprocess(tf.constant(np.float32(photograph)[None])) for photograph in photographs]
    layers = model.trained_batch_norm_layers(face_model)
    momenta = [layer.momentum for layer in layers]
    model.set_training(True)
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics become those of this batch
    face_model.predict(*(tf.concat(parts, 0) for parts in zip(*prepared, strict=True)))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.set_training(False)
    for variable in face_model.variables:
        if variable.name.endswith("Predictor/kernel:0"):
            variable.assign(variable * 30)
    return face_model


@pytest.fixture
def thin_inception(monkeypatch):
    """Inception-ResNet-v2 with five residual blocks in place of forty: everything else of it is there."""
    from tf_keras.src.applications import inception_resnet_v2

    block, last = inception_resnet_v2.inception_resnet_block, {("block17", 20), ("block8", 10)}

    def thin(x, scale, block_type, block_idx, **more):
        kept = block_idx == 1 or (block_type, block_idx) in last
        return block(x, scale, block_type, block_idx, **more) if kept else x

    monkeypatch.setattr(inception_resnet_v2, "inception_resnet_block", thin)


@pytest.fixture
def record(tmp_path):
    """A function that writes records of a white 640 x 480 picture with black boxes, and gives their path.

    Args: boxes (N, 4) xyxy in pixels; ignore (N,); copies: so many records of it; ground: BGR in place of white.
    """

    def write(boxes, ignore=None, copies=1, ground=(255, 255, 255)) -> str:
        pixels = np.full((480, 640, 3), ground, np.uint8)
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


@pytest.fixture
def training_batches():
    """A function that gives the first `count` training batches of a config: [(features, labels)]."""

    def batches(config, model, count: int) -> list:
        from training.examples import Examples
        from training.od_api import inputs

        examples = Examples(config.train_input_reader.tf_record_input_reader.input_path)
        size = config.train_config.batch_size
        data = inputs.training_batches(config, model, examples, seed=0, batch_size=size)
        return list(data.take(count))

    return batches


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


# ---- Runs of the tiny detector --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny():
    """The tiny detector, known to the OD API."""
    tiny_detector.register()


@pytest.fixture
def start(tmp_path, sample_records, label_map, tiny):
    """A function that trains run NAME of the tiny detector with more arguments, and gives its folder."""
    from training import train

    config = tmp_path / "tiny.config"
    config.write_text(tiny_detector.CONFIG)

    def run(name: str, *more: str, code: int = 0, validation: bool = True) -> Path:
        paths = (config, sample_records, label_map, tmp_path / name)
        assert train.main(tiny_detector.arguments(*paths, *more, validation=validation)) == code
        return tmp_path / name

    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory, sample_records, label_map, tiny):
    """A function that trains run NAME of the tiny detector for several tests, and gives its folder."""
    from training import train

    folder = tmp_path_factory.mktemp("shared")
    config = folder / "tiny.config"
    config.write_text(tiny_detector.CONFIG)

    def run(name: str, *more: str, validation: bool = True) -> Path:
        paths = (config, sample_records, label_map, folder / name)
        assert train.main(tiny_detector.arguments(*paths, *more, validation=validation)) == 0
        return folder / name

    return run


@pytest.fixture
def begin(tmp_path, sample_records, label_map):
    """A function that begins to train run NAME of the tiny detector, with more arguments, in a process of its own."""
    config = tmp_path / "tiny.config"
    config.write_text(tiny_detector.CONFIG)
    processes = []

    def run(name: str, *more: str, validation: bool = True, **environment: str) -> subprocess.Popen:
        paths = (config, sample_records, label_map, tmp_path / name)
        command = tiny_detector.arguments(*paths, *more, validation=validation)
        program = [sys.executable, str(Path(tiny_detector.__file__)), *command]
        processes.append(subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=os.environ | environment))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()
