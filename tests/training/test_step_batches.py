"""What an exported step is fed with: the crop of the trainer, boxes on their faces, the order, the padding."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.training import toy_step
from training.step_batches import Sampler, StepBatches
from training.step_file import Description
from training.step_images import TrueFaces

CROP = {"share": 1.0, "min_size": 10.0, "max_size": 24.0, "max_zoom": 2.5}


class Images:
    """In place of StepImages: one picture, black with white faces, BGR with blue everywhere."""

    def __init__(self, width, height, boxes, weights=None, classes=None):
        self.pixels = np.zeros((height, width, 3), np.uint8)
        self.pixels[..., 0] = 60
        for x_min, y_min, x_max, y_max in np.round(boxes).astype(int).reshape(-1, 4):
            self.pixels[y_min:y_max, x_min:x_max] = 255
        yxyx = np.float32(boxes).reshape(-1, 4)[:, [1, 0, 3, 2]] / np.float32([height, width] * 2)
        count = len(yxyx)
        self.true = TrueFaces(
            yxyx,
            np.ones(count, np.int64) if classes is None else np.array(classes),
            np.ones(count, np.float32) if weights is None else np.float32(weights),
        )

    def __len__(self):
        return 1

    def image(self, number):
        return self.pixels

    def faces(self, number):
        return self.true


def sampler(images, **changes) -> Sampler:
    description = {**toy_step.DESCRIPTION, "rule": {}, "height": 64, "width": 96, "augmentation": [], "face_crop": CROP}
    return Sampler(Description(**{**description, **changes}), images)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_stay_on_their_faces(flip):
    make = sampler(
        Images(400, 300, [(60, 80, 100, 130), (300, 100, 340, 150)]),
        augmentation=[{"name": "random_horizontal_flip", "probability": flip}],
    )
    whole = 0
    for position in range(40):
        sample = make(position)
        assert sample.image.shape == (64, 96, 3) and sample.image.dtype == np.uint8
        for box in sample.boxes[sample.weights > 0]:
            y_min, x_min, y_max, x_max = box * (64, 96, 64, 96)
            if min(y_min, x_min) < 1 or y_max > 63 or x_max > 95:
                continue
            inner = sample.image[int(y_min) + 3 : int(y_max) - 2, int(x_min) + 3 : int(x_max) - 2]
            assert inner.size and inner.min() > 250
            rim = sample.image[int(y_min) + 3 : int(y_max) - 2, [int(x_min) - 2, min(int(x_max) + 3, 95)], 0]
            assert rim.max() < 200  # red: dark beside a face
            whole += 1
        assert (sample.image[..., 2] >= 59).all()  # blue comes last
    assert whole > 25


def test_a_flip_mirrors_image_and_boxes():
    images = Images(400, 300, [(60, 80, 100, 130)])
    plain, flipped = (
        sampler(images, augmentation=[{"name": "random_horizontal_flip", "probability": p}])(3) for p in (0.0, 1.0)
    )
    assert np.array_equal(flipped.image, plain.image[:, ::-1])
    np.testing.assert_allclose(
        flipped.boxes[0], [plain.boxes[0][0], 1 - plain.boxes[0][3], plain.boxes[0][2], 1 - plain.boxes[0][1]]
    )


def test_whole_images_are_letterboxed_or_stretched():
    images = Images(400, 100, [(0, 0, 400, 100)])
    boxed, stretched = (sampler(images, face_crop=None, letterbox=kept)(0) for kept in (True, False))
    assert (boxed.image[:24] == 255).all() and (boxed.image[24:] == 127).all()  # 96 x 24 of 96 x 64
    np.testing.assert_allclose(boxed.boxes[0], [0, 0, 24 / 64, 1])
    assert (stretched.image == 255).all()
    np.testing.assert_allclose(stretched.boxes[0], [0, 0, 1, 1])


def test_padding_and_too_many_faces():
    boxes = [(x, 10, x + size, 10 + size) for x, size in ((0, 40), (50, 30), (90, 6), (100, 20), (130, 50))]
    images = Images(192, 128, boxes, weights=[0, 1, 1, 1, 1], classes=[1, 2, 1, 2, 1])
    sample = sampler(images, face_crop=None, boxes=3, classes=2, smallest_face=4.0)(0)
    sizes = (sample.boxes[:, 3] - sample.boxes[:, 1]) * 192
    np.testing.assert_allclose(sizes, [30, 20, 50], rtol=1e-5)  # neither the one without weight nor the tiny ones
    assert sample.classes.tolist() == [[0, 1], [0, 1], [1, 0]]
    few = sampler(images, face_crop=None, boxes=9, classes=2, smallest_face=4.0)(0)
    assert few.weights.tolist() == [0, 1, 0, 1, 1, 0, 0, 0, 0]  # one has no weight, one is 3 px at the input
    assert not few.boxes[5:].any() and not few.classes[5:].any()


def test_batches_are_a_function_of_seed_and_step():
    make = sampler(Images(400, 300, [(60, 80, 100, 130)]), augmentation=toy_step.DESCRIPTION["augmentation"])
    with ThreadPoolExecutor(3) as pool:
        one, later = StepBatches(make, 4, 0, pool), StepBatches(make, 4, 2, pool)
        batches = [next(one) for _ in range(4)]
        again = [next(later) for _ in range(2)]
    for some, others in zip(batches[2:], again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))
    assert [part.shape for part in batches[0]] == [(4, 64, 96, 3), (4, 12, 4), (4, 12, 1), (4, 12), (4, 1)]
    assert not np.array_equal(batches[0][0], batches[1][0])
