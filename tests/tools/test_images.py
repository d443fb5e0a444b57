"""Bytes for records: kept where TensorFlow decodes them as they look, otherwise upright 8-bit RGB or grey."""

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tools.images import ImageError, encode_for_record, path_inside, upright_boxes, upright_size


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"progressive": True}, {"form": "PNG"}])
@pytest.mark.parametrize("exif", [None, 1, 9])
def test_good_bytes_are_kept(picture, options, exif):
    data = picture(**options, **({"exif": oriented(exif)} if exif else {}))
    encoded = encode_for_record(data)
    assert encoded.data == data
    assert (encoded.width, encoded.height, encoded.changed) == (48, 32, "")
    assert encoded.format == options.get("form", "jpeg").lower()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(2, 9))
def test_orientation_is_baked_in(picture, form, value):
    options = {"lossless": True} if form == "WEBP" else {}
    data = picture(form=form, exif=oriented(value), **options)
    encoded = encode_for_record(data)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert not image.getexif().get(0x0112)
    assert (encoded.height, encoded.width) == upright.shape[:2]
    assert upright_size(data) == (encoded.width, encoded.height)
    assert np.abs(pixels(encoded.data) - upright).mean() < 3


def grey16():
    out = io.BytesIO()
    Image.fromarray((np.arange(48 * 32).reshape(32, 48) * 40).astype(np.uint16)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"mode": "CMYK"}, "CMYK JPEG"),
        ({"form": "PNG", "mode": "P"}, "palette PNG"),
        ({"form": "PNG", "mode": "1"}, "1-bit PNG"),
        ({"form": "PNG", "mode": "RGBA"}, "PNG with alpha"),
        ({"form": "PNG", "mode": "LA"}, "PNG with alpha"),
        ({"form": "PNG", "transparency": (1, 2, 3)}, "PNG with alpha"),
        ({"form": "WEBP"}, "WEBP"),
        ({"form": "BMP"}, "BMP"),
        (None, "16-bit PNG"),
    ],
)
def test_the_rest_is_encoded_anew(picture, options, reason):
    data = picture(**options) if options else grey16()
    encoded = encode_for_record(data)
    assert (encoded.changed, encoded.format, encoded.width, encoded.height) == (reason, "jpeg", 48, 32)
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert image.format == "JPEG" and image.mode in ("L", "RGB")
    expected = np.arange(48 * 32).reshape(32, 48, 1) * 40 // 256 if options is None else pixels(data)
    dithered = reason in ("1-bit PNG", "palette PNG")  # JPEG is poor at those
    assert np.abs(pixels(encoded.data) - expected).mean() < (16 if dithered else 5)


@pytest.mark.parametrize("form, share", [("JPEG", 1), ("PNG", 1), ("JPEG", 2), ("PNG", 2)])
def test_what_is_accepted_tensorflow_decodes_and_cuts_are_refused(picture, form, share):
    """share 1: cut off at every 7th byte and near the end; 2: one bit flipped."""
    tf = pytest.importorskip("tensorflow")
    data = picture(form=form)
    chance = random.Random(0)
    for at in sorted({*range(0, len(data), 7), *range(len(data) - 16, len(data))}):
        bad = data[:at] if share == 1 else data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        try:
            encoded = encode_for_record(bad)
        except ImageError:
            continue
        assert share == 2, f"cut to {at} of {len(data)} bytes and accepted"
        assert tf.io.decode_image(encoded.data).shape[:2] == (encoded.height, encoded.width)


@given(
    data=st.binary(max_size=80), start=st.sampled_from([b"", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"])
)
def test_any_bytes_are_refused_with_a_reason(data, start):
    with pytest.raises(ImageError, match=r"."):
        encode_for_record(start + data)


def test_a_bomb_is_refused_from_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)
    for read in (upright_size, encode_for_record):
        with pytest.raises(ImageError, match="more than 178,956,970 pixels"):
            read(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    for name, reason in [
        ("none.jpg", "no such file"),
        ("", "no such file"),
        ("empty.jpg", "not a "),
        ("text.png", "not a "),
    ]:
        with pytest.raises(ImageError, match=reason):
            upright_size(tmp_path / name)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\0b", "..\\a.jpg"])
def test_names_stay_in_their_folder(tmp_path, name):
    with pytest.raises(ImageError, match="not a path inside"):
        path_inside(tmp_path, name)


@pytest.mark.parametrize("value", [1, 5, 6, 7, 8])
def test_boxes_of_the_stored_picture_are_turned_with_it(value):
    stored = np.full((40, 64, 3), 255, np.uint8)
    stored[5:17, 30:50] = 0
    out = io.BytesIO()
    Image.fromarray(stored).save(out, "PNG", exif=oriented(value))
    width, height, xyxy = upright_boxes(out.getvalue(), (64, 40), [[30, 5, 50, 17]])
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue()))))
    assert upright.shape[:2] == (height, width)
    xmin, ymin, xmax, ymax = xyxy[0].astype(int)
    assert not upright[ymin:ymax, xmin:xmax].any()
    assert (upright == 0).all(axis=2).sum() == (ymax - ymin) * (xmax - xmin)


def test_boxes_for_a_picture_of_another_size(picture):
    data = picture(width=48, height=32)
    assert upright_boxes(data, (0, 0), [[1, 2, 3, 4]])[2].tolist() == [[1, 2, 3, 4]]
    assert upright_boxes(data, (48, 32), np.empty((0, 4)))[:2] == (48, 32)
    with pytest.raises(ImageError, match="is 48x32 pixels, its annotation is for 96x64"):
        upright_boxes(data, (96, 64), [[1, 2, 3, 4]])
