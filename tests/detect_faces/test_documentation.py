"""What the documentation shows runs: the Python of the package's README, and the examples in docstrings."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import detect_faces
from detect_faces.images import read_image, write_image
from detect_faces.video import VideoWriter

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "detect_faces/README.md").read_text(), re.DOTALL)
MODULES = sorted(module.name for module in pkgutil.iter_modules(detect_faces.__path__) if module.name != "__main__")


@pytest.fixture
def folder(tiny_model, tmp_path, monkeypatch) -> Path:
    """Where the snippets find what they name."""
    shutil.copytree(tiny_model, tmp_path / "exported-models/demo", ignore=shutil.ignore_patterns("saved_model"))
    photograph = read_image(ROOT / "data/sample/images/faceapi-sample5.jpg")[::4, ::4]
    write_image(tmp_path / "photo.jpg", photograph)
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(10):
            writer.write(np.ascontiguousarray(photograph))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: re.findall(r"import (\w+)", snippet)[-1])
def test_the_readmes_python_runs(folder, snippet):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet, "README.md", "exec"), {})
    assert printed.getvalue() or "print" not in snippet
    for name in re.findall(r'"([\w-]+\.(?:jpg|mp4))"', snippet):
        assert (folder / name).is_file()


def test_what_the_table_of_the_readme_writes_exists():
    table = (ROOT / "detect_faces/README.md").read_text().partition("| to get | write |")[2].partition("\n\n")[0]
    detector, faces = detect_faces.Detector("haar"), detect_faces.Faces.empty()
    image = np.zeros((50, 50, 3), np.uint8)
    names = {"detector": detector, "faces": faces, "image": image, "images": [image], "detect": detector.detect}
    calls = [call for call in re.findall(r"`([^`]+)`", table) if call.startswith(("detect", "faces"))]
    assert len(calls) >= 7
    for call in calls:
        eval(call, names)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(f"detect_faces.{name}"))
    assert not results.failed


def test_modules_with_examples_are_many():
    examples = [name for name in MODULES if ">>>" in (ROOT / f"detect_faces/{name}.py").read_text()]
    assert {"faces", "detector", "crops", "anonymise", "tiling", "tracking", "preprocessing"} <= set(examples)
