"""What is refused before it is decoded: bombs, and what is too much for the memory there is."""

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detect_faces import UserError, guards, images
from detect_faces.guards import Limits, checked_header, decoding_bytes
from detect_faces.image_header import read_header
from detect_faces.inputs import Source, image_name
from detect_faces.reading import Reading, Video
from tests.detect_faces.test_read_images import FORMATS, encode, scene


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_that_says(width: int, height: int, **options) -> bytes:
    data = bytearray(encode(scene(), "JPEG", **options))
    at = max(data.find(b"\xff\xc0\x00\x11"), data.find(b"\xff\xc2\x00\x11"))
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_that_says(width: int, height: int) -> bytes:
    data = bytearray(encode(scene(), "WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", data, 21)
    struct.pack_into("<I", data, 21, bits & ~0xFFFFFFF | (width - 1) | (height - 1) << 14)
    return bytes(data)


def bmp_that_says(width: int, height: int) -> bytes:
    data = bytearray(encode(scene(), "BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


BOMBS = {
    "png of zeros": (png(20_000, 20_000, zlib.compress(bytes(10_000_000), 9)), "more than the limit of 200,000,000"),
    "png, 4 gigapixels": (png(65_535, 65_535, b"x"), "more than the limit"),
    "png, 2**31 wide": (png(0x7FFFFFFF, 1, b"x" * 999), "more than the limit"),
    "png too short for its size": (png(10_000, 10_000, zlib.compress(bytes(100_000))), "cannot hold"),
    "jpeg, 4 gigapixels": (jpeg_that_says(65_535, 65_535), "more than the limit"),
    "jpeg too short for its size": (jpeg_that_says(14_000, 14_000), "cannot hold"),
    "progressive": (jpeg_that_says(14_000, 14_000, progressive=True), "cannot hold"),
    "webp": (webp_that_says(16_383, 16_383), "more than the limit"),
    "bmp": (bmp_that_says(14_000, -14_000), "cannot hold"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_anything_is_decoded(name, monkeypatch):
    data, message = BOMBS[name]
    monkeypatch.setattr(images, "decode", None)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError, match=message):
        images.decode_image(data, "bomb")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert time.process_time() - start < 0.5  # milliseconds, and tracing


def test_a_progressive_jpeg_of_endless_scans_is_refused():
    data = encode(scene(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan, end = data[last:-2], data[-2:]
    assert images.decode_image(data).shape == (40, 60, 3)
    with pytest.raises(UserError, match="more than 100 scans"):
        images.decode_image(data[:-2] + scan * 1000 + end)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (3000, 2000)])
@pytest.mark.parametrize("options", [{"quality": 1}, {"quality": 1, "progressive": True}, {"lossless": True}])
def test_an_image_of_one_colour_is_no_bomb(form, mode, size, options):
    data = encode(Image.new(mode, size, 128 if mode == "L" else (1, 2, 3)), form, optimize=form != "BMP", **options)
    assert images.decode_image(data).shape[:2] == size[::-1]


def test_png_of_one_bit_is_no_bomb():
    data = encode(Image.new("1", (4000, 4000)), "PNG", optimize=True)
    assert images.decode_image(data).shape == (4000, 4000, 3)


@given(st.binary(max_size=60), st.sampled_from([encode(scene(20, 20), form) for form in FORMATS]), st.integers(0, 200))
def test_any_header_is_taken_or_refused_in_a_line(junk, data, at):
    data = data[:at] + junk + data[at + len(junk) :]
    try:
        header = checked_header(data, "x", Limits(pixels=1000))
    except UserError as error:
        assert str(error).startswith("x: ") and "\n" not in str(error)
    else:
        assert 0 < header.width * header.height <= 1000


def test_limits_are_the_callers():
    data = encode(scene(60, 40), "PNG")
    assert checked_header(data, "x", Limits(pixels=2400, bytes=len(data))).width == 60
    with pytest.raises(UserError, match="60 x 40 pixels are more than the limit of 2,399"):
        checked_header(data, "x", Limits(pixels=2399))
    with pytest.raises(UserError, match="more than the limit of 10 bytes"):
        checked_header(data, "x", Limits(bytes=10))


def test_no_more_of_a_file_is_read_than_the_limit(tmp_path):
    path = tmp_path / "large.png"
    with open(path, "wb") as file:
        file.write(encode(scene(), "PNG"))
        file.truncate(1 << 40)  # a terabyte, with nothing in it
    with pytest.raises(UserError, match="more than the limit of 400,000,000 bytes"):
        Reading(Limits()).prepare(source(path))
    with pytest.raises(UserError, match="more than the limit of 100,000 bytes"):
        Reading(Limits(bytes=100_000)).prepare(source(path))


def test_a_file_is_in_memory_once(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encode(scene(), "PNG") + bytes(20_000_000))
    tracemalloc.start()
    data = images.read_bytes(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data == path.read_bytes() and peak < 1.1 * len(data)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GIF89a", "but GIF; convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypheic", "but HEIC; convert"),
        (b"\0\0\0\x18ftypavif", "but AVIF; convert"),
        (b"\0\0\0\x18ftypmp42", "but a video"),
        (b"\x1a\x45\xdf\xa3", "but a video"),
        (b"%PDF-1.7", "but PDF; convert"),
        (b"II*\0", "but TIFF; convert"),
    ],
)
def test_other_kinds_of_files_are_named(head, message):
    with pytest.raises(UserError, match=message):
        images.decode_image(head + bytes(100))


def source(path) -> Source:
    return Source(str(path), image_name(path))


def test_a_video_is_told_by_its_content(tmp_path):
    path = tmp_path / "clip.jpg"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    need, finish = Reading(Limits()).prepare(source(path))
    assert (need, finish()) == (0, Video(source(path)))


# Memory


@pytest.fixture
def container(monkeypatch):
    """In which 50 MB are free, and what is kept back."""
    monkeypatch.setattr(guards, "available_memory", lambda: 50_000_000 + guards.RESERVE)


def large(form: str, **options) -> bytes:
    """A picture of 9 megapixels that takes few bytes."""
    return encode(Image.new("RGB", (3000, 3000)), form, **options)


@pytest.mark.parametrize(
    ("form", "options", "side", "fits"),
    [
        ("JPEG", {}, 0, True),  # 27 MB
        ("JPEG", {"progressive": True}, 0, False),  # and as much for the coefficients
        ("JPEG", {}, 1000, True),
        ("JPEG", {"progressive": True}, 1000, True),
        ("PNG", {}, 0, False),  # twice, as the decoder works
    ],
)
def test_what_the_memory_cannot_hold_is_refused(container, tmp_path, form, options, side, fits):
    path = tmp_path / "large"
    path.write_bytes(large(form, **options))
    _, finish = Reading(Limits(), lambda: side).prepare(source(path))
    if fits:
        picture = finish()
        assert (picture.width, picture.height) == (3000, 3000)
    else:
        with pytest.raises(UserError, match=r"takes 54 MB of memory and 50 MB are free"):
            finish()


def test_what_is_written_takes_memory_too(container, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(large("JPEG"))
    _, finish = Reading(Limits(), copies=1).prepare(source(path))
    with pytest.raises(UserError, match="make it smaller first"):
        finish()


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
        ("BMP", {}),
    ],
)
def test_the_estimate_holds_the_array(form, options):
    data = encode(scene(300, 200), form, **options)
    need = decoding_bytes(read_header(data), len(data))
    assert need >= images.decode_image(data).nbytes + len(data)


def group(folder: Path, version: str, limit: object, used: int, **stat: int) -> None:
    """The files of a control group."""
    _, limit_name, used_name = guards.GROUP_FILES[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat.items()))


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """Sets up a machine with control groups of a version; returns the folder of its root group."""

    def made(version: str, own: str) -> Path:
        root = tmp_path / "cgroup"
        files = {name: (str(tmp_path / "none"), *rest) for name, (_, *rest) in guards.GROUP_FILES.items()}
        monkeypatch.setattr(guards, "GROUP_FILES", files | {version: (str(root), *files[version][1:])})
        (tmp_path / "self").write_text(f"1:name=systemd:/elsewhere\n{own}\n")
        monkeypatch.setattr(guards, "CONTROL_GROUPS", str(tmp_path / "self"))
        return root

    return made


LIMIT, USED, ACTIVE, INACTIVE = 536870912, 200_000_000, 30_000_000, 50_000_000
LEFT = LIMIT - USED + ACTIVE + INACTIVE


@pytest.mark.parametrize(
    ("version", "own", "place"),
    [
        ("v2", "0::/", ""),  # a container, which sees its group as the root
        ("v2", "0::/system.slice/docker-1.scope", ""),  # one that shares the machine's names
        ("v2", "0::/user.slice/job.scope", "user.slice/job.scope"),  # systemd-run -p MemoryMax=512M
        ("v2", "0::/slurm/job/step", "slurm/job"),  # the limit is that of a group around it
        ("v1", "4:memory:/docker/1", ""),
        ("v1", "4:cpu,memory:/slurm/job/step", "slurm/job"),
    ],
)
def test_memory_of_a_control_group(groups, version, own, place):
    root = groups(version, own)
    stat = {"anon": USED - ACTIVE - INACTIVE, "inactive_file": INACTIVE, "active_file": ACTIVE}
    if version == "v1":  # where the plain rows are of the group alone
        stat |= {"total_inactive_file": INACTIVE, "total_active_file": ACTIVE, "inactive_file": 0, "active_file": 0}
    without = guards.available_memory()
    assert without > LEFT
    group(root, version, "max" if version == "v2" else 9223372036854771712, USED)
    group(root / place, version, LIMIT, USED, **stat)
    assert guards.available_memory() == LEFT
    group(root / "others", version, 1000, 1000)
    assert guards.available_memory() == LEFT


def test_memory_without_a_limit(groups, monkeypatch):
    root = groups("v2", "0::/a")
    group(root, "v2", "max", USED)
    group(root / "a", "v2", "max", USED)
    assert guards.available_memory() > 500_000_000  # of the machine
    monkeypatch.setattr(guards, "_text", lambda path: None)
    monkeypatch.setattr(guards, "_process_limit", lambda: [])
    assert guards.available_memory() is None


# Reduced decoding


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(4000, 3000), (3001, 2999)])
def test_a_reduced_jpeg_is_upright_and_knows_its_size(orientation, size, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(scene(*size), "JPEG", exif=exif.tobytes(), subsampling=0))
    whole = Reading(Limits()).prepare(source(path))[1]()
    reduced = Reading(Limits(), lambda: 700).prepare(source(path))[1]()
    assert (reduced.width, reduced.height) == (whole.width, whole.height)
    height, width = reduced.image.shape[:2]
    assert max(width, height) in (1000, 751)
    oracle = Image.fromarray(whole.image).resize((width, height), Image.Resampling.BOX)
    assert np.abs(np.asarray(oracle).astype(int) - reduced.image).mean() < 2


def test_only_what_stays_large_enough_is_reduced():
    header = read_header(encode(Image.new("L", (4000, 1000)), "JPEG"))
    assert [images.reduction(header, side) for side in (4001, 2001, 2000, 1001, 1000, 500, 1)] == [1, 1, 2, 2, 4, 8, 8]
    assert images.reduction(read_header(encode(Image.new("L", (4000, 10)), "PNG")), 10) == 1


def test_a_pipe_is_read(tmp_path):
    import os
    import threading

    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(encode(scene(), "PNG"))).start()
    _, finish = Reading(Limits()).prepare(source(tmp_path / "pipe"))
    assert finish().image.shape == (40, 60, 3)


def test_standard_input(monkeypatch):
    data = encode(scene(), "PNG")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    stdin = Source("-", image_name(PurePath("stdin")), "stdin")
    assert Reading(Limits()).prepare(stdin)[1]().image.shape == (40, 60, 3)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(UserError, match="-: more than the limit of 50 bytes"):
        Reading(Limits(bytes=50)).prepare(stdin)
