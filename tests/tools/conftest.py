"""Pictures and data sets that the tests of tools share."""

import io
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

# TensorFlow's first call and a busy machine are no reason to fail.
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def picture():
    """A function that gives the bytes of a smooth picture whose four corners differ."""

    def make(width=48, height=32, form="JPEG", mode="RGB", **options):
        corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 240]]], np.uint8)
        image = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR).convert(mode)
        out = io.BytesIO()
        image.save(out, form, **options)
        return out.getvalue()

    return make


@pytest.fixture
def wider(tmp_path, picture):
    """A WIDER FACE set of four pictures, 48x32 pixels: (folder of images, ground-truth file)."""
    images = tmp_path / "images"
    for name in ("0--Parade/a.jpg", "0--Parade/b.jpg", "1--Group/c.jpg", "1--Group/d.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(picture())
    annotations = tmp_path / "wider_face_train_bbx_gt.txt"
    annotations.write_text(
        "0--Parade/a.jpg\n2\n1 2 10 12 0 0 0 0 0 0 \n20.25 3.5 8 9.75 2 1 1 1 2 1 \n"
        "0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
        "1--Group/c.jpg\n2\n5 5 0 4 0 0 0 0 0 0 \n40 20 20 20 1 0 0 0 0 0 \n"
        "1--Group/d.jpg\n1\n100 100 5 5 0 0 0 0 0 0 \n"
    )
    return images, annotations


@pytest.fixture
def shared_wider():
    """A function from a set's name to (folder of images, ground-truth file) of the real data beside the checkout."""

    def find(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"{name} is not beside this checkout")
        return SHARED / name / "images", next((SHARED / name).glob("*_bbx_gt.txt"))

    return find
