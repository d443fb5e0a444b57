"""Near-duplicates: an exact search, and what is taken for the same picture."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tests.tools.conftest import SHARED
from tools.images import ImageError
from tools.near_duplicates import FINGERPRINT, MUCH_ALIKE, SAME_FILE, SAME_PICTURE, find_twins, fingerprint, near_pairs

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "images"


def scene(seed, width=240, height=160):
    """A picture with a texture of its own, coarse and fine."""
    chance = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(chance.integers(0, 256, (n, n, 3), np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            float,
        )
        for n in (5, 12, 24)
    ]
    return Image.fromarray((0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).astype(np.uint8))


def encoded(picture, form="JPEG", **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def twins(first, second=()):
    """Across and within, as (image, other, likeness)."""
    prints = np.array([fingerprint(data) for data in (*first, *second)], FINGERPRINT)
    found = find_twins(prints, np.arange(len(prints)) < len(first))
    return tuple([(each.image, each.other, each.likeness) for each in part] for part in found)


def brute_force(hashes, distance):
    bits = {(i, j): (hashes[i] ^ hashes[j]).bit_count() for i, j in combinations(range(len(hashes)), 2)}
    return sorted((i, j, n) for (i, j), n in bits.items() if n <= distance)


@st.composite
def clustered_hashes(draw):
    """Hashes of which many lie near each other, equal ones too."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=10)
    return [
        centre ^ sum(1 << bit for bit in set(bits))
        for centre, bits in draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=24))
    ]


@given(hashes=clustered_hashes(), distance=st.integers(0, 12), agreeing=st.sampled_from([None, 0, 1, 2, 3]))
def test_pairs_are_those_of_brute_force(hashes, distance, agreeing):
    blocks = list(near_pairs(np.array(hashes, np.uint64), distance, agreeing))
    found = [pair for block in blocks for pair in zip(*(column.tolist() for column in block), strict=True)]
    assert sorted(found) == brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [0, 1, 30, 63, 64])
def test_pairs_at_any_distance(distance):
    hashes = np.random.default_rng(0).integers(0, 2**64, 40, np.uint64)
    hashes[1] = hashes[0]
    hashes[2] = ~hashes[0]
    found = [
        pair for block in near_pairs(hashes, distance) for pair in zip(*map(np.ndarray.tolist, block), strict=True)
    ]
    assert sorted(found) == brute_force(hashes.tolist(), distance)


def test_pairs_of_a_hundred_thousand_hashes():
    """Planted pairs at known distances are found, each once, among hashes that are compared in large groups."""
    chance = np.random.default_rng(1)
    hashes = chance.integers(0, 2**64, 100_000, np.uint64)
    planted = {}
    for number in range(200):
        bits = chance.choice(64, number % 9, replace=False)
        hashes[50_000 + number] = hashes[number] ^ np.bitwise_or.reduce(
            np.uint64(1) << bits.astype(np.uint64), initial=0
        )
        planted[number, 50_000 + number] = number % 9
    found = {}
    for a, b, bits in near_pairs(hashes, 4):
        for pair, n in zip(zip(a.tolist(), b.tolist(), strict=True), bits.tolist(), strict=True):
            assert pair not in found
            found[pair] = n
    assert found == {pair: n for pair, n in planted.items() if n <= 4}


