"""The page of a comparison, in a real browser: it is whole, keeps to itself, and fits a phone."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import compare
from tests.evaluation import browser
from tests.evaluation.scenes_on_disk import BRIGHT, CORNER, NOTHING, detector, records
from tools.annotations import AnnotatedImage
from tools.formats import tfrecord
from tools.report import Report

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
CHROMIUM = browser.find()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Of eight detectors, whose names and images are out to break it."""
    folder = tmp_path_factory.mktemp("page")
    boxes = [[[10, 20, 50, 70], [70, 10, 110, 60]], [[60, 10, 100, 60]], [], [[30, 30, 90, 85]], [[5, 5, 17, 20]]]
    flags = [{"blur": [i % 3] * len(xyxy), "occlusion": [0] * len(xyxy)} for i, xyxy in enumerate(boxes)]
    path = records(folder / "plain", boxes, flags)
    images = list(tfrecord.load(path, None, None, Report()))
    hostile = [
        AnnotatedImage(
            f"{i}{HOSTILE}.png", each.width, each.height, each.xyxy, each.classes, each.encoded(), each.flags
        )
        for i, each in enumerate(images)
    ]
    tfrecord.save(hostile, folder / "records", Report(), label_map={"face": 1}, shards=1)
    finds = [CORNER, BRIGHT, NOTHING, BRIGHT, CORNER, CORNER, NOTHING, f"{BRIGHT} if image[0, 0, 0] > 40 else 1 / 0"]
    specs = [
        detector(folder / f"{i}.py", find, name=f"{HOSTILE} with a long name, number {i}", settings=HOSTILE * 5)
        for i, find in enumerate(finds)
    ]
    arguments = ["--records", str(folder / "records"), "--detector", *specs, "--output", str(folder / "out")]
    assert compare.main([*arguments, "--rounds", "0", "--title", HOSTILE]) == 1  # the last one fails on an image
    return folder / "out" / "compare.html"


def test_its_texts_are_escaped(page):
    text = page.read_text()
    assert "<script" not in text and "<img src=x" not in text and text.count("&lt;script&gt;") > 20
    assert "http://" not in text and "https://" not in text
    assert len(text) < 3_000_000


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("no Chromium here: apt-get install chromium")
    opened = browser.Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_it_fits_and_keeps_to_itself(page, window, width, scheme):
    window.open(page.as_uri(), width, scheme=scheme)
    assert window.complaints() == []
    assert window.requests() == [page.as_uri()]  # itself, and nothing else
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert window.evaluate("document.scripts.length") == 0
    # Every picture is there, every picture and chart says what it shows, and every table has headings.
    assert window.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt.length > 5)")
    assert window.evaluate("document.images.length") > 8
    assert window.evaluate("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label').length > 3)")
    assert window.evaluate("document.querySelectorAll('svg').length") >= 8
    assert window.evaluate(
        "[...document.querySelectorAll('table tr')].every(r => r.querySelector('th[scope]')) && "
        "[...document.querySelectorAll('th')].every(h => h.textContent.trim())"
    )
    pixels = np.asarray(Image.open(io.BytesIO(window.screenshot())).convert("L"), int)
    ground = np.bincount(pixels.ravel()).argmax()
    assert (ground < 64) if scheme == "dark" else (ground > 192)
    assert 0.01 < (abs(pixels - ground) > 100).mean() < 0.5  # text on it that can be read


@pytest.mark.slow
def test_the_charts_lie_within_the_page(page, window):
    window.open(page.as_uri(), 360)
    boxes = window.evaluate(
        "[...document.querySelectorAll('svg, img, dl, p, h1, h2, h3')].map(e => e.getBoundingClientRect())"
        ".map(r => [r.left, r.right])"
    )
    assert len(boxes) > 40 and all(left >= 0 and right <= 360 for left, right in boxes)


@pytest.mark.slow
def test_it_prints_on_white(page, window):
    window.open(page.as_uri(), 794, scheme="dark", media="print")
    assert window.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 38)"
    assert window.pdf().startswith(b"%PDF")
