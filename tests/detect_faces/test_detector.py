"""Detector with a network whose detections can be told by hand: see tiny_model in conftest.py."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from detect_faces import Detector, UserError

SIDE = 16  # of the network's input


def tiny_model_with(folder, tiny_model, **settings):
    """A copy of tiny_model in `folder` with other settings of its input or postprocessing."""
    description = json.loads((tiny_model / "model.json").read_text())
    for section in ("input", "postprocessing"):
        description[section] |= {key: value for key, value in settings.items() if key in description[section]}
    shutil.copy(tiny_model / "model.tflite", folder)
    (folder / "model.json").write_text(json.dumps(description))
    return folder


def with_red(height: int, width: int, *spots: tuple[int, int, int]) -> np.ndarray:
    """A picture, blue and green everywhere, with pixels (y, x, red) of that red."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., :2] = 200
    for y, x, red in spots:
        image[y, x, 2] = red
    return image


def test_nothing_found(tiny_model):
    assert len(Detector(tiny_model).detect(with_red(SIDE, SIDE), 0.0)) == 0


def test_boxes_and_scores_best_first(tiny_model):
    image = with_red(SIDE, SIDE, (0, 0, 102), (5, 9, 255), (15, 15, 51))
    found = Detector(tiny_model / "model.json", threads=1).detect(image, 0.0)
    np.testing.assert_allclose(found.scores, [1.0, 0.4, 0.2], atol=1e-5)
    # Every second box was suppressed, the last one would also have been outside the picture in part.
    np.testing.assert_allclose(found.xyxy, [[9, 5, 10, 6], [0, 0, 1, 1], [15, 15, 16, 16]], atol=1e-4)


def test_boxes_are_in_pixels_of_the_image(tiny_model):
    """A 32 x 16 picture is letterboxed to 16 x 8: input pixel (y, x) shows pixel (2y, 2x)."""
    found = Detector(tiny_model).detect(with_red(16, 32, (4, 20, 255)))
    np.testing.assert_allclose(found.xyxy, [[20, 4, 22, 6]], atol=1e-4)


@pytest.mark.parametrize("whole", [False, True])
def test_a_model_of_means_sees_all_of_four_pixels(tiny_model, tmp_path, whole):
    image = with_red(16, 32, (5, 21, 204))
    found = Detector(tiny_model_with(tmp_path, tiny_model, interpolation="means"), whole=whole).detect(image, 0.1)
    assert found.scores.tolist() == ([] if whole else [pytest.approx(0.2)])
    assert len(Detector(tiny_model).detect(image, 0.1)) == 0


def test_padding_is_no_face_and_boxes_are_clipped_to_the_image(tiny_model, tmp_path):
    # The padding is red: 128 "faces" there.
    detector = Detector(tiny_model_with(tmp_path, tiny_model, pad_value=255.0))
    found = detector.detect(with_red(16, 32, (15, 31, 255), (14, 30, 255)))
    np.testing.assert_allclose(found.xyxy, [[30, 14, 32, 16]], atol=1e-4)


def test_no_more_than_max_detections(tiny_model, tmp_path):
    detector = Detector(tiny_model_with(tmp_path, tiny_model, max_detections=3))
    image = with_red(SIDE, SIDE, *((2 * i, i, 100 + i) for i in range(8)))
    np.testing.assert_allclose(detector.detect(image, 0.0).scores * 255, [107, 106, 105], atol=1e-3)
    np.testing.assert_allclose(detector.detect(image, 105.5 / 255).scores * 255, [107, 106], atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "cv2.imread gives None"),
        ("photo.jpg", "read_image"),
        ([[1, 2], [3, 4]], "numpy array, not list"),
        (np.zeros((4, 4, 3), np.float32), "multiply 0..1 by 255"),
        (np.zeros((4, 4, 3), np.uint16), "divide 16 bits by 257"),
        (np.zeros((4, 4, 3), bool), "uint8, not bool"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
    ],
)
def test_refuses_what_is_no_image(tiny_model, wrong, says):
    with pytest.raises(ValueError, match=says):
        Detector(tiny_model).detect(wrong)


