"""show from outside: which images it draws, where the boxes are, and what it never does."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from detect_faces.errors import UserError
from tools import convert, show


@pytest.fixture
def records(wider, tmp_path):
    images, annotations = wider
    convert.main(
        f"--from wider_face --images {images} --annotations {annotations} --to tfrecord --output {tmp_path}/r".split()
    )
    return tmp_path / "r"


def greens(image):
    """How many pixels are drawn in the colour of faces."""
    red, green, blue = np.asarray(image.convert("RGB")).astype(int).transpose(2, 0, 1)
    return int(((green > 150) & (red < 90) & (blue < 90)).sum())


def grey_set(folder, boxes):
    """A WIDER FACE set of grey pictures of 100 x 100 pixels: {name: boxes x y w h}."""
    folder.mkdir()
    lines = []
    for name, faces in boxes.items():
        Image.new("RGB", (100, 100), (128, 128, 128)).save(folder / name)
        lines += [name, str(len(faces)), *(f"{' '.join(map(str, face))} 0 0 0 0 0 0" for face in faces)]
    (folder / "gt.txt").write_text("\n".join(lines) + "\n")
    return ["--format", "wider_face", "--images", str(folder), "--annotations", str(folder / "gt.txt")]


def test_a_sheet(records, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert show.main(["--records", str(records), "--output", str(sheet), "--columns", "2", "--side", "200"]) == 0
    assert "4 of 4 images" in capsys.readouterr().err
    with Image.open(sheet) as image:
        assert image.width > 400 and greens(image) > 100


def test_the_box_is_drawn_where_it_is(tmp_path):
    options = grey_set(tmp_path / "set", {"a.png": [(20, 30, 40, 50)]})
    show.main([*options, "--output", str(tmp_path / "page.html"), "--side", "100"])
    (data,) = re.findall(r"data:image/jpeg;base64,([^\"']+)", (tmp_path / "page.html").read_text())
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        grey = np.asarray(image.convert("RGB")).astype(int)
    touched = np.abs(grey - 128).max(axis=2) > 40
    rows, columns = np.flatnonzero(touched.sum(axis=1) > 20), np.flatnonzero(touched.sum(axis=0) > 20)
    np.testing.assert_allclose([columns[0], rows[0], columns[-1], rows[-1]], [20, 30, 60, 80], atol=3)


def test_worst_first(tmp_path):
    """A duplicate and a tiny box before a tiny box before none."""
    faces = {"good.png": [(10, 10, 30, 30)], "tiny.png": [(10, 10, 2, 2)]}
    faces["both.png"] = [(10, 10, 30, 30), (10, 10, 30, 30), (50, 50, 2, 2)]
    options = grey_set(tmp_path / "set", faces)
    page = tmp_path / "page.html"
    show.main([*options, "--output", str(page)])
    order = re.findall(r"(good|tiny|both)\.png", page.read_text())
    assert list(dict.fromkeys(order)) == ["both", "tiny", "good"]
    show.main([*options, "--output", str(page), "--order", "file", "--limit", "1"])
    assert set(re.findall(r"(good|tiny|both)\.png", page.read_text())) == {"good"}


def test_names_are_text_on_a_page(tmp_path):
    options = grey_set(tmp_path / "set", {"<script>alert(1)&.png": []})
    show.main([*options, "--output", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;alert(1)&amp;.png" in page and "<script>alert" not in page
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_an_image_that_cannot_be_decoded_is_named_and_the_rest_drawn(tmp_path, capsys):
    options = grey_set(tmp_path / "set", {"a.png": [], "b.png": []})
    data = (tmp_path / "set" / "a.png").read_bytes()
    (tmp_path / "set" / "a.png").write_bytes(data[:60])
    assert show.main([*options, "--output", str(tmp_path / "s.png")]) == 1
    assert "a.png" in capsys.readouterr().err
    assert (tmp_path / "s.png").exists()


def test_nothing_is_overwritten_by_mistake(tmp_path):
    options = grey_set(tmp_path / "set", {"a.png": []})
    before = (tmp_path / "set" / "a.png").read_bytes()
    for output, message in [
        (tmp_path / "set" / "a.png", "is an image of the set"),
        (tmp_path / "out.pdf", "end the name in"),
    ]:
        with pytest.raises(UserError, match=message):
            show.main([*options, "--output", str(output)])
    assert (tmp_path / "set" / "a.png").read_bytes() == before
    (tmp_path / "set" / "gt.txt").write_text("none.png\n0\n")
    with pytest.raises(UserError, match="not one good image"):
        show.main([*options, "--output", str(tmp_path / "s.png")])
    assert not (tmp_path / "s.png").exists()
