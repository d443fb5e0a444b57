"""Crops around faces: they bring faces of all sizes to the sizes that the anchors see.

The OD API's own crops keep faces that merely touch the crop, and choose a part of the image, not a size of face. Here a
face is drawn, and the size that it is to have at the model's input, log-uniformly; the crop has the shape of the input
and holds the face whole, anywhere in it. The other images are taken whole, a little smaller or larger.

Where a crop lies is decided here; `detect_faces.resizing` cuts it out.
"""

import math
from dataclasses import dataclass

import numpy as np

GREY = 127  # of what lies beyond the image; the OD API pads with mid grey, too
DRAWS = 5  # uniform numbers that decide a crop

WHOLE = (0.8, 1.15)  # of the longer side: crops that show all or most of an image
LARGEST = 1.25  # a crop is not larger than so many times the longer side
AROUND = 1.05  # a crop is not smaller than so many times its face
TINY = 1.0  # pixels at the input; a face with less of it in the crop is left out


@dataclass(frozen=True)
class Crop:
    """A part of an image, and the faces in it.

    Attributes:
        offset: (y, x) in pixels of the image where it begins, int32; below 0 it begins beyond the image.
        extent: (height, width) in pixels of the image, int32.
        kept: which of the faces are in it, (K,) int32.
        boxes: their coordinates in it, (K, 4) float32 yxyx in 0..1, cut to it.
        weights: (K,) float32; 0 also where the middle of a face lies outside.
    """

    offset: np.ndarray
    extent: np.ndarray
    kept: np.ndarray
    boxes: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class FaceCrop:
    """How crops are drawn.

    Attributes:
        share: of the images that have a face, the share that is cropped around one.
        min_size, max_size: pixels at the model's input, square root of the area; faces get sizes between them.
        max_zoom: how many times an image is enlarged at most.
        smallest: pixels of the image; a crop is drawn around faces of this size and above.
    """

    share: float
    min_size: float
    max_size: float
    max_zoom: float
    smallest: float = 8.0

    def place(
        self,
        image_size: tuple[int, int],
        boxes: np.ndarray,
        weights: np.ndarray,
        input_size: tuple[int, int],
        draws: np.ndarray,
    ) -> Crop:
        """Where the crop of an image is, and the faces in it.

        Args:
            image_size: (height, width) of the image.
            boxes: (N, 4) float32 yxyx in 0..1.
            weights: (N,) float32; 0 for a face that does not count.
            input_size: (height, width) of the model's input, which the crop is resized to.
            draws: (DRAWS,) numbers in 0..1 that decide all.
        """
        size, wanted = np.float32(image_size), np.float32(input_size)
        pixels = boxes * np.tile(size, 2)
        sides = pixels[:, 2:] - pixels[:, :2]  # (N, 2) height, width
        sizes = np.sqrt(np.maximum(sides.prod(1), 0))
        candidates = np.flatnonzero((weights > 0) & (sizes >= self.smallest))
        # Crops are measured in their scale: pixels of the image for a pixel of the input.
        whole = (size / wanted).max()
        if len(candidates) and draws[0] < self.share:
            face = candidates[min(int(draws[1] * len(candidates)), len(candidates) - 1)]
            low, high = math.log(self.min_size), math.log(self.max_size)
            scale = sizes[face] / math.exp(low + draws[2] * (high - low))
            scale = np.clip(scale, 1 / self.max_zoom, LARGEST * whole)
            scale = max(scale, AROUND * (sides[face] / wanted).max())
            first, last = pixels[face, :2], pixels[face, 2:]
        else:
            scale = whole * (WHOLE[0] + draws[2] * (WHOLE[1] - WHOLE[0]))
            first, last = np.zeros(2, np.float32), size
        extent = np.maximum(np.round(scale * wanted), 1)  # (height, width) of the crop in pixels of the image
        # Anywhere that keeps `first`..`last` inside (or, where they are larger, the crop inside of them).
        ends = np.stack([last - extent, first])
        offset = ends.min(0) + draws[3:5] * np.abs(ends[1] - ends[0])
        room = np.stack([np.zeros(2), size - extent])  # no more grey than has to be
        offset = np.round(np.clip(offset, room.min(0), room.max(0)))

        placed = (pixels - np.tile(offset, 2)) / np.tile(extent, 2)
        middles = (placed[:, :2] + placed[:, 2:]) / 2
        inside = ((middles > 0) & (middles < 1)).all(1)
        cut = np.clip(placed, 0, 1)
        kept = np.flatnonzero(((cut[:, 2:] - cut[:, :2]) * wanted).min(1) > TINY)
        return Crop(
            offset.astype(np.int32),
            extent.astype(np.int32),
            kept.astype(np.int32),
            cut[kept].astype(np.float32),
            np.where(inside, weights, 0)[kept].astype(np.float32),
        )
