"""The images that an exported step trains on: records read and decoded without TensorFlow, once where memory allows."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np

from detect_faces.errors import UserError
from detect_faces.guards import Limits, available_memory, checked_header
from tools import tf_example
from training.examples import Examples

_UNKNOWN = 8_000_000_000  # bytes of memory that are free where the system does not say


@dataclass(frozen=True)
class TrueFaces:
    """The true boxes of an image.

    Attributes:
        boxes: (N, 4) float32 yxyx in 0..1.
        classes: (N,) numbers from 1.
        weights: (N,) float32; 0 for a face that does not count.
    """

    boxes: np.ndarray
    classes: np.ndarray
    weights: np.ndarray


class StepImages:
    """Images and their faces, by the number of the record.

    Attributes:
        kept: how many images stay in memory, decoded; the others are decoded each time.
        bytes: that those take.
    """

    def __init__(self, examples: Examples, classes: int, memory: int, pool: Executor, say: Callable[[str], None]):
        """Reads and decodes all of them, once.

        Args:
            examples: the records.
            classes: that the step knows.
            memory: bytes that decoded images may take.
            pool: threads to decode in.
            say: takes a line for people.

        Raises:
            UserError: a record is damaged, is no image with boxes, or has a class that the step does not know.
        """
        self._examples, self._classes = examples, classes
        self._pixels: dict[int, np.ndarray] = {}
        self._faces: list[TrueFaces] = []
        self.kept = self.bytes = 0
        for number, (faces, image) in enumerate(pool.map(self._decoded, range(len(examples)))):
            self._faces.append(faces)
            if self.bytes + image.nbytes <= memory:
                self._pixels[number] = image
                self.kept += 1
                self.bytes += image.nbytes
        if self.kept < len(examples):
            say(
                f"{self.kept:,} of {len(examples):,} images fit into {memory / 1e9:.1f} GB of memory; the others are "
                "decoded each time, which is slower"
            )
        if not any((faces.weights > 0).any() for faces in self._faces):
            raise UserError(
                f"{examples.files[0]}: no image of the records has a face that counts; there is nothing to learn"
            )

    def __len__(self) -> int:
        return len(self._examples)

    def image(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR. Raises UserError where its record can no longer be read."""
        kept = self._pixels.get(number)
        return kept if kept is not None else self._decoded(number)[1]

    def faces(self, number: int) -> TrueFaces:
        return self._faces[number]

    def most_faces(self) -> int:
        """Of an image."""
        return max(len(faces.boxes) for faces in self._faces)

    def _decoded(self, number: int) -> tuple[TrueFaces, np.ndarray]:
        place, data = self._examples.place(number), self._examples.read(number)
        try:
            example = tf_example.decode(data)
            classes = np.array(tf_example.labels(data), np.int64)
        except tf_example.ExampleError as error:
            raise UserError(f"{place}: {error}; run `make verify`, and make the records again") from error
        if len(classes) != len(example):
            raise UserError(f"{place}: its boxes and class numbers differ in number; make the records again")
        if wrong := [label for label in classes.tolist() if not 1 <= label <= self._classes]:
            raise UserError(
                f"{place}: has a face of class {wrong[0]}, and the step knows {self._classes}; export it from a "
                "pipeline with as many num_classes, or make records of its classes"
            )
        checked_header(example.source, place, Limits())
        # As TensorFlow decodes: whatever EXIF says, the boxes are those of the image as it is stored.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(example.source, np.uint8), flags)
        if image is None:
            raise UserError(f"{place}: its image cannot be decoded; run `make verify`, and make the records again")
        size = np.array([example.height, example.width] * 2)
        boxes = (example.xyxy[:, [1, 0, 3, 2]] / size).astype(np.float32)
        return TrueFaces(boxes, classes, (~example.ignore).astype(np.float32)), image


def memory_for_images(gigabytes: float | None) -> int:
    """Bytes that decoded images may take: what is asked for, or half of what is free."""
    if gigabytes is not None:
        return int(gigabytes * 1e9)
    return (available_memory() or _UNKNOWN) // 2
