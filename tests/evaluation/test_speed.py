"""Start-up and memory of detectors, measured in processes of their own."""

import json

import numpy as np
import pytest

from detect_faces.images import write_image
from evaluation import detectors, speed
from tests.evaluation.scenes_on_disk import NOTHING, detector


@pytest.fixture
def image(tmp_path) -> str:
    write_image(tmp_path / "image.png", np.zeros((30, 40, 3), np.uint8))
    return str(tmp_path / "image.png")


def test_memory_and_time_are_those_of_the_detector(image, tmp_path, capsys, monkeypatch):
    small = detector(tmp_path / "small.py", NOTHING)
    large = detector(tmp_path / "large.py", f"[np.ones(25_000_000), __import__('time').sleep(0.5)] and {NOTHING}")
    monkeypatch.chdir(tmp_path)  # the processes find the project from anywhere
    assert speed.main([image, "--detector", small, large, "--rounds", "1", "--threads", "1"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert 100 < second["peak_mib"] - first["peak_mib"] < 300  # the ones are 191 MiB
    assert second["start_ms"] > 500 and first["start_ms"] > 0 and first["rounds"] == 1


def test_what_does_not_start_says_why(image, tmp_path):
    broken = detector(tmp_path / "broken.py", "1 / 0")
    none, failing = speed.start_up(["scrfd", broken], image, threads=1, rounds=1)
    assert none == {"error": "error: the detector scrfd needs its model: scrfd=FILE.onnx"}
    assert "ZeroDivisionError" in failing["error"]


def test_size_on_disk(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "weights").write_bytes(b"12345")
    (tmp_path / "file").write_bytes(b"123")
    loaded = detectors.load(detector(tmp_path / "some.py", NOTHING), None, 1)
    assert speed.model_bytes(loaded) is None
    loaded.files = (tmp_path / "folder", tmp_path / "file")
    assert speed.model_bytes(loaded) == 8
