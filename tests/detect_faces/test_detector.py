"""Detector with a network whose detections can be told by hand: see tiny_model in conftest.py."""

import json
import shutil
import subprocess
import sys

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


def test_refuses_what_is_no_image(tiny_model):
    detector = Detector(tiny_model)
    for wrong in (None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError):
            detector.detect(wrong)


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
