"""The pictures of a comparison: where two detectors differ most, the largest missed faces, the surest false alarms.

They are JPEGs of bounded size, to be put into a page: photographs of 640 pixels, crops of 240.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from detect_faces import UserError
from detect_faces.images import decode_image
from evaluation.comparison import Judged
from evaluation.error_kinds import FALSE_ALARMS, MISSES, false_alarm_kinds, miss_kinds
from evaluation.matching import FALSE, TRUE
from tools.annotations import AnnotatedImage

SIDE, CROP_SIDE = 640, 240  # pixels
DIFFERENT, WORST = 4, 12  # pictures of a kind
CONTEXT = 3.0  # a crop is so many times as wide and high as its box
QUALITY = 80

# BGR. Told apart by those who see no red or green, and by their lines: thick, thin, dashed.
FOUND, MISSED, ALARM = (90, 200, 60), (255, 120, 230), (40, 60, 240)


@dataclass(frozen=True)
class Picture:
    """A JPEG with what it shows.

    Attributes:
        jpeg: the file.
        width, height: its pixels.
        name: of the image in the data set.
        caption: one line.
    """

    jpeg: bytes
    width: int
    height: int
    name: str
    caption: str


def most_different(images: Sequence[AnnotatedImage], ours: Judged, rival: Judged) -> Iterator[tuple[Picture, Picture]]:
    """Pairs of the images on which one makes most more mistakes than the other, first those where ours is better.

    Of each of the two kinds at most DIFFERENT; both detectors at their best F1.
    """
    counts = [judged.counts() for judged in (ours, rival)]
    ahead = counts[1][1:].sum(axis=0) - counts[0][1:].sum(axis=0)  # (I,) mistakes that ours does not make
    order = np.argsort(-ahead, kind="stable")
    chosen = [index for index in order[:DIFFERENT] if ahead[index] > 0]
    chosen += [index for index in order[::-1][:DIFFERENT] if ahead[index] < 0]
    for index in chosen:
        pixels = _pixels(images[index])
        if pixels is not None:
            yield tuple(
                _whole(images[index], pixels, judged, int(index), *count[:, index].tolist())
                for judged, count in zip((ours, rival), counts, strict=True)
            )


def worst_misses(images: Sequence[AnnotatedImage], judged: Judged) -> Iterator[Picture]:
    """The largest faces that it does not find at its best F1, one of an image."""
    matched = judged.matched
    kinds = miss_kinds(matched, judged.score)
    order = np.argsort(-np.where(kinds >= 0, matched.face_heights, -1), kind="stable")[: int((kinds >= 0).sum())]

    def caption(row: int) -> str:
        return f"{matched.face_heights[row]:.0f} px high, {MISSES[kinds[row]]}"

    yield from _crops(images, judged, order, matched.face_image, matched.face_xyxy, caption)


def worst_false_alarms(images: Sequence[AnnotatedImage], judged: Judged) -> Iterator[Picture]:
    """The false alarms with the highest scores, down to that of its best F1, one of an image."""
    matched = judged.matched
    kinds = false_alarm_kinds(matched, judged.score)
    rows = np.flatnonzero(kinds >= 0)
    order = rows[np.argsort(-matched.scores[rows], kind="stable")]

    def caption(row: int) -> str:
        return f"score {matched.scores[row]:.2f}, {FALSE_ALARMS[kinds[row]]}"

    yield from _crops(images, judged, order, matched.image, matched.xyxy, caption)


def _crops(
    images: Sequence[AnnotatedImage],
    judged: Judged,
    order: np.ndarray,
    owner: np.ndarray,
    xyxy: np.ndarray,
    caption: Callable[[int], str],
) -> Iterator[Picture]:
    """A crop around each box in this order, all others drawn as well, until there are WORST."""
    shown = set()
    for row in order:
        index = int(owner[row])
        if len(shown) == WORST:
            return
        if index in shown or (pixels := _pixels(images[index])) is None:
            continue
        shown.add(index)
        left, top, right, bottom = _around(xyxy[row], pixels.shape[1], pixels.shape[0])
        jpeg, width, height = _drawn(pixels[top:bottom, left:right], judged, index, (left, top), CROP_SIDE, CROP_SIDE)
        yield Picture(jpeg, width, height, images[index].name, caption(int(row)))


def _whole(
    image: AnnotatedImage, pixels: np.ndarray, judged: Judged, index: int, hits: int, missed: int, false: int
) -> Picture:
    jpeg, width, height = _drawn(pixels, judged, index, (0, 0), SIDE, 0)
    alarms = f"{false} false alarm{'' if false == 1 else 's'}"
    return Picture(jpeg, width, height, image.name, f"{judged.run.name}: {hits} of {hits + missed} faces, {alarms}")


def _drawn(
    pixels: np.ndarray, judged: Judged, index: int, corner: tuple[int, int], side: int, at_least: int
) -> tuple[bytes, int, int]:
    """The JPEG of a part of an image with its boxes, and its width and height.

    Args:
        corner: (left, top) of the part.
        side: pixels of the longer side at most.
        at_least: a smaller part is made larger, to so many.
    """
    longest = max(pixels.shape[:2])
    scale = side / longest if longest > side else max(1.0, at_least / longest)
    width, height = (max(1, round(each * scale)) for each in pixels.shape[1::-1])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(pixels, (width, height), interpolation=way)
    matched = judged.matched
    faces = (matched.face_image == index) & matched.counted & (matched.found_at < judged.score)
    found = (matched.image == index) & (matched.scores >= judged.score)
    for boxes, colour, dashed in (
        (matched.face_xyxy[faces], MISSED, True),
        (matched.xyxy[found & (matched.outcome == TRUE)], FOUND, False),
        (matched.xyxy[found & (matched.outcome == FALSE)], ALARM, False),
    ):
        for box in np.rint((boxes - [*corner, *corner]) * scale).astype(int).tolist():
            _box(picture, box, colour, dashed)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return encoded.tobytes(), width, height


def _box(picture: np.ndarray, box: list[int], colour: tuple[int, int, int], dashed: bool) -> None:
    """A rectangle with a dark rim, to be seen on any ground; thin where it is small."""
    x_min, y_min, x_max, y_max = box
    thickness = 1 if min(x_max - x_min, y_max - y_min) < 24 else 2
    corners = [(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        if not dashed:
            if thickness > 1:
                cv2.line(picture, start, end, (0, 0, 0), thickness + 2)
            cv2.line(picture, start, end, colour, thickness)
            continue
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        for part in range(0, length, 8):
            a, b = (
                tuple(round(s + (e - s) * min(at, length) / length) for s, e in zip(start, end, strict=True))
                for at in (part, part + 4)
            )
            cv2.line(picture, a, b, colour, thickness)


def _around(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part of an image around a box, inside of the image and never empty."""
    middle = (box[:2] + box[2:]) / 2
    half = max(CONTEXT * max(box[2] - box[0], box[3] - box[1]), 48) / 2
    left, top = (int(np.clip(low, 0, size - 1)) for low, size in zip(middle - half, (width, height), strict=True))
    right, bottom = (
        int(np.clip(np.ceil(high), start + 1, size))
        for high, start, size in zip(middle + half, (left, top), (width, height), strict=True)
    )
    return left, top, right, bottom


def _pixels(image: AnnotatedImage) -> np.ndarray | None:
    """The decoded image; None where it no longer can be read, since a report has other things to show."""
    try:
        return decode_image(image.encoded(), image.name)
    except (UserError, OSError):
        return None
