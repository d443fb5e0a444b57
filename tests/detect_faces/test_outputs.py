"""The pictures that are written: where, with what metadata, and that nothing is replaced. Pillow is the oracle."""

import io
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from detect_faces import UserError, cli
from detect_faces.exif import cleaned, jpeg_orientation
from tests.detect_faces.test_read_images import encode

GPS, EXIF, MAKER_NOTE = 0x8825, 0x8769, 0x927C
THUMBNAIL = encode(Image.new("RGB", (16, 12), "red"), "JPEG")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'


def photo_exif(orientation: int = 6) -> Image.Exif:
    """As a phone writes it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "A maker"
    exif[ExifTags.Base.DateTime] = "2026:05:04 03:02:01"
    exif[ExifTags.Base.XResolution] = 72.0
    exif.get_ifd(EXIF)[ExifTags.Base.ExposureTime] = 0.01
    exif.get_ifd(EXIF)[ExifTags.Base.ExifImageWidth] = 60
    exif.get_ifd(EXIF)[MAKER_NOTE] = b"a preview, and 52.5 N 13.4 E"
    exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.25)
    return exif


def with_thumbnail(exif: bytes) -> bytes:
    """EXIF data with a second directory behind the first, which holds a small copy of the picture."""
    tiff = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = "little" if tiff[:2] == b"II" else "big"

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)

    first = int.from_bytes(tiff[4:8], order)
    link = first + 2 + 12 * int.from_bytes(tiff[first : first + 2], order)
    at = len(tiff) + len(tiff) % 2
    tiff += bytes(at - len(tiff))
    tiff[link : link + 4] = number(at, 4)
    data_at = at + 2 + 24 + 4
    for_offset = number(0x0201, 2) + number(4, 2) + number(1, 4) + number(data_at, 4)
    for_length = number(0x0202, 2) + number(4, 2) + number(1, 4) + number(len(THUMBNAIL), 4)
    return bytes(tiff) + number(2, 2) + for_offset + for_length + number(0, 4) + THUMBNAIL


@pytest.fixture
def photo(tmp_path):
    """A writer of photographs with two faces of tiny_model, when upright, and all metadata."""

    def write(name: str, orientation: int = 6, size: tuple[int, int] = (16, 16)) -> Path:
        upright = Image.new("RGB", size)
        upright.putpixel((4, 3), (255, 0, 0))
        upright.putpixel((11, 10), (204, 0, 0))
        back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
        stored = upright.transpose(back[orientation]) if back[orientation] is not None else upright
        exif = with_thumbnail(photo_exif(orientation).tobytes())
        exif = b"Exif\0\0" + exif if name.endswith(".jpg") else exif
        path = tmp_path / name
        options = {"quality": 100, "subsampling": 0} if name.endswith(".jpg") else {"lossless": True}
        stored.save(path, exif=exif, icc_profile=PROFILE, **options | ({"xmp": XMP} if name.endswith(".jpg") else {}))
        return path

    return write


@pytest.fixture
def run(tiny_model):
    """The command with tiny_model."""
    return lambda *arguments: cli.run([*map(str, arguments), "--model", str(tiny_model)])


FORMATS = ("a.jpg", "a.png", "a.webp")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("option", ["--draw", "--fill"])
def test_what_is_written_is_upright_once(run, photo, tmp_path, name, orientation, option):
    assert run(photo(name, orientation), option, tmp_path / "out" / name) == 0
    with Image.open(tmp_path / "out" / name) as written:
        assert written.getexif()[ExifTags.Base.Orientation] == 1
        turned = np.asarray(ImageOps.exif_transpose(written).convert("RGB")).astype(int)
    if option == "--fill":
        assert turned.max() < 90  # both faces are gone; what is left is noise of the format
    else:
        assert turned[..., 1].max() > 90  # green boxes


def transparent(size: tuple[int, int] = (16, 16)) -> Image.Image:
    """Two faces of tiny_model, when upright, on a ground that is the more transparent the farther down and right."""
    picture = Image.new("RGBA", size)
    picture.putpixel((4, 3), (255, 0, 0, 255))
    picture.putpixel((11, 10), (204, 0, 0, 255))
    rows, columns = np.mgrid[: size[1], : size[0]]
    picture.putalpha(Image.fromarray((255 - 9 * rows - 3 * columns).astype(np.uint8)))
    return picture


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_stays(run, tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = {6: 8, 8: 6}.get(orientation, orientation)  # the way back
    stored = transparent()
    stored.getexif().update(exif)
    stored = ImageOps.exif_transpose(stored)
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / f"a{suffix}", exif=exif, lossless=True, exact=True)
    with Image.open(tmp_path / f"a{suffix}") as stored:
        before = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(before, np.asarray(transparent()))
    assert run(tmp_path / f"a{suffix}", "--fill", tmp_path / f"b{suffix}", "--crop", tmp_path / "crops") == 0
    with Image.open(tmp_path / f"b{suffix}") as written:
        after = np.asarray(written)
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert before[..., 0].max() == 255 and after[..., 0].max() == 0  # the faces are gone
    with Image.open(tmp_path / f"crops/a-1{suffix}") as crop:
        assert crop.mode == "RGBA" and crop.getpixel((0, 0))[3] < 255


@pytest.mark.parametrize(
    ("mode", "options"), [("LA", {}), ("P", {"transparency": 0}), ("RGB", {"transparency": (0, 0, 0)})]
)
def test_alpha_of_other_kinds_of_png(run, tmp_path, mode, options):
    picture = transparent().convert(mode)
    picture.save(tmp_path / "a.png", **options)
    with Image.open(tmp_path / "a.png") as stored:
        before = np.asarray(stored.convert("RGBA"))[..., 3]
    assert before.min() < 255
    assert run(tmp_path / "a.png", "--pixelate", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as written:
        np.testing.assert_array_equal(np.asarray(written.convert("RGBA"))[..., 3], before)


def test_alpha_of_sixteen_bits(run, tmp_path):
    wide = np.zeros((16, 16, 4), np.uint16)
    wide[..., 3] = np.arange(256).reshape(16, 16) * 257
    assert cv2.imwrite(str(tmp_path / "a.png"), wide)
    assert run(tmp_path / "a.png", "--blur", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as written:
        np.testing.assert_array_equal(np.asarray(written)[..., 3], np.arange(256).reshape(16, 16))


def test_what_is_drawn_is_not_transparent(run, tmp_path):
    picture = transparent()
    picture.putalpha(0)
    picture.save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", "--draw", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as written:
        drawn = np.asarray(written)
    painted = drawn[..., 1] > 90  # green
    assert painted.any() and (drawn[painted][:, 3] == 255).all() and drawn[..., 3].min() == 0


def test_where_there_is_no_alpha(run, photo, tmp_path):
    transparent().save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", "--blur", tmp_path / "b.jpg") == 0
    assert run(photo("c.png"), "--blur", tmp_path / "d.png") == 0
    for name in ("b.jpg", "d.png"):
        with Image.open(tmp_path / name) as written:
            assert written.mode == "RGB"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("metadata", "kept"),
    [(None, {"make"}), ("no-gps", {"make"}), ("keep", {"make", "place"}), ("strip", set())],
)
def test_metadata(run, photo, tmp_path, name, metadata, kept):
    given = ("--metadata", metadata) if metadata else ()
    assert run(photo(name), "--blur", tmp_path / "out" / name, *given) == 0
    data = (tmp_path / "out" / name).read_bytes()
    with Image.open(io.BytesIO(data)) as written:
        exif = written.getexif()
        assert {"make"} & kept == ({"make"} if exif.get(ExifTags.Base.Make) == "A maker" else set())
        place = exif.get_ifd(GPS)
        assert ("place" in kept) == (place.get(ExifTags.GPS.GPSLatitude) == (52.0, 31.0, 12.25))
        assert ("make" in kept) == (exif.get_ifd(EXIF).get(ExifTags.Base.ExposureTime) == 0.01)
        assert ExifTags.Base.ExifImageWidth not in exif.get_ifd(EXIF)
        assert written.info["icc_profile"] == PROFILE
    for secret in (THUMBNAIL[20:60], b"a preview", b"xpacket"):
        assert secret not in data
    with open(tmp_path / name, "rb") as original:
        assert THUMBNAIL[20:60] in original.read()


def test_xmp_is_kept_where_nothing_is_hidden_and_it_is_asked_for(run, photo, tmp_path):
    for metadata, kept in (("keep", True), ("no-gps", False)):
        assert run(photo("a.jpg"), "--draw", tmp_path / "out.jpg", "--metadata", metadata) == 0
        assert (b"xpacket" in (tmp_path / "out.jpg").read_bytes()) == kept


def test_a_profile_of_cmyk_does_not_stay_on_rgb(run, tmp_path, photo):
    path = tmp_path / "cmyk.jpg"
    profile = bytearray(PROFILE)
    profile[16:20] = b"CMYK"
    Image.new("CMYK", (16, 16)).save(path, icc_profile=bytes(profile))
    photo("other.jpg")
    assert run(path, "--draw", tmp_path / "out.jpg") == 0
    with Image.open(tmp_path / "out.jpg") as written:
        assert written.mode == "RGB" and "icc_profile" not in written.info


@given(st.integers(0, 400), st.binary(min_size=1, max_size=30), st.booleans())
def test_damaged_exif_is_copied_in_part_or_not_at_all(at, junk, keep_place):
    exif = with_thumbnail(photo_exif().tobytes())
    at %= len(exif)
    cleaned_up = cleaned(exif[:at] + junk + exif[at + len(junk) :], keep_place)
    assert cleaned_up is None or THUMBNAIL[20:60] not in cleaned_up


@given(st.binary(max_size=100), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_exif_of_anything(data, head):
    cleaned(head + data, True)
    assert 1 <= jpeg_orientation(b"\xff\xd8\xff\xe1\x00\xf0Exif\0\0" + head + data) <= 8
    assert 1 <= jpeg_orientation(head + data) <= 8


def test_exif_that_points_to_itself():
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + bytes(4)
    assert len(cleaned(tiff, True)) < 200


# Where pictures go


def test_crops(run, photo, tmp_path):
    (tmp_path / "photos").mkdir()
    photo("photos/a.png")
    assert run(tmp_path / "photos", "--crop", tmp_path / "faces", "--margin", "0") == 0
    written = sorted((tmp_path / "faces").iterdir())
    assert [path.name for path in written] == ["a-1.png", "a-2.png"]
    for path, red in zip(written, (255, 204), strict=True):
        with Image.open(path) as crop:
            assert crop.size == (1, 1) and crop.getpixel((0, 0)) == (red, 0, 0)
            assert crop.getexif().get_ifd(GPS) == {}


def test_square_crops_with_room(run, photo, tmp_path):
    assert run(photo("a.jpg"), "--crop", tmp_path / "faces", "--margin", "2", "--square", "--largest") == 0
    (path,) = (tmp_path / "faces").iterdir()
    with Image.open(path) as crop:
        assert crop.size == (5, 5)


def test_selection(run, photo, capsys):
    path = photo("a.png")
    counts = {}
    for options in ((), ("--max-faces", "1"), ("--largest",), ("--min-size", "2"), ("--min-score", "0.9")):
        assert run(path, "--jsonl", *options) == 0
        counts[options] = len(json.loads(capsys.readouterr().out)["faces"])
    assert list(counts.values()) == [2, 1, 1, 0, 1]


@pytest.mark.parametrize("option", ["--draw", "--blur", "--pixelate", "--fill"])
def test_overwrites_when_told(run, photo, tmp_path, option):
    path = photo("a.png")
    before = path.read_bytes()
    with pytest.raises(UserError, match="would overwrite the input"):
        run(path, option, path)
    assert path.read_bytes() == before
    assert run(path, option, path, "--overwrite") == 0
    assert path.read_bytes() != before


def test_an_input_that_comes_later_in_a_list_is_not_overwritten(run, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    photo("a.png")
    photo("out/a.png")
    Path("list").write_text("a.png\nout/a.png\n")
    with pytest.raises(UserError, match="would overwrite the input out/a"):
        run("--files-from", "list", "--draw", "out")


def test_crops_do_not_take_the_names_of_pictures(run, photo, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.jpg", "photos/a-2020-11.jpg"):
        photo(name)
    out = tmp_path / "out"
    assert run(tmp_path / "photos", "--fill", out, "--crop", out) == 0  # nobody has 11 faces in the frame 2020
    shutil.rmtree(out)
    photo("photos/a-1.jpg")
    with pytest.raises(UserError, match=r"a-1\.jpg could be both a picture and a crop; give two folders"):
        run(tmp_path / "photos", "--fill", out, "--crop", out)
    assert not out.exists()
    assert run(tmp_path / "photos", "--fill", out, "--crop", tmp_path / "faces") == 0
    shutil.rmtree(out)
    assert run(tmp_path / "photos" / "a.jpg", "--fill", f"{out}/", "--crop", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a-1.jpg", "a-2.jpg", "a.jpg"]


def test_crops_do_not_overwrite_an_input(run, photo, tmp_path, capsys):
    photo("a.png")
    photo("a-1.png")
    before = (tmp_path / "a-1.png").read_bytes()
    assert run(tmp_path, "--crop", tmp_path) == 1
    assert "would overwrite the input" in capsys.readouterr().err
    assert (tmp_path / "a-1.png").read_bytes() == before


def test_two_outputs_at_one_place(run, photo, tmp_path):
    with pytest.raises(UserError, match="would both write"):
        run(photo("a.png"), "--draw", tmp_path / "out.png", "--blur", tmp_path / "out.png")


def test_several_outputs_at_once(run, photo, tmp_path):
    outputs = [argument for name in ("draw", "pixelate", "crop") for argument in (f"--{name}", tmp_path / name)]
    (tmp_path / "photos").mkdir()
    photo("photos/a.jpg")
    photo("photos/b.webp")
    assert run(tmp_path / "photos", *outputs, "--jsonl") == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.parent.name != "photos"}
    crops = {f"crop/{name}" for name in ("a-1.jpg", "a-2.jpg", "b-1.webp", "b-2.webp")}
    assert written == {"draw/a.jpg", "draw/b.webp", "pixelate/a.jpg", "pixelate/b.webp", *crops}


def test_what_cannot_be_written_is_an_error_of_that_image(run, photo, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    photo("photos/a.png")
    photo("photos/b.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)  # in the way
    assert run(tmp_path / "photos", "--draw", tmp_path / "out") == 1
    assert "a.png: cannot be written: Is a directory" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png"]
