"""Findings: what deserves a look in one annotated image, by its boxes, its name and its header. Pixels are not needed.

A finding of severity "error" spoils training or its figures, a "warning" is most likely a mistake in the data, a "note"
is worth knowing and nothing more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from detect_faces.image_header import image_kind
from tools.annotations import AnnotatedImage

SEVERITIES = ("error", "warning", "note")
KINDS = {  # kind: (severity, what the image or box is), in the order of a listing
    "leak": ("error", "image of this set that is in the other set too"),
    "problem": ("error", "bad image, box or line, left out when read"),
    "undecodable": ("error", "image that cannot be decoded"),
    "unknown-class": ("error", "class that the label map does not have"),
    "near-leak": ("warning", "image much like one of the other set: a crop, the same scene, or the same studio"),
    "duplicate-image": ("warning", "image that is there twice"),
    "duplicate-box": ("warning", "box that is there twice"),
    "zero-size": ("warning", "box without area"),
    "outside": ("warning", "box outside its image"),
    "covers-image": ("warning", "box as large as its image"),
    "elongated": ("warning", "box that is no face by its shape"),
    "tiny": ("warning", "box too small to learn from"),
    "misnamed": ("warning", "image file whose name ends in another format"),
    "beyond-edge": ("note", "box that reaches beyond its image; records hold it cut off"),
    "similar-image": ("note", "image much like another: a crop, the same scene, or the same studio"),
    "crowd": ("note", "image with very many boxes"),
    "rotated": ("note", "image that EXIF turns; boxes are taken for the upright one"),
    "unused-class": ("note", "class of the label map without a box"),
    "left-out": ("note", "left out when read, without being bad"),
}

SAME_BOX_IOU = 0.9  # two boxes of a class that overlap more are one face
COVERS_SHARE = 0.95  # of the image's area
LONGEST_SIDE = 4.0  # times the shorter one: far more than a face in profile or under a hat
CROWD = 100  # boxes
MIN_SIZE = 4.0  # pixels

_ROUNDING = 0.01  # pixels: records hold fractions of the image in float32
_PAIRS_AT_ONCE = 1 << 20
_KIND_OF_SUFFIX = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WebP", ".bmp": "BMP"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        kind: of KINDS.
        image: its name; empty where a finding is about the whole set.
        text: what is wrong, with its numbers.
        box: position in the image's boxes, from 0; None where the finding is about the image.
        number: the figure to sort or filter by, in the unit that `text` names.
    """

    kind: str
    image: str
    text: str
    box: int | None = None
    number: float | None = None

    @property
    def severity(self) -> str:
        """Of SEVERITIES."""
        return KINDS[self.kind][0]

    @property
    def place(self) -> str:
        """The image, and the box counted from 1."""
        return self.image if self.box is None else f"{self.image}, box {self.box + 1}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.image else self.text


def in_boxes(image: AnnotatedImage, min_size: float = MIN_SIZE, input_size: int | None = None) -> list[Finding]:
    """All that the annotations alone show, box by box.

    Args:
        image: only its size, boxes, classes and flags are used.
        min_size, input_size: as in `tiny`.
    """
    found = [
        *duplicate_boxes(image),
        *without_area(image),
        *over_the_edge(image),
        *covering(image),
        *elongated(image),
        *tiny(image, min_size, input_size),
    ]
    found.sort(key=lambda finding: finding.box)
    if len(image) > CROWD:
        found.append(Finding("crowd", image.name, f"{len(image)} boxes", number=len(image)))
    return found


def in_file(image: AnnotatedImage, data: bytes, orientation: int) -> list[Finding]:
    """What the file says of itself: a name that ends in another format, and an EXIF orientation that is not 1.

    Args:
        image: an image from a record has been named before it was encoded anew: its name means nothing.
        data: the encoded image, or its beginning.
        orientation: the EXIF tag, 1 to 8.
    """
    found = []
    kind, named = image_kind(data), _KIND_OF_SUFFIX.get(PurePosixPath(image.name).suffix.lower())
    if isinstance(image.source, Path) and kind and named and kind != named:
        found.append(Finding("misnamed", image.name, f"is a {kind} file"))
    if orientation != 1:
        found.append(Finding("rotated", image.name, f"EXIF orientation {orientation}", number=orientation))
    return found


def in_classes(boxes: Mapping[str, int], first: Mapping[str, str], label_map: Iterable[str]) -> list[Finding]:
    """Classes that only the data set or only the label map has.

    Args:
        boxes: {class: number of boxes} of the data set.
        first: {class: an image that has it}.
        label_map: the names in the label map.
    """
    known = list(label_map)
    found = [
        Finding(
            "unknown-class",
            "",
            f"{name!r}: {number:,} boxes, the first in {first[name]}; take it with --class {name}={known[0]} or put "
            "it into the label map",
            number=number,
        )
        for name, number in boxes.items()
        if name not in known
    ]
    return found + [Finding("unused-class", "", f"{name!r}", number=0) for name in known if not boxes.get(name)]


def duplicate_boxes(image: AnnotatedImage, iou: float = SAME_BOX_IOU) -> list[Finding]:
    """Boxes that overlap an earlier one of their class by more than `iou`, or are equal to it."""
    earlier, overlaps = _earlier_overlaps(image, iou)
    return [
        Finding("duplicate-box", image.name, f"the same as box {other + 1} (IoU {overlap:.3f})", box, overlap)
        for box, (other, overlap) in enumerate(zip(earlier.tolist(), overlaps.tolist(), strict=True))
        if other >= 0
    ]


def without_area(image: AnnotatedImage) -> list[Finding]:
    """Boxes of zero width or height."""
    return [
        Finding("zero-size", image.name, f"{width:g} x {height:g} px {_at(image, box)}", box, 0)
        for box, (width, height) in enumerate(_sides(image).tolist())
        if width <= 0 or height <= 0
    ]


