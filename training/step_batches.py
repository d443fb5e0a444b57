"""Batches for an exported step: crops and flips in OpenCV, on all cores, ahead of the device; a function of the seed.

What an image becomes depends on the seed and its position in the run alone, so that a run that goes on after a kill
sees what it would have seen. Colours are changed later, where the network computes (`training.colour`): here only the
amounts are drawn.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from detect_faces.preprocessing import letterbox_size
from detect_faces.resizing import resize_as_graph, resize_part
from training import augmentation
from training.examples import example_at, positions
from training.face_crop import DRAWS, GREY, FaceCrop
from training.step_file import Description
from training.step_images import StepImages, TrueFaces

AHEAD = 3  # batches that are made while the device computes


@dataclass(frozen=True)
class Sample:
    """An image as the step takes it, and its faces.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        boxes: (boxes, 4) float32 yxyx in 0..1, padded with zeros.
        classes: (boxes, classes) float32.
        weights: (boxes,) float32.
        amounts: (changes of colour,) float32.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    weights: np.ndarray
    amounts: np.ndarray


class Sampler:
    """Makes the sample for a position of a run."""

    def __init__(self, description: Description, images: StepImages):
        self._images, self._described = images, description
        self._size = description.height, description.width
        self._crop = FaceCrop(**description.face_crop) if description.face_crop else None

    def __call__(self, position: int) -> Sample:
        """Raises UserError where the record can no longer be read."""
        described = self._described
        number = example_at(position, len(self._images), described.seed)
        image, faces = self._images.image(number), self._images.faces(number)
        # What is drawn for a crop comes first, so that the colours of an image do not depend on how it is cropped.
        draws = np.random.default_rng([described.seed, position, 1]).random(DRAWS + len(described.augmentation))
        pixels, faces = self._cropped(image, faces, draws[:DRAWS])
        boxes, amounts = faces.boxes, []
        for change, draw in zip(described.augmentation, draws[DRAWS:], strict=True):
            amount = augmentation.amount(change, float(draw))
            if change["name"] != augmentation.FLIP:
                amounts.append(amount)
            elif amount:
                pixels, boxes = (
                    pixels[:, ::-1],
                    np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], 1),
                )
        weights = faces.weights * self._large_enough(boxes)
        return Sample(
            np.ascontiguousarray(pixels[..., ::-1]),
            *_padded(TrueFaces(boxes, faces.classes, weights), described.boxes, described.classes),
            np.array(amounts, np.float32),
        )

    def _cropped(self, image: np.ndarray, faces: TrueFaces, draws: np.ndarray) -> tuple[np.ndarray, TrueFaces]:
        size, (height, width) = image.shape[:2], self._size
        if self._crop:
            crop = self._crop.place(size, faces.boxes, faces.weights, self._size, draws)
            pixels = resize_part(image, crop.offset, crop.extent, self._size, GREY)
            return pixels, TrueFaces(crop.boxes, faces.classes[crop.kept], crop.weights)
        shown = letterbox_size(size[1], size[0], width, height) if self._described.letterbox else (width, height)
        pixels = np.full((height, width, 3), GREY, np.uint8)
        pixels[: shown[1], : shown[0]] = resize_as_graph(image, *shown)
        share = np.float32([shown[1] / height, shown[0] / width] * 2)
        return pixels, TrueFaces(faces.boxes * share, faces.classes, faces.weights)

    def _large_enough(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) whether faces are of a size that counts."""
        sides = (boxes[:, 2:] - boxes[:, :2]) * np.float32(self._size)
        return sides.prod(1) >= self._described.smallest_face**2


class StepBatches:
    """An endless iterator over (images, boxes, classes, weights, amounts), each with the batch as first axis."""

    def __init__(self, sampler: Sampler, batch_size: int, step: int, pool: Executor):
        """The batches from `step` on, made in the threads of `pool`."""
        self._sampler, self._batch_size, self._step, self._pool = sampler, batch_size, step, pool
        self._coming: deque[list[Future]] = deque()

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        return self

    def __next__(self) -> tuple[np.ndarray, ...]:
        while len(self._coming) <= AHEAD:
            places = positions(self._step, self._batch_size)
            self._coming.append([self._pool.submit(self._sampler, position) for position in places])
            self._step += 1
        samples = [future.result() for future in self._coming.popleft()]
        return tuple(np.stack([getattr(sample, name) for sample in samples]) for name in Sample.__dataclass_fields__)


def _padded(faces: TrueFaces, most: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, one-hot classes and weights of `most` faces; of more, those that count and are the largest."""
    if len(faces.boxes) > most:
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        kept = np.sort(np.lexsort((-sides.prod(1), faces.weights <= 0))[:most])
        faces = TrueFaces(faces.boxes[kept], faces.classes[kept], faces.weights[kept])
    count = len(faces.boxes)
    boxes, weights = np.zeros((most, 4), np.float32), np.zeros(most, np.float32)
    one_hot = np.zeros((most, classes), np.float32)
    boxes[:count], weights[:count] = faces.boxes, faces.weights
    one_hot[np.arange(count), faces.classes - 1] = 1
    return boxes, one_hot, weights
