"""Tiling: small faces in large pictures, found by looking at overlapping parts of the picture as well as at the whole.

Tiles alone would miss the faces that are larger than they are, and cut others in two. So the picture is looked at in
levels: tiles of one size, of twice that size, and so on, and the whole picture. Neighbours overlap by a quarter of
their side. A face of up to that size is whole in one of them; a larger one is whole on a higher level. What all of
them find is merged once, at the end: `merge`. (Slicing with overlap and a full view: Akyon et al., "Slicing aided hyper
inference", 2022; it has one level of tiles.)
"""

import numpy as np

from detect_faces.nms import non_max_suppression

OVERLAP = 0.25  # of a tile's side
MIN_TILE = 16  # pixels; a smaller one has no room for a face
AUTO_TILE = 2  # sides of the network's input: it then sees the tiles at half their size
AUTO_FROM = 3  # sides of the network's input, of a picture's longer side: below that, tiles of AUTO_TILE gain little
CUT_MARGIN = 0.01  # of a tile's longer side: boxes that come so near to its edge are cut by it; 3 of 320 pixels
MAX_BOXES = 4000  # of a picture in tiles; a network's own limit is meant for one look
CUT_COVERED = 0.5  # a cut box of which that much is covered by a better one is a part of the same face


def tile_side(tile: int | str | None, width: int, height: int, input_side: int | None) -> int | None:
    """The side of the smallest tiles in pixels, None where a picture is looked at as a whole only.

    >>> tile_side("auto", 4000, 3000, 320), tile_side("auto", 800, 600, 320), tile_side(512, 4000, 3000, 320)
    (640, None, 512)

    Args:
        tile: a side in pixels, "auto" or None.
        width, height: of the picture.
        input_side: the longer side of the network's input; None where it looks at every size anyway, as a cascade does.
    """
    if tile == "auto":
        if input_side is None or max(width, height) < AUTO_FROM * input_side:
            return None
        return AUTO_TILE * input_side
    return tile if tile is not None and max(width, height) > tile else None


def tiles(width: int, height: int, side: int) -> np.ndarray:
    """The parts of a picture to look at: all levels, the whole picture last.

    >>> tiles(1000, 600, 600).tolist()
    [[0, 0, 600, 600], [400, 0, 1000, 600], [0, 0, 1000, 600]]

    Args:
        width, height: of the picture.
        side: of the smallest tiles.

    Returns:
        (T, 4) int, (x_min, y_min, x_max, y_max), without those that are the whole picture but the last.
    """
    parts = []
    while side < max(width, height):
        parts += [
            (x, y, min(x + side, width), min(y + side, height))
            for y in _starts(height, side)
            for x in _starts(width, side)
        ]
        side *= 2
    return np.array([*parts, (0, 0, width, height)], int)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin along one axis: evenly, from edge to edge, with at least OVERLAP between neighbours."""
    if length <= side:
        return [0]
    gaps = int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return np.rint(np.linspace(0, length - side, gaps + 1)).astype(int).tolist()


def cut_boxes(xyxy: np.ndarray, part: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which boxes reach an edge of their tile behind which the picture goes on: (N,) bool.

    Args:
        xyxy: (N, 4) in pixels of the picture.
        part: (4,) the tile in the picture.
        width, height: of the picture.
    """
    inner = part != np.array([0, 0, width, height])
    margin = CUT_MARGIN * max(part[2:] - part[:2])
    near = np.hstack([xyxy[:, :2] <= part[:2] + margin, xyxy[:, 2:] >= part[2:] - margin])
    return (inner & near).any(axis=1)


def merge(xyxy: np.ndarray, scores: np.ndarray, cut: np.ndarray, iou_threshold: float, max_boxes: int) -> np.ndarray:
    """Non-maximum suppression of what all tiles found.

    Whole boxes are suppressed by each other as ever. Boxes that a tile's edge cuts come after them, whatever their
    score: of one and the same face they overlap too little with the whole box for that. They stay only where less than
    CUT_COVERED of their area lies in a box that is kept.

    Args:
        xyxy: (N, 4) in pixels of the picture.
        scores: (N,).
        cut: (N,) bool, whether a tile's edge cuts it.
        iou_threshold, max_boxes: as of non_max_suppression.

    Returns:
        (K,) positions of the kept boxes.
    """
    whole, parts = np.flatnonzero(~cut), np.flatnonzero(cut)
    kept = whole[non_max_suppression(xyxy[whole], scores[whole], iou_threshold, max_boxes)].tolist()
    parts = parts[non_max_suppression(xyxy[parts], scores[parts], iou_threshold, max_boxes)]
    for box in parts:
        if not kept or _covered(xyxy[box], xyxy[kept]).max() < CUT_COVERED:
            kept.append(box)
    kept = np.array(kept, np.intp)
    return kept[np.argsort(-scores[kept], kind="stable")][:max_boxes]


def _covered(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which part of the area of `box` (4,) lies in each of the others (N, 4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return np.maximum(high - low, 0).prod(axis=1) / (box[2:] - box[:2]).prod()
