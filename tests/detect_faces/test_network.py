"""Networks for inputs of several sizes: one file, a signature for each."""

import json

import numpy as np
import pytest

from detect_faces import Detector, UserError, read_image
from tests.conftest import MODEL_JSON, SIDE


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory):
    """A model whose one box tells the size of the input it got: a score of 0.2 for 16 px, of 0.4 for 32 px."""
    import tensorflow as tf

    class SizeDetector(tf.Module):
        def of(self, side):
            @tf.function(input_signature=[tf.TensorSpec((1, side, side, 3), tf.float32, name="image")])
            def detect(image):
                score = tf.reshape(0 * image[0, 0, 0, 0] + 0.2 * side / SIDE, (1, 1))
                return {
                    "boxes": tf.reshape(tf.constant([0.25, 0.25, 0.75, 0.75]), (1, 1, 4)) + 0 * score,
                    "scores": score,
                }

            return detect

    folder = tmp_path_factory.mktemp("sizes")
    module = SizeDetector()
    module.functions = [module.of(SIDE), module.of(2 * SIDE)]
    signatures = dict(zip(("detect", "detect_32x32"), module.functions, strict=True))
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), signature_keys=list(signatures))
    (folder / "model.tflite").write_bytes(converter.convert())
    sizes = {**MODEL_JSON["input"], "other_sizes": [[2 * SIDE, 2 * SIDE]]}
    (folder / "model.json").write_text(json.dumps(MODEL_JSON | {"input": sizes}))
    return folder


@pytest.mark.parametrize(("size", "score"), [(None, 0.2), (SIDE, 0.2), (2 * SIDE, 0.4)])
def test_the_size_asked_for_is_run(two_sizes, photograph, size, score):
    faces = Detector(two_sizes, input_size=size).detect(photograph, min_score=0.0)
    assert faces.scores.tolist() == pytest.approx([score])
    assert faces.xyxy[0].tolist() == pytest.approx([10, 10, 30, 30])


@pytest.mark.parametrize("name", ["fast", "accurate"])
def test_a_score_to_start_from_leaves_those_that_reach_it(name):
    """Few of the anchors are looked at then; a score that is just reached counts."""
    detector = Detector(name)
    image = read_image("data/sample/images/faceapi-sample5.jpg")
    everything = detector.detect(image, 0.0)
    assert len(everything) > 50
    for score in (0.001, 0.01, 0.02, *everything.scores[[0, 1, 9, 40]].tolist(), 0.9, 1.0, 1.5):
        found, expected = detector.detect(image, score), everything.at_least(score)
        assert np.array_equal(found.xyxy, expected.xyxy) and np.array_equal(found.scores, expected.scores)


def test_other_sizes_are_refused(two_sizes):
    with pytest.raises(UserError, match="takes no input of 48 x 48, only 16 x 16 or 32 x 32"):
        Detector(two_sizes, input_size=48)


def test_a_size_that_only_the_description_has(tiny_model, tmp_path):
    sizes = {**MODEL_JSON["input"], "other_sizes": [[32, 32]]}
    (tmp_path / "model.json").write_text(json.dumps(MODEL_JSON | {"input": sizes}))
    (tmp_path / "model.tflite").write_bytes((tiny_model / "model.tflite").read_bytes())
    with pytest.raises(UserError, match="not a face detector of this project"):
        Detector(tmp_path, input_size=32)


@pytest.fixture
def photograph():
    import numpy as np

    return np.zeros((40, 40, 3), np.uint8)


@pytest.mark.parametrize("cells", [[15, 16], [1_000_000, 1_000_000]])
def test_other_anchors_than_the_network_has_are_refused(tmp_path, cells):
    """Before they are laid out: of 10^12 there would be no end."""
    import tensorflow as tf

    class EncodingDetector(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
        def detect(self, image):
            logits = tf.reshape(image[..., 0], (1, -1))
            return {"logits": logits, "encodings": tf.stack([logits] * 4, axis=-1)}

    module = EncodingDetector()
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures={"detect": module.detect})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved_model"), signature_keys=["detect"])
    (tmp_path / "model.tflite").write_bytes(converter.convert())

    def described(cells):
        layer = {"cells": cells, "offset": [0.5, 0.5], "stride": [1, 1], "shapes": [[4, 4]]}
        anchors = [{"input": [SIDE, SIDE], "layers": [layer]}]
        decoding = {"scales": [10, 10, 5, 5], "anchors": anchors}
        (tmp_path / "model.json").write_text(json.dumps(MODEL_JSON | {"decoding": decoding}))
        return tmp_path

    Detector(described([SIDE, SIDE]))
    with pytest.raises(UserError, match=rf"\[1, 256\], and model.json describes {cells[0] * cells[1]} anchors"):
        Detector(described(cells))