DISGUISES = {
    "half the size": lambda picture: encoded(picture.resize((120, 80)), quality=60),
    "larger": lambda picture: encoded(picture.resize((700, 466)), quality=80),
    "PNG": lambda picture: encoded(picture, "PNG"),
    "WebP": lambda picture: encoded(picture, "WEBP", quality=60),
    "grey": lambda picture: encoded(picture.convert("L")),
    "CMYK": lambda picture: encoded(picture.convert("CMYK")),
    "palette": lambda picture: encoded(picture.quantize(256), "PNG"),
    "darker": lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(0.8)),
    "EXIF": lambda picture: encoded(picture.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "EXIF in PNG": lambda picture: encoded(picture.transpose(Image.Transpose.ROTATE_180), "PNG", exif=exif(3)),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_same_picture_in_disguise(disguise):
    others = [encoded(scene(seed)) for seed in range(1, 9)]
    for seed in (20, 21, 22):
        data = encoded(scene(seed), quality=90)
        assert twins([data, *others], [DISGUISES[disguise](scene(seed))]) == ([(0, 9, SAME_PICTURE)], [])


def test_a_photograph_without_its_edge_is_found():
    """2 % off each side, of the photographs in the sample set: nearly all are at least alike, and no two of them."""
    photographs = [Image.open(path).convert("RGB") for path in sorted(SAMPLE.glob("faceapi-sample*.jpg"))]
    cropped = [
        picture.crop((picture.width // 50, picture.height // 50, picture.width * 49 // 50, picture.height * 49 // 50))
        for picture in photographs
    ]
    across, within = twins(list(map(encoded, photographs)), list(map(encoded, cropped)))
    pairs = {(a, b - len(photographs)) for a, b, _ in across}
    assert all(a == b for a, b in pairs) and len(pairs) >= len(photographs) - 1 > 3
    assert within == []


def test_the_same_studio_is_no_same_picture():
    """Same background, other people: what differs is the detail of a part."""
    one, two = scene(4), scene(4)
    one.paste(scene(5, 60, 60), (90, 50))
    two.paste(scene(6, 60, 60), (90, 50))
    across, _ = twins([encoded(one)], [encoded(two)])
    assert [likeness for *_, likeness in across] in ([], [MUCH_ALIKE])


def test_sets_are_compared_with_each_other_and_the_first_with_itself():
    a, b, c = (encoded(scene(seed), "PNG") for seed in (1, 2, 3))
    a_again = encoded(scene(1), quality=70)
    assert twins([]) == ([], [])
    assert twins([a, b]) == ([], [])
    assert twins([a, b], [c]) == ([], [])
    assert twins([], [a, a]) == ([], [])  # duplicates of the other set are its own matter
    assert twins([a, b, a]) == ([], [(2, 0, SAME_FILE)])
    assert twins([a, a, a]) == ([], [(1, 0, SAME_FILE), (2, 0, SAME_FILE)])
    assert twins([a, b, a_again]) == ([], [(2, 0, SAME_PICTURE)])
    assert twins([b, a], [c, a]) == ([(1, 3, SAME_FILE)], [])
    assert twins([b, a], [c, a_again, a]) == ([(1, 4, SAME_FILE)], [])  # of two the more alike
    # Every image of the first set that is in the second one, its copies too.
    assert twins([a, a, b], [a_again]) == ([(0, 3, SAME_PICTURE), (1, 3, SAME_PICTURE)], [(1, 0, SAME_FILE)])


def test_flat_pictures_are_only_the_same_as_files():
    flat = [encoded(Image.new("RGB", (90, 90), (grey, grey, grey)), "PNG") for grey in (10, 10, 200, 201, 90)]
    assert twins(flat[:1], flat[2:]) == ([], [])
    assert twins(flat) == ([], [(1, 0, SAME_FILE)])


def test_many_copies_of_one_file():
    """Such as the picture that says that a picture is gone: no pair of all with all."""
    prints = np.array([fingerprint(encoded(scene(1)))] * 50_000, FINGERPRINT)
    prints[0] = fingerprint(encoded(scene(1), quality=50))
    across, within = find_twins(prints, np.arange(50_000) < 49_999)
    assert len(across) == 49_999 and {each.other for each in across} == {49_999}
    assert across[0].likeness == SAME_PICTURE and across[1].likeness == SAME_FILE
    assert [each.other for each in within[:3]] == [0, 1, 1] and len(within) == 49_998


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_damaged_images(form):
    data = encoded(scene(1), form)
    for bad in (b"", b"no picture", data[: len(data) // 2]):
        with pytest.raises(ImageError):
            fingerprint(bad)


def test_any_shape():
    for size in ((1, 1), (1, 3000), (3000, 1), (33, 7)):
        assert fingerprint(encoded(Image.new("RGB", size), "PNG")).dtype == FINGERPRINT
    sixteen_bits = Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16))
    assert fingerprint(encoded(sixteen_bits, "PNG"))["grey"].std() > 20


def test_real_photographs():
    """The duplicates that are known of a set, among others of it."""
    folder = SHARED / "mask853" / "images"
    if not folder.is_dir():
        pytest.skip("mask853 is not beside this checkout")
    known = [
        (146, 219), (410, 428), (287, 478), (156, 545), (435, 554), (451, 61), (514, 680), (656, 690), (327, 699),
        (665, 704), (13, 737), (354, 74), (653, 775), (662, 839),
    ]  # fmt: skip
    numbers = sorted({number for pair in known for number in pair} | set(range(200, 320)))
    _, within = twins([(folder / f"maksssksksss{number}.jpg").read_bytes() for number in numbers])
    same = {tuple(sorted((numbers[a], numbers[b]))) for a, b, likeness in within if likeness != MUCH_ALIKE}
    assert same == {tuple(sorted(pair)) for pair in known}
