"""The show command from outside: orders, upright thumbnails, colours, odd names, and inputs left alone."""

import io

import numpy as np
import pytest
from PIL import Image

from detect_faces.errors import UserError
from tools import contact_sheet, html_page, show
from tools.annotations import AnnotatedImage
from tools.contact_sheet import GREEN, GREY, RED
from tools.html_page import Card

GOOD, TINY, LONG = "20 10 40 50", "5 5 2 2", "100 10 60 10"


@pytest.fixture
def make_set(tmp_path):
    """A function that writes a WIDER FACE set of {name: [x y width height]} and gives the options that name it."""

    def make(images):
        lines = []
        (tmp_path / "images").mkdir(exist_ok=True)
        for name, faces in images.items():
            Image.new("RGB", (200, 100), (90, 90, 90)).save(tmp_path / "images" / name)
            lines += [name, str(len(faces)), *(f"{face} 0 0 0 0 0 0" for face in faces or ["0 0 0 0"])]
        (tmp_path / "gt.txt").write_text("\n".join([*lines, ""]))
        return [
            *("--format", "wider_face"),
            *("--annotations", f"{tmp_path}/gt.txt"),
            *("--images", f"{tmp_path}/images"),
        ]

    return make


def where(pixels, colour):
    """(x_min, y_min, x_max, y_max) of the pixels of a colour."""
    y, x = np.nonzero((pixels == colour).all(axis=2))
    return (x.min(), y.min(), x.max(), y.max())


@pytest.mark.parametrize("scale", [1, 0.5, 2])
def test_colours_and_places(scale):
    boxes = [[20, 10, 60, 60], [100, 10, 160, 20], [120, 40, 150, 80]]
    image = AnnotatedImage("a", 200, 100, boxes, ("face",) * 3, b"", {"ignore": [0, 0, 1]})
    picture = Image.new("RGB", (int(200 * scale), int(100 * scale)))
    pixels = np.asarray(contact_sheet.with_boxes(picture, image, [1])).astype(int)
    for colour, box in zip((GREEN, RED, GREY), boxes, strict=True):
        assert where(pixels, colour) == tuple(int(side * scale) for side in box)
    assert not np.asarray(picture).any()  # drawn on a copy
    dashes = (pixels[int(40 * scale), int(130 * scale) : int(150 * scale)] == GREY).all(axis=1).mean()
    assert 0.3 < dashes < 0.8


def test_a_crowd_stays_visible():
    boxes = [(x, y, x + 6, y + 6) for x in range(0, 200, 10) for y in range(0, 100, 10)]
    image = AnnotatedImage("a", 200, 100, boxes, ("face",) * len(boxes), b"")
    pixels = np.asarray(contact_sheet.with_boxes(Image.new("RGB", (200, 100)), image)).astype(int)
    assert (pixels == GREEN).all(axis=2).sum() == 24 * len(boxes)  # lines of one pixel, no numbers


def test_boxes_beyond_the_edge_are_drawn_on_it():
    image = AnnotatedImage("a", 20, 10, [[-5, -5, 30, 30], [500, 500, 600, 600]], ("face",) * 2, b"")
    pixels = np.asarray(contact_sheet.with_boxes(Image.new("RGB", (20, 10)), image)).astype(int)
    assert where(pixels, GREEN) == (0, 0, 19, 9)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_thumbnails_are_upright(orientation, form):
    tags = Image.Exif()
    tags[0x0112] = orientation
    upright = Image.new("RGB", (200, 400) if orientation >= 5 else (400, 200))
    upright.paste("white", (0, 0, 60, 60))  # in the upper left corner
    turned_back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose
    out = io.BytesIO()
    (upright.transpose(turned_back[orientation]) if orientation > 1 else upright).save(out, form, exif=tags)
    small = contact_sheet.thumbnail(out.getvalue(), 100)
    assert small.size == ((50, 100) if orientation >= 5 else (100, 50))
    assert small.getpixel((4, 4))[0] > 200
    assert small.getpixel((small.width - 5, 4))[0] < 50 and small.getpixel((4, small.height - 5))[0] < 50
    assert contact_sheet.exif_orientation(out.getvalue()) == orientation


def test_names_that_are_not_utf_8():
    assert contact_sheet.shortened("a\udcff\n.jpg", 500) == "a\\udcff?.jpg"
    assert b"a\\udcff" in html_page.page("t", "", [Card(None, 0, 0, "a\udcff", "", [])], None)


def test_order(make_set, tmp_path):
    sets = make_set(
        {
            "1.png": [GOOD],
            "2.png": [TINY],
            "3.png": [TINY, LONG],
            "4.png": [],
            "5.png": [TINY, "50 50 3 3"],
            "6.png": ["150 50 60 40"],
            "7.png": [TINY],
        }
    )

    def names(*options):
        page = tmp_path / "p.html"
        assert show.main([*sets, "--output", str(page), *options]) == 0
        return [part[0] for part in page.read_text().split("<b>")[1:]]

    assert names() == list("3527614")  # two kinds, two of a kind, one, one, a note, nothing
    assert names("--limit", "4") == list("3527")
    assert names("--order", "file", "--limit", "3") == list("123")
    assert names("--input-size", "20000", "--limit", "3") == list("361")  # nothing is tiny at that size
    samples = {tuple(names("--order", "random", "--seed", str(seed), "--limit", "3")) for seed in range(9)}
    assert len(samples) > 5 and all(len(set(sample)) == 3 for sample in samples)
    assert names("--order", "random", "--seed", "4") == names("--order", "random", "--seed", "4")


def test_a_random_sample_is_fair():
    images = [AnnotatedImage(str(i), 10, 10, [], (), b"") for i in range(10)]
    drawn = [image.name for seed in range(2000) for image in show.chosen(images, 3, "random", seed)]
    counts = [drawn.count(str(i)) for i in range(10)]
    assert min(counts) > 500 and max(counts) < 700  # 600 each, give or take more than 4 deviations


@pytest.mark.parametrize(
    "options, message",
    [
        (["--output", "image.png"], "is an image of the set"),
        (["--output", "gt.html", "--annotations", "gt.html"], "these are the annotations"),
        (["--output", "out.png", "--images", "none"], "none: no such folder"),
        (["--output", "out.jpg", "--side", "4000", "--columns", "1"], "would have up to"),
    ],
)
def test_wrong_usage_writes_nothing(make_set, tmp_path, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = make_set({f"{number}.png": [GOOD] for number in range(20)})
    (tmp_path / "image.png").symlink_to(tmp_path / "images" / "1.png")
    (tmp_path / "gt.html").symlink_to(tmp_path / "gt.txt")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message) as raised:
        show.main([*sets, *options])
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [["--limit", "0"], ["--limit", "1001"], ["--columns", "x"], ["--order", "best"]])
def test_wrong_numbers(make_set, tmp_path, options):
    with pytest.raises(SystemExit) as raised:
        show.main([*make_set({"a.png": []}), "--output", str(tmp_path / "a.html"), *options])
    assert raised.value.code == 2
