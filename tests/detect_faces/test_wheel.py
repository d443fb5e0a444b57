"""The wheel: installs into an empty environment with what it declares, and works there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_wheel_in_an_empty_environment(tiny_model, tmp_path):
    def run(*arguments, may_fail=False):
        done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, check=False)
        if done.returncode and may_fail:
            pytest.skip(f"no package registry within reach: {done.stderr.splitlines()[-1:]}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "download", "--no-deps", "-d", "probe", "setuptools>=77", may_fail=True)
    # From a copy, as building leaves its traces in the folder.
    run("cp", "-r", ROOT / "detect_faces", ROOT / "pyproject.toml", ROOT / "LICENSE", tmp_path)
    run(python, "-m", "pip", "wheel", "--no-deps", "-w", "dist", ".")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name.split("/")[0] for name in names}
    assert {name for name in packed if not name.endswith(".dist-info")} == {"detect_faces"}
    files = ("model.tflite", "model.json", "README.md")
    assert {f"detect_faces/models/{model}/{file}" for model in ("fast", "accurate") for file in files} <= names

    run(python, "-m", "pip", "install", wheel)
    installed = run(python, "-m", "pip", "list", "--format", "freeze")
    assert "tensorflow==" not in installed.lower()
    (tmp_path / "detect_faces").rename(tmp_path / "source")  # so that the installed one is found
    image = np.zeros((16, 16, 3), np.uint8)
    image[3, 4, 2] = 255
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    printed = run(tmp_path / "env" / "bin" / "detect-faces", "photo.png", "--model", tiny_model)
    assert printed == "photo.png: 1 face\n  1.00  from (4, 3) to (5, 4)\n"