def test_rgb_grey_and_alpha(tiny_model):
    detector = Detector(tiny_model)
    bgr = with_red(SIDE, SIDE, (4, 7, 255))
    expected = [[7, 4, 8, 5]]
    opaque = np.full((SIDE, SIDE, 1), 255, np.uint8)
    for image in (bgr, np.dstack([bgr, opaque]), np.asfortranarray(bgr), np.repeat(bgr, 2, axis=1)[:, ::2]):
        np.testing.assert_allclose(detector.detect(image).xyxy, expected, atol=1e-4)
    for image in (bgr[..., ::-1], np.dstack([bgr[..., ::-1], opaque])):
        np.testing.assert_allclose(detector.detect(image, channels="RGB").xyxy, expected, atol=1e-4)
    grey = np.where(bgr[..., 2] == 255, 255, 0).astype(np.uint8)
    for image in (grey, grey[..., None]):
        np.testing.assert_allclose(detector.detect(image).xyxy, expected, atol=1e-4)
    with pytest.raises(ValueError, match="BGR, RGB"):
        detector.detect(bgr, channels="HSV")


def test_min_score_is_the_models_own_unless_given(tiny_model):
    detector = Detector(tiny_model)
    image = with_red(SIDE, SIDE, (0, 0, 255), (9, 9, 120), (3, 3, 10))
    assert detector.min_score == 0.5
    assert len(detector.detect(image)) == 1
    assert len(detector.detect(image, 0.0)) == 3
    assert len(detector.detect(image, 0.4)) == 2


def test_a_batch_is_each_of_its_images(tiny_model):
    detector = Detector(tiny_model)
    images = [with_red(16, 32, (4, 20, 255)), with_red(SIDE, SIDE), with_red(SIDE, SIDE, (1, 2, 200), (8, 8, 180))]
    found = detector.detect_batch(iter(images))
    assert [len(faces) for faces in found] == [1, 0, 2]
    for faces, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(faces.xyxy, detector.detect(image).xyxy)
    assert detector.detect_batch([]) == []


def test_threads_share_a_detector(tiny_model):
    """Each gets the faces of its own image: a face for each pixel of one row, another row for each thread."""
    detector = Detector(tiny_model, threads=1)
    images = [with_red(SIDE, SIDE, *((row, x, 255) for x in range(SIDE))) for row in range(SIDE)]

    def rows(row):
        return {tuple(sorted(set(detector.detect(images[row]).xyxy[:, 1].round()))) for _ in range(40)}

    with ThreadPoolExecutor(SIDE) as pool:
        assert list(pool.map(rows, range(SIDE))) == [{(row,)} for row in range(SIDE)]


def test_a_network_of_one_size_takes_no_other(tiny_model):
    assert len(Detector(tiny_model, input_size=SIDE).detect(with_red(SIDE, SIDE, (1, 1, 255)))) == 1
    with pytest.raises(UserError, match="16 x 16"):
        Detector(tiny_model, input_size=640)


@pytest.mark.parametrize("name", [None, "fast", "accurate"])
def test_shipped_models(name, monkeypatch, tmp_path):
    monkeypatch.setattr("detect_faces.detector.MODELS", tmp_path)
    with pytest.raises(UserError, match=f"{name or 'fast'}.*missing from this installation"):
        Detector(name)


def test_a_shipped_model_is_found_by_its_name(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr("detect_faces.detector.MODELS", tmp_path)
    (tmp_path / "fast").mkdir()
    tiny_model_with(tmp_path / "fast", tiny_model)
    for name in (None, "fast"):
        assert Detector(name).name == "tiny"


@pytest.mark.parametrize("wrong", [{"backend": "onnx"}, {"tile": 3}, {"tile": "large"}, {"tile": 2.5}])
def test_wrong_arguments(tiny_model, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Detector(tiny_model, **wrong)


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_damaged_network_is_named(tiny_model, tmp_path, length):
    tiny_model_with(tmp_path, tiny_model)
    (tmp_path / "model.tflite").write_bytes((tiny_model / "model.tflite").read_bytes()[:length])
    with pytest.raises(UserError, match=r"model\.tflite") as error:
        Detector(tmp_path)
    assert "\n" not in str(error.value)


def test_a_network_of_another_size_is_refused(tiny_model, tmp_path):
    tiny_model_with(tmp_path, tiny_model, width=320)
    with pytest.raises(UserError, match=r"\(1, 16, 16, 3\)"):
        Detector(tmp_path)


def test_imports_nothing_but_litert_opencv_and_numpy(tiny_model):
    code = f"""
import sys
import numpy as np
from detect_faces import Detector
import detect_faces.cli, detect_faces.draw, detect_faces.images
Detector({str(tiny_model)!r}).detect(np.zeros((9, 9, 3), np.uint8))
foreign = {{"tensorflow", "pandas", "PIL", "matplotlib", "tools", "training", "evaluation", "export", "google"}}
print(sorted(foreign & {{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
