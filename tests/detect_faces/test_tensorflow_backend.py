"""backend="tensorflow": frozen graphs and SavedModels of the OD API's form, of which it is known what they find."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from detect_faces import Detector, UserError

BOXES = np.array([[[0.25, 0.5, 0.75, 1.0], [0, 0, 0.5, 0.25], [0.1, 0.1, 0.2, 0.2], [0, 0, 0, 0]]], np.float32)


def found(image):
    """Three boxes, the third of another class, and one row of padding; the first scores the mean red of the picture."""
    red = tf.reduce_mean(tf.cast(image[..., 0], tf.float32)) / 255
    return {
        "detection_boxes": tf.constant(BOXES),
        "detection_scores": tf.stack([[red, 0.25, 0.9, 0.8]]),
        "detection_classes": tf.constant([[1.0, 1.0, 2.0, 1.0]]),
        "num_detections": tf.constant([3.0]),
    }


def freeze(path, outputs=found, shape=(1, None, None, 3)):
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, shape, name="image_tensor")
        for name, tensor in outputs(image).items():
            tf.identity(tensor, name=name)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def save(path, outputs=found, shape=(1, None, None, 3)):
    module = tf.Module()
    module.scale = tf.Variable(1.0)
    spec = tf.TensorSpec(shape, tf.uint8, name="input_tensor")

    def serve(image):
        values = outputs(image)
        return values | {"detection_scores": values["detection_scores"] * module.scale}

    tf.saved_model.save(module, str(path), signatures=tf.function(serve, [spec]))
    return path


@pytest.fixture(params=["frozen graph", "SavedModel"])
def model(request, tmp_path):
    if request.param == "frozen graph":
        return freeze(tmp_path / "frozen_inference_graph.pb")
    return save(tmp_path / "saved_model")


def picture(red: int, height: int = 40, width: int = 80) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = red  # BGR
    return image


def test_boxes_of_class_1_in_pixels_best_first(model):
    detector = Detector(model, backend="tensorflow", threads=1)
    faces = detector.detect(picture(204), 0.0)
    np.testing.assert_allclose(faces.xyxy, [[40, 10, 80, 30], [0, 0, 20, 20]], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.8, 0.25], atol=1e-5)
    assert len(detector.detect(picture(204))) == 1 and len(detector.detect(picture(100))) == 0
    assert len(detector.detect(picture(204)[..., ::-1], channels="RGB")) == 1
    assert detector.detect(picture(204, 1, 1), 0.0).xyxy.max() <= 1


def test_name_and_min_score_are_those_of_the_export_it_lies_in(model):
    assert Detector(model, backend="tensorflow").name == model.parent.name
    (model.parent / "model.json").write_text(json.dumps({"name": "a run", "min_score": 0.2}))
    detector = Detector(model, backend="tensorflow")
    assert (detector.name, detector.min_score) == ("a run", 0.2)
    assert len(detector.detect(picture(0))) == 1
    if model.is_dir():
        assert Detector(model.parent, backend="tensorflow").name == "a run"


def test_threads_share_it(model):
    detector = Detector(model, backend="tensorflow")
    with ThreadPoolExecutor(8) as pool:
        scores = pool.map(lambda red: detector.detect(picture(red), 0.3).scores.max(), range(100, 250))
    np.testing.assert_allclose(list(scores), np.arange(100, 250) / 255, atol=1e-5)


def test_tiles(model):
    faces = Detector(model, backend="tensorflow", tile=64).detect(picture(204, 100, 100))
    assert len(faces) == 5  # the first box of the whole, and of each of four tiles


def one_line(path, says: str, **options):
    with pytest.raises(UserError, match=says) as error:
        Detector(path, backend="tensorflow", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [None, "fast", "accurate", "haar"])
def test_models_that_come_along_are_not_its(name):
    one_line(name, f"^{name or 'fast'}: not run by TensorFlow; leave the backend out")


def test_an_export_without_tflite_is_evaluated_by_tensorflow(tmp_path):
    """As of a model of two stages."""
    from evaluation import detectors

    save(tmp_path / "saved_model")
    detector = detectors.load("exported", str(tmp_path), 1)
    assert detector.name == f"{tmp_path.name} (TensorFlow)" and len(detector.detect(picture(204), 0.5)) == 1


def test_what_touches_files_is_refused(tmp_path):
    (tmp_path / "victim").write_text("secret")

    def evil(image):
        return found(image) | {"leak": tf.io.read_file(str(tmp_path / "victim"))}

    one_line(freeze(tmp_path / "evil.pb", evil), "ReadFile.*run it with TensorFlow itself")
    one_line(save(tmp_path / "evil", evil), "ReadFile.*run it with TensorFlow itself")


@pytest.mark.parametrize("make", [freeze, save])
def test_what_is_no_detector_of_that_form(tmp_path, make):
    def half(image):
        return {name: tensor for name, tensor in found(image).items() if name != "num_detections"}

    one_line(make(tmp_path / "half", half), "not a detector of the Object Detection API.*num_detections")
    one_line(make(tmp_path / "small", shape=(1, 300, 300, 3)), "not an image of any size")


def test_what_is_no_model(tmp_path):
    (tmp_path / "photo.pb").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    one_line(tmp_path / "photo.pb", r"photo\.pb")
    one_line(tmp_path / "nothing.pb", "No such file")
    (tmp_path / "folder").mkdir()
    one_line(tmp_path / "folder", "give the folder of a SavedModel")
    one_line(tmp_path / "photo.pb", "leave the input size out", input_size=320)


def test_without_tensorflow_one_line_says_so(tmp_path, monkeypatch):
    path = freeze(tmp_path / "model.pb")
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # import then fails as if it were not there
    one_line(path, "pip install tensorflow")
