"""Crops around faces: they bring faces of all sizes to the sizes that the anchors see.

The OD API's own crops keep faces that merely touch the crop, and choose a part of the image, not a size of face. Here a
face is drawn, and the size that it is to have at the model's input, log-uniformly; the crop has the shape of the input
and holds the face whole, anywhere in it. The other images are taken whole, a little smaller or larger.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

GREY = 127  # of what lies beyond the image; the OD API pads with mid grey, too

WHOLE = (0.8, 1.15)  # of the longer side: crops that show all or most of an image
LARGEST = 1.25  # a crop is not larger than so many times the longer side
AROUND = 1.05  # a crop is not smaller than so many times its face
TINY = 1.0  # pixels at the input; a face with less of it in the crop is left out


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

    def __call__(
        self,
        image: tf.Tensor,
        boxes: tf.Tensor,
        weights: tf.Tensor,
        input_size: tuple[int, int],
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """A crop, and the faces in it.

        Args:
            image: (H, W, 3) uint8.
            boxes: (N, 4) float32 yxyx in 0..1.
            weights: (N,) float32; 0 for a face that does not count.
            input_size: (height, width) of the model's input.
            seed: (2,) integers that decide all.

        Returns:
            the crop (height, width, 3) float32 in 0..255, of the input's size; which of the N boxes are in it, (K,)
            int32; their coordinates in the crop (K, 4) yxyx, cut to it; their weights (K,): 0 also where the middle of
            a face lies outside.
        """
        draw = tf.unstack(tf.random.stateless_uniform([5], seed))
        size = tf.cast(tf.shape(image)[:2], tf.float32)  # (height, width)
        wanted = tf.constant(input_size, tf.float32)
        pixels = boxes * tf.tile(size, [2])
        sides = pixels[:, 2:] - pixels[:, :2]  # (N, 2) height, width
        sizes = tf.sqrt(tf.maximum(sides[:, 0] * sides[:, 1], 0.0))
        candidates = tf.where((weights > 0) & (sizes >= self.smallest))[:, 0]
        # Crops are measured in their scale: pixels of the image for a pixel of the input.
        whole = tf.reduce_max(size / wanted)

        def around_a_face():
            count = tf.size(candidates)
            face = candidates[tf.minimum(tf.cast(draw[1] * tf.cast(count, tf.float32), tf.int32), count - 1)]
            low, high = math.log(self.min_size), math.log(self.max_size)
            scale = sizes[face] / tf.exp(low + draw[2] * (high - low))
            scale = tf.clip_by_value(scale, 1 / self.max_zoom, LARGEST * whole)
            scale = tf.maximum(scale, AROUND * tf.reduce_max(sides[face] / wanted))
            return scale, pixels[face, :2], pixels[face, 2:]

        def whole_image():
            return whole * (WHOLE[0] + draw[2] * (WHOLE[1] - WHOLE[0])), tf.zeros([2]), size

        is_face = (tf.size(candidates) > 0) & (draw[0] < self.share)
        scale, first, last = tf.cond(is_face, around_a_face, whole_image)
        extent = tf.round(scale * wanted)  # (height, width) of the crop in pixels of the image
        # Anywhere that keeps `first`..`last` inside (or, where they are larger, the crop inside of them).
        ends = tf.stack([last - extent, first])
        offset = tf.reduce_min(ends, 0) + tf.stack([draw[3], draw[4]]) * tf.abs(ends[1] - ends[0])
        room = tf.stack([tf.zeros([2]), size - extent])  # no more grey than has to be
        offset = tf.round(tf.clip_by_value(offset, tf.reduce_min(room, 0), tf.reduce_max(room, 0)))

        crop = _cut(image, tf.cast(offset, tf.int32), tf.cast(extent, tf.int32))
        # As the OD API resizes. It would do so after it has changed colours, in all pixels of the larger image.
        crop = tf.compat.v1.image.resize_bilinear(crop[None], input_size)[0]
        placed = (pixels - tf.tile(offset, [2])) / tf.tile(extent, [2])
        middles = (placed[:, :2] + placed[:, 2:]) / 2
        inside = tf.reduce_all((middles > 0) & (middles < 1), axis=1)
        cut = tf.clip_by_value(placed, 0.0, 1.0)
        left = (cut[:, 2:] - cut[:, :2]) * wanted
        kept = tf.cast(tf.where(tf.reduce_min(left, axis=1) > TINY)[:, 0], tf.int32)
        counted = tf.where(inside, weights, 0.0)
        return crop, kept, tf.gather(cut, kept), tf.gather(counted, kept)


def _cut(image: tf.Tensor, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """The part of an image from `offset` (y, x) on, of `extent` (height, width); grey where it has none."""
    size = tf.shape(image)[:2]
    first, last = tf.maximum(offset, 0), tf.minimum(offset + extent, size)
    part = image[first[0] : last[0], first[1] : last[1]]
    before, after = first - offset, offset + extent - last
    padding = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    crop = tf.pad(part, padding, constant_values=tf.constant(GREY, image.dtype))
    crop.set_shape([None, None, 3])
    return crop
