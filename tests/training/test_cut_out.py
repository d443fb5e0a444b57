"""Parts of images, cut out and resized: the pixels are TensorFlow's, grey is where there is no image."""

import numpy as np
import pytest
import tensorflow as tf

from training.cut_out import GREY, cut_out

SIZE = (64, 96)  # height, width


def by_tensorflow(image, offset, extent):
    """The part by itself, padded with grey, and then resized."""
    whole = np.pad(image, ((400, 400), (400, 400), (0, 0)), constant_values=GREY)
    (y, x), (height, width) = offset, extent
    part = whole[400 + y : 400 + y + height, 400 + x : 400 + x + width]
    return tf.compat.v1.image.resize_bilinear(part[None].astype(np.float32), SIZE)[0].numpy()


@pytest.mark.parametrize(
    ("offset", "extent"),
    [
        ((10, 20), (160, 240)),
        ((100, 200), (33, 50)),  # enlarged
        ((0, 0), (240, 320)),
        ((17, 40), SIZE),
        ((-30, -50), (200, 300)),
        ((-20, -100), (400, 600)),  # more than the image
        ((150, 250), (128, 192)),
    ],
)
def test_pixels_are_those_of_tensorflow(offset, extent):
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (240, 320), "bicubic").numpy().clip(0, 255).astype(np.uint8)
    ours, true = cut_out(image, offset, extent, SIZE), by_tensorflow(image, offset, extent)
    assert ours.shape == (*SIZE, 3) and ours.dtype == np.uint8
    # Not at the last pixels: behind those of a part there is the image. Nor where it ends: grey is blended there.
    inside = np.zeros(SIZE, bool)
    scale = np.array(extent) / SIZE
    rows, columns = (start + np.arange(count) * step for start, count, step in zip(offset, SIZE, scale, strict=True))
    inside[:-2, :-2] = np.outer((rows >= 0) & (rows < 239), (columns >= 0) & (columns < 319))[:-2, :-2]
    beyond = ~np.outer((rows > -1) & (rows < 240), (columns > -1) & (columns < 320))
    difference = np.abs(ours.astype(np.float32) - true)[inside]
    assert inside.sum() > 500 and difference.mean() < 1 and difference.max() < 12  # it computes in 32nds of a pixel
    assert (ours[beyond] == GREY).all()
    assert beyond.any() == (min(offset) < 0 or any(np.add(offset, extent) > (240, 320)))
