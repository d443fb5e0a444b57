"""Images that show the same picture: a fingerprint of each, and an exact search for those that lie near each other.

A fingerprint holds a digest of the file, a 64-bit perceptual hash (pHash: the signs of the 8 x 8 lowest frequencies,
https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html) and a grey thumbnail of 32 x 32 pixels.
Images are alike where at most DISTANCE bits of their hashes differ and their thumbnails, at half the size, correlate by
ALIKE or more. They are the same picture where what the thumbnails have beyond those lowest frequencies correlates by
SAME or more.

How the limits were chosen. Each of 200 photographs is found to be the same picture when it is saved again at half the
size, as a thumbnail, 30 % brighter, with less contrast or in grey; of those turned by 1 degree, 73 %. Without 2 % at
each side 96 % are alike and none is the same; without 5 % one in four is alike. Among 4,806 other photographs 14 pairs
were the same picture, rightly so. 16 more images were alike: crops, shots of one scene, one page layout with another
text. Portraits of different people in one studio are alike too (SAME has to be above 0.91 for them): it is only a hint.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import imagehash
import numpy as np
import scipy.fft
from PIL import Image

from tools.contact_sheet import thumbnail

_GREY = 32  # pixels
FINGERPRINT = np.dtype([("digest", "<u8"), ("phash", "<u8"), ("flat", "?"), ("grey", "u1", (_GREY, _GREY))])
DISTANCE = 8  # bits of 64
ALIKE, SAME = 0.8, 0.93  # correlations
FLAT = 3.0  # grey levels of standard deviation; below this a hash is made of noise

SAME_FILE, SAME_PICTURE, MUCH_ALIKE = "same file", "same picture", "alike"

_BITS = 64
_PICTURE_SIDE = 96  # pixels that the hash is made from
_LOW = 8  # frequencies of the hash
_PAIRS_AT_ONCE = 1 << 17  # as many as stay in a processor's cache
# For choosing the number of bands only: seconds for a comparison, for sorting a hash, and for a group of hashes.
_COMPARE, _SORT, _GROUP = 1.5e-9, 1e-7, 2e-5

_BASIS = scipy.fft.dct(np.eye(_GREY, dtype=np.float32), axis=0, norm="ortho")[:_LOW]  # (8, 32)
_TO_LOW = _BASIS.T @ _BASIS  # (32, 32): on both sides of a thumbnail it leaves the lowest frequencies


@dataclass(frozen=True)
class Twin:
    """An image of the first set and one like it.

    Attributes:
        image: its position.
        other: the position of the other.
        likeness: SAME_FILE (byte for byte), SAME_PICTURE or MUCH_ALIKE.
        distance: bits of the hash in which they differ.
    """

    image: int
    other: int
    likeness: str
    distance: int


def fingerprint(data: bytes) -> np.ndarray:
    """() FINGERPRINT of an encoded image. Raises ImageError."""
    picture = thumbnail(data, _PICTURE_SIDE, "L")
    grey = np.asarray(picture.resize((_GREY, _GREY), Image.Resampling.BOX))
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    phash = np.packbits(imagehash.phash(picture).hash).view("<u8")[0]
    return np.array((digest, phash, grey.std() < FLAT, grey), FINGERPRINT)


def find_twins(prints: np.ndarray, of_first: np.ndarray, distance: int = DISTANCE) -> tuple[list[Twin], list[Twin]]:
    """The images of a first set that are in a second one, and those that are in the first set more than once.

    Args:
        prints: (N,) FINGERPRINT; may be a memory map.
        of_first: (N,) bool, whether the image belongs to the first set.
        distance: bits in which the hashes of images that are alike may differ.

    Returns:
        For each image of the first set with twins in the second one, the most alike; and for each with twins that come
        before it in the first set, the most alike. In the order of the images.
    """
    across, within = _Best(len(prints)), _Best(len(prints))

    def add(image: np.ndarray, other: np.ndarray, rank: np.ndarray) -> None:
        inside = of_first[other]
        across.add(image[~inside], other[~inside], rank[~inside])
        within.add(image[inside], other[inside], rank[inside])

    digests = np.array(prints["digest"])
    for image, other in _same_files(digests, of_first):
        add(image, other, np.zeros(len(image), np.int64))
    # Files that are the same, such as the picture that says that a picture is gone, can be many: one of each set
    # stands for them in the search.
    _, file = np.unique(np.stack([digests, of_first]), axis=1, return_inverse=True)
    _, first = np.unique(file.ravel(), return_index=True)
    stand_in = first[file.ravel()]
    candidates = np.sort(first[~prints["flat"][first]])
    for a, b, bits in near_pairs(prints["phash"][candidates], distance):
        a, b = candidates[a], candidates[b]
        image, other = np.where(of_first[b], b, a), np.where(of_first[b], a, b)  # a < b: where both are, b is later
        rank = _rank(bits, same=True)  # at best
        new = of_first[image] & (rank < np.where(of_first[other], within.rank(image), across.rank(image)))
        image, other, bits = image[new], other[new], bits[new]
        alike, same = likeness(prints["grey"][image], prints["grey"][other])
        rank = _rank(bits, same)[alike]
        add(image[alike], other[alike], rank)
    across.take_over(stand_in, of_first)
    return across.twins(), within.twins()


def near_pairs(hashes: np.ndarray, distance: int, agreeing: int | None = None) -> Iterator[tuple[np.ndarray, ...]]:
    """All pairs of 64-bit hashes that differ in at most `distance` bits, each once, exactly.

    The bits are cut into `distance` + `agreeing` bands. Two hashes that differ in no more than `distance` bits agree
    in at least `agreeing` bands (pigeonhole), so it is enough to compare hashes that agree in some choice of so many.

    Args:
        hashes: (N,) uint64.
        distance: 0 to 64.
        agreeing: 0 compares all with all; None takes what will be fastest.

    Yields:
        Blocks of pairs: positions a < b, (M,) each, and the bits in which they differ, (M,) uint8.
    """
    hashes = np.ascontiguousarray(hashes, np.uint64)
    if agreeing is None:
        agreeing = min(range(max(1, min(4, _BITS - distance))), key=lambda k: _seconds(len(hashes), distance, k))
    number = distance + agreeing
    edges = [round(i * _BITS / number) for i in range(number + 1)] if number else [0]
    bands = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    for chosen in combinations(range(number), agreeing):
        mask = np.uint64(sum(bands[i] for i in chosen))
        # A pair that agrees in more bands comes up for several choices: it is taken at the first.
        earlier = [np.uint64(bands[i]) for i in range(chosen[-1] if chosen else 0) if i not in chosen]
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys, sorted_hashes = keys[order], hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, int)
        ends = np.append(starts[1:], len(keys))
        several = ends - starts > 1
        for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
            for first, second in _compare(sorted_hashes[start:end], distance):
                a, b = start + first, start + second
                difference = sorted_hashes[a] ^ sorted_hashes[b]
                new = np.ones(len(difference), bool)
                for band in earlier:
                    new &= difference & band != 0
                if new.any():
                    a, b, difference = order[a[new]], order[b[new]], difference[new]
                    yield np.minimum(a, b), np.maximum(a, b), np.bitwise_count(difference)


def likeness(grey: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether (M, 32, 32) uint8 thumbnails are alike, and whether they are the same picture: (M,) bool each."""
    grey, other = grey.astype(np.float32), other.astype(np.float32)
    half = (len(grey), _GREY // 2, 2, _GREY // 2, 2)
    alike = _correlation(grey.reshape(half).mean(axis=(2, 4)), other.reshape(half).mean(axis=(2, 4))) >= ALIKE
    same = _correlation(grey - _TO_LOW @ grey @ _TO_LOW, other - _TO_LOW @ other @ _TO_LOW) >= SAME
    return alike, alike & same


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M,) of (M, H, W) with the same; 0 where one of the two is constant."""
    a, b = a - a.mean(axis=(1, 2), keepdims=True), b - b.mean(axis=(1, 2), keepdims=True)
    scale = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    return np.divide((a * b).sum(axis=(1, 2)), scale, out=np.zeros(len(a), np.float32), where=scale > 0)


def _compare(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs (i < j) of all these hashes within `distance`, in blocks."""
    rows = max(1, _PAIRS_AT_ONCE // len(hashes))
    for start in range(0, len(hashes) - 1, rows):
        near = np.bitwise_count(hashes[start : start + rows, None] ^ hashes[None, start + 1 :]) <= distance
        if near.any():
            i, j = np.nonzero(near)
            upper = j >= i
            yield start + i[upper], start + 1 + j[upper]


def _seconds(number: int, distance: int, agreeing: int) -> float:
    """About how long near_pairs takes for random hashes."""
    if not distance + agreeing:
        return math.inf
    groups = 2.0 ** (_BITS * agreeing / (distance + agreeing))
    once = number**2 / groups * _COMPARE + min(groups, number / 2) * _GROUP + number * _SORT
    return math.comb(distance + agreeing, agreeing) * once


def _same_files(digests: np.ndarray, of_first: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images of the first set, and for each the first image of either set that has its digest."""
    for members in (of_first, ~of_first):
        positions = np.flatnonzero(members)
        if len(positions):
            values, first = np.unique(digests[positions], return_index=True)
            at = np.minimum(np.searchsorted(values, digests), len(values) - 1)
            other = positions[first[at]]
            image = np.flatnonzero(of_first & (values[at] == digests) & (other != np.arange(len(digests))))
            yield image, other[image]


_ALIKE_RANK = 1 + _BITS + 1  # ranks: 0 the same file, from 1 the same picture by distance, from here on alike


def _rank(bits: np.ndarray, same: np.ndarray | bool) -> np.ndarray:
    return bits.astype(np.int64) + np.where(same, 1, _ALIKE_RANK)


class _Best:
    """For each image the one most like it so far: the least rank, and of those the first image."""

    _SHIFT = 40  # rank and position in one number
    _NONE = (_ALIKE_RANK + _BITS + 1) << _SHIFT

    def __init__(self, number: int):
        self._least = np.full(number, self._NONE, np.int64)

    def add(self, image: np.ndarray, other: np.ndarray, rank: np.ndarray) -> None:
        np.minimum.at(self._least, image, (rank << self._SHIFT) + other)

    def rank(self, image: np.ndarray) -> np.ndarray:
        return self._least[image] >> self._SHIFT

    def take_over(self, stand_in: np.ndarray, members: np.ndarray) -> None:
        """Gives each of `members` what was found for the image that stood in for it."""
        self._least[members] = np.minimum(self._least, self._least[stand_in])[members]

    def twins(self) -> list[Twin]:
        twins = []
        for image in np.flatnonzero(self._least < self._NONE).tolist():
            rank, other = divmod(int(self._least[image]), 1 << self._SHIFT)
            if rank == 0:
                twins.append(Twin(image, other, SAME_FILE, 0))
            elif rank < _ALIKE_RANK:
                twins.append(Twin(image, other, SAME_PICTURE, rank - 1))
            else:
                twins.append(Twin(image, other, MUCH_ALIKE, rank - _ALIKE_RANK))
        return twins
