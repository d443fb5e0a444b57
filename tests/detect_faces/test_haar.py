"""The cascade behind the interface of the other detectors, against OpenCV's own call."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import Detector, UserError
from detect_faces.haar import Haar

PHOTOGRAPH = Path(__file__).parents[2] / "data/sample/images/faceapi-sample5.jpg"


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return cv2.resize(cv2.imread(str(PHOTOGRAPH)), (640, 466), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    ("name", "file"), [("haar", "haarcascade_frontalface_default"), ("haar_alt2", "haarcascade_frontalface_alt2")]
)
def test_finds_what_detect_multi_scale_finds(photograph, name, file):
    grey = cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY)
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}{file}.xml")
    detector = Detector(name)
    for neighbors, faces in ((3, detector.detect(photograph)), (1, detector.detect(photograph, 0.0))):
        expected = {tuple(box) for box in cascade.detectMultiScale(grey, 1.1, neighbors, minSize=(20, 20)).tolist()}
        xywh = np.hstack([faces.xyxy[:, :2], faces.sizes]).astype(int)
        assert {tuple(box) for box in xywh.tolist()} == expected
    everything, found = detector.detect(photograph, 0.0), detector.detect(photograph)
    assert len(everything) > len(found) >= 3
    np.testing.assert_array_equal(everything.at_least(0.5).xyxy, found.xyxy)  # one curve
    assert everything.scores.min() >= 1 / 3  # of two windows
    assert ((found.scores > 0) & (found.scores < 1)).all() and len(set(found.scores.tolist())) > 1


def test_min_score_leaves_out_the_lowest(photograph):
    detector = Detector("haar")
    found = detector.detect(photograph)
    threshold = float(np.median(found.scores))
    np.testing.assert_array_equal(detector.detect(photograph, threshold).xyxy, found.at_least(threshold).xyxy)


def test_the_rest_of_the_interface():
    detector = Detector("haar")
    assert (detector.min_score, detector.score_threshold, detector.model) == (0.5, 0.0, None)
    assert len(detector.detect(np.zeros((1, 1), np.uint8))) == 0
    with pytest.raises(UserError, match="no input size"):
        Detector("haar", input_size=320)


def test_files_that_are_no_cascade(tmp_path):
    for content in (b"", b"<opencv_storage/>", b"\xff\xd8\xff"):
        (tmp_path / "cascade.xml").write_bytes(content)
        with pytest.raises(UserError, match=r"cascade\.xml: not a cascade"):
            Haar(tmp_path / "cascade.xml")
    with pytest.raises(UserError, match=r"no such cascade.*haar_alt2"):
        Haar("eyes")
