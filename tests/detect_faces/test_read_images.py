"""Reading images of every kind, good and bad. Pillow makes them and is the oracle for what they show."""

import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from detect_faces import UserError, guards, images
from detect_faces.image_header import image_size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")


def encode(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def scene(width: int = 60, height: int = 40) -> Image.Image:
    """A smooth picture in which every corner has another colour."""
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 240]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def bgr(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))[..., ::-1]


def png_of_size(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


MODES = {  # that Pillow writes
    "JPEG": ["RGB", "L", "1", "CMYK"],
    "PNG": ["RGB", "L", "P", "1", "RGBA", "LA"],
    "WEBP": ["RGB", "L", "RGBA"],
    "BMP": ["RGB", "L", "P", "1", "RGBA"],
}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
def test_modes_become_bgr(form, mode):
    data = encode(scene().convert(mode), form, quality=95)
    decoded = images.decode_image(data)
    assert decoded.dtype == np.uint8 and decoded.shape == (40, 60, 3)
    difference = np.abs(decoded.astype(int) - bgr(Image.open(io.BytesIO(data))))
    assert difference.mean() < 4 and np.percentile(difference, 99) < 20


def test_sixteen_bits_become_eight():
    grey = (np.arange(2400).reshape(40, 60) * 27).astype(np.uint16)
    decoded = images.decode_image(encode(Image.fromarray(grey), "PNG"))
    np.testing.assert_allclose(decoded[..., 0], grey / 257, atol=1.01)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene(), form, exif=exif.tobytes())
    upright = bgr(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    decoded = images.decode_image(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    decoded = images.decode_image(encode(frames[0], form, save_all=True, append_images=frames[1:]))
    assert np.abs(decoded.astype(int) - bgr(frames[0])).max() < 5


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (65500, 1)])
def test_extreme_shapes(size):
    assert images.decode_image(encode(Image.new("RGB", size), "JPEG")).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (1000, 999)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(99)}])
def test_size_in_the_header(form, size, mode, options):
    assert image_size(encode(scene(*size).convert(mode), form, **options)) == size


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_size_in_the_header_of_an_animation(form):
    data = encode(scene(), form, save_all=True, append_images=[Image.new("RGB", (60, 40))])
    assert image_size(data) == (60, 40)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x00", "not a JPEG, PNG, WebP or BMP"),
        (b"<html>404</html>", "not a JPEG, PNG, WebP or BMP"),
        (encode(scene(), "GIF"), "not a JPEG, PNG, WebP or BMP"),
        (encode(scene(), "TIFF"), "not a JPEG, PNG, WebP or BMP"),
        (b"\xff\xd8\xff", "header is cut off"),
        (b"\xff\xd8\xff\xe0\x00\x04\x00\x00\x00\x00", "header is damaged"),
        (b"RIFF\x00\x00\x00\x00WEBPnone" + bytes(20), "header is damaged"),
        (b"BM" + bytes(60), "0 x 0 pixels"),
        (png_of_size(20000, 20000), "20000 x 20000 pixels are more than"),
        (png_of_size(100, 100), "damaged or cut off"),
    ],
)
def test_refuses_with_one_line(data, message):
    start = time.perf_counter()
    with pytest.raises(UserError, match=message) as error:
        images.decode_image(data, "holiday.jpg")
    assert time.perf_counter() - start < 0.5
    assert str(error.value).startswith("holiday.jpg: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_off_image_is_refused_wherever_it_is_cut(form, progressive):
    data = encode(scene(64, 64), form, progressive=progressive)
    for length in range(1, len(data) - 12, max(1, len(data) // 40)):  # PNG: the end chunk alone may be missing
        with pytest.raises(UserError):
            images.decode_image(data[:length])


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(FORMATS), at=st.integers(0, 400), junk=st.binary(min_size=1, max_size=12))
def test_damage_gives_an_image_or_a_user_error(form, at, junk):
    data = bytearray(encode(scene(20, 20), form))
    at %= len(data)
    data[at : at + len(junk)] = junk
    try:
        image = images.decode_image(bytes(data))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert image.ndim == 3 and image.shape[2] == 3


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"BM"]))
def test_header_of_anything_is_a_size_or_a_value_error(data, magic):
    try:
        width, height = image_size(magic + data)
    except ValueError:
        return
    assert width > 0 and height > 0


def test_read_image_goes_by_content_not_by_name(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(scene(), "JPEG"))
    assert images.read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("path", "message"), [("missing.jpg", "No such file"), (".", "directory"), ("/dev/zero", "not a JPEG")]
)
def test_read_image_names_the_file(path, message):
    with pytest.raises(UserError, match=message) as error:
        images.read_image(path)
    assert str(error.value).startswith(f"{path}: ")


def test_write_image_is_whole_or_not_there(tmp_path):
    picture = np.zeros((20, 17000, 3), np.uint8)
    images.write_image(tmp_path / "new" / "wide.png", picture)
    assert cv2.imread(str(tmp_path / "new" / "wide.png")).shape == picture.shape
    for name in ("wide.webp", "wide.tiff", "wide"):  # too wide for WebP; not a format that is written
        with pytest.raises(UserError, match=name):
            images.write_image(tmp_path / name, picture)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_memory_cannot_encode_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(guards, "available_memory", lambda: guards.RESERVE + 12_000_000)
    picture = np.zeros((3500, 3500, 3), np.uint8)  # 37 MB, of which a PNG may take all
    with pytest.raises(UserError, match=r"large.png: takes 37 MB of memory and 12 MB are free"):
        images.write_image(tmp_path / "large.png", picture)
    images.write_image(tmp_path / "large.jpg", picture)
    assert [path.name for path in tmp_path.iterdir()] == ["large.jpg"]
