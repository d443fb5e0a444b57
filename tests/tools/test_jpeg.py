"""Wholeness of JPEGs by their segments, judged by what decoders make of damaged ones."""

import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tools import jpeg


def textured(**options):
    """A picture with noise in it, so that its entropy-coded data hold bytes 0xFF."""
    pixels = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(options.pop("mode", "RGB")).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def whole(data):
    header = jpeg.plain_header(data)
    return bool(header) and jpeg.is_whole(data, header)


@pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"restart_marker_rows": 1}, {"comment": b"\xff\xd9"}])
def test_plain_jpegs(options):
    data = textured(**options)
    header = jpeg.plain_header(data)
    assert (header.width, header.height) == (128, 96)
    assert jpeg.plain_header(data[: header.pixels]) == header
    assert jpeg.is_whole(data, header)
    assert jpeg.is_whole(data + b"a preview behind the end", header)


@pytest.mark.parametrize("options", [{"progressive": True}, {"mode": "CMYK"}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_others_are_left_to_a_decoder(options):
    assert jpeg.plain_header(textured(**options)) is None


@settings(max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_cut_anywhere_is_not_whole(share):
    data = textured(restart_marker_rows=2)
    assert not whole(data[: int(len(data) * share)])


@given(st.binary(max_size=200))
def test_any_bytes(data):
    assert not whole(data)
    jpeg.plain_header(b"\xff\xd8\xff" + data)


def test_what_tensorflow_refuses_is_never_whole():
    """Damage of every kind. The other way round is allowed: what is not whole here is decoded to find out."""
    tf = pytest.importorskip("tensorflow")
    rng, good = random.Random(3), textured()
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.choice([1, 30])):
            data[rng.randrange(rng.choice([700, len(data)]))] = rng.choice([0x00, 0xFF, 0xC4, 0xD9, rng.randrange(256)])
        if rng.random() < 0.2:
            at = rng.randrange(len(data))
            del data[at : at + rng.randrange(3000)]
        try:
            tf.io.decode_image(bytes(data), channels=3)
        except tf.errors.InvalidArgumentError:
            refused += 1
            assert not whole(bytes(data))
    assert refused > 50