def over_the_edge(image: AnnotatedImage) -> list[Finding]:
    """Boxes that reach beyond the image, by how many pixels, and boxes that lie outside it altogether."""
    low, high = image.xyxy[:, :2], image.xyxy[:, 2:]
    size = np.array([image.width, image.height], np.float64)
    beyond = np.maximum(-low, high - size).max(axis=1, initial=-np.inf)
    outside = ((low >= size) | (high <= 0)).any(axis=1)
    found = []
    for box in np.flatnonzero((beyond > _ROUNDING) | outside).tolist():
        sides = ", ".join(f"{value:g}" for value in np.round(image.xyxy[box], 2))
        where = f"of the {image.width} x {image.height} px"
        if outside[box]:
            found.append(Finding("outside", image.name, f"nothing of ({sides}) is inside {where}", box, beyond[box]))
        else:
            text = f"({sides}) reaches {beyond[box]:.4g} px out {where}"
            found.append(Finding("beyond-edge", image.name, text, box, beyond[box]))
    return found


def covering(image: AnnotatedImage, share: float = COVERS_SHARE) -> list[Finding]:
    """Boxes that cover more than `share` of the image."""
    size = np.array([image.width, image.height], np.float64)
    inside = np.clip(image.xyxy[:, 2:], 0, size) - np.clip(image.xyxy[:, :2], 0, size)
    shares = inside.prod(axis=1) / size.prod()
    return [
        Finding("covers-image", image.name, f"covers {shares[box]:.1%} of the image", box, shares[box])
        for box in np.flatnonzero(shares > share).tolist()
    ]


def elongated(image: AnnotatedImage, times: float = LONGEST_SIDE) -> list[Finding]:
    """Boxes with one side more than `times` the other; groups and boxes to ignore may be of any shape."""
    sides = _sides(image)
    long, short = sides.max(axis=1, initial=0), sides.min(axis=1, initial=np.inf)
    found = []
    for box in np.flatnonzero((short > 0) & (long > times * short) & _to_be_learnt(image)).tolist():
        width, height = sides[box].tolist()
        times_other = f"one side is {long[box] / short[box]:.1f} times the other"
        text = f"{width:.4g} x {height:.4g} px {_at(image, box)}: {times_other}"
        found.append(Finding("elongated", image.name, text, box, long[box] / short[box]))
    return found


def tiny(image: AnnotatedImage, min_size: float = MIN_SIZE, input_size: int | None = None) -> list[Finding]:
    """Boxes with a side below `min_size` pixels, but above 0; groups and boxes to ignore are left out.

    Args:
        image: the image.
        min_size: pixels of the image, or with `input_size` of the network's input.
        input_size: pixels of the network's input, to which the image's longer side is scaled; None to measure in the
            image itself.
    """
    sides, where = _sides(image), ""
    if input_size:
        sides, where = sides * (input_size / max(image.width, image.height)), " of the input"
    shorter = sides.min(axis=1, initial=np.inf)
    found = []
    for box in np.flatnonzero((shorter > 0) & (shorter < min_size) & _to_be_learnt(image)).tolist():
        width, height = sides[box].tolist()
        text = f"{width:.3g} x {height:.3g} px{where} {_at(image, box)}"
        found.append(Finding("tiny", image.name, text, box, shorter[box]))
    return found


def _sides(image: AnnotatedImage) -> np.ndarray:
    """(N, 2) width and height in pixels."""
    return image.xyxy[:, 2:] - image.xyxy[:, :2]


def _at(image: AnnotatedImage, box: int) -> str:
    """Where to look for a small box."""
    x, y = image.xyxy[box, :2].tolist()
    return f"at ({x:.5g}, {y:.5g})"


def _to_be_learnt(image: AnnotatedImage) -> np.ndarray:
    """(N,) bool."""
    return ~image.ignore & (image.flags.get("group_of", np.zeros(len(image), np.int64)) != 1)


def _earlier_overlaps(image: AnnotatedImage, least: float) -> tuple[np.ndarray, np.ndarray]:
    """For each box the earlier one of its class that it overlaps most, or -1, and their IoU: (N,) int, (N,) float."""
    names = {name: float(i) for i, name in enumerate(dict.fromkeys(image.classes))}
    classes = np.array([names[name] for name in image.classes])
    _, first, group = np.unique(np.column_stack([image.xyxy, classes]), axis=0, return_index=True, return_inverse=True)
    # A box that is equal to an earlier one, also without area, needs no comparing.
    first_equal = first[group.ravel()]
    equal = first_equal != np.arange(len(image))
    earlier, overlaps = np.where(equal, first_equal, -1), equal.astype(float)
    different = np.sort(first)
    xmin, ymin, xmax, ymax = image.xyxy[different].T
    areas, classes = (xmax - xmin) * (ymax - ymin), classes[different]
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(different)))
    for start in range(0, len(different), rows):
        these = slice(start, min(start + rows, len(different)))
        those = slice(0, these.stop)
        row = (these, None)
        width = np.minimum(xmax[row], xmax[those]) - np.maximum(xmin[row], xmin[those])  # (rows, M)
        height = np.minimum(ymax[row], ymax[those]) - np.maximum(ymin[row], ymin[those])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = areas[row] + areas[those] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        comes_before = np.arange(those.stop) < np.arange(these.start, these.stop)[:, None]
        iou[~comes_before | (classes[row] != classes[those])] = 0
        best = iou.argmax(axis=1)
        highest = iou[np.arange(len(iou)), best]
        found = highest > least
        earlier[different[these][found]] = different[best[found]]
        overlaps[different[these][found]] = highest[found]
    return earlier, overlaps
