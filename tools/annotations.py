"""AnnotatedImage: the one value type for an image with its true boxes; every format loads into it and saves from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Flags a format may carry for each box, by the names used everywhere in this project. `ignore` is the one that training
# and evaluation act on: such a box is neither to be found nor a mistake when found.
FLAGS = (
    "ignore",  # bool
    "difficult",  # Pascal VOC
    "occluded",  # Open Images: 0, 1, -1 unknown
    "truncated",  # Open Images, Pascal VOC
    "group_of",  # Open Images
    "depiction",  # Open Images
    "inside",  # Open Images
    "blur",  # WIDER FACE: 0 clear, 1 normal, 2 heavy
    "expression",  # WIDER FACE: 0 typical, 1 exaggerate
    "illumination",  # WIDER FACE: 0 normal, 1 extreme
    "invalid",  # WIDER FACE
    "occlusion",  # WIDER FACE: 0 none, 1 partial, 2 heavy
    "pose",  # WIDER FACE: 0 typical, 1 atypical
)


@dataclass(frozen=True)
class FilePart:
    """An encoded image inside a larger file, such as a record's: `length` bytes from `offset` on."""

    path: Path
    offset: int
    length: int

    def read_bytes(self) -> bytes:
        """The bytes; fewer where the file has become shorter. Raises OSError."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


Source = Path | FilePart | bytes  # where an image comes from


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image and its true boxes.

    Attributes:
        name: the image as its data set names it, a relative path with forward slashes; unique in the data set.
        width, height: pixels of the upright image (EXIF orientation applied).
        xyxy: (N, 4) float64, (x_min, y_min, x_max, y_max) in pixels of the upright image, as annotated: not clipped.
        classes: N class names, such as "face".
        flags: of FLAGS those that the format gives, each (N,) int64.
        source: the image file, the part of a file that holds it, or its encoded bytes.
    """

    name: str
    width: int
    height: int
    xyxy: np.ndarray
    classes: tuple[str, ...]
    source: Source
    flags: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        xyxy = np.asarray(self.xyxy, np.float64).reshape(-1, 4)
        flags = {name: np.asarray(values, np.int64).reshape(-1) for name, values in self.flags.items()}
        for what, values in {"classes": self.classes, **flags}.items():
            if len(values) != len(xyxy):
                raise ValueError(f"{self.name}: {len(xyxy)} boxes but {len(values)} {what}")
        if unknown := set(flags) - set(FLAGS):
            raise ValueError(f"{self.name}: unknown flags {sorted(unknown)}")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "flags", flags)
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def ignore(self) -> np.ndarray:
        """(N,) bool: boxes that neither have to be found nor count as a mistake when found."""
        return self.flags["ignore"].astype(bool) if "ignore" in self.flags else np.zeros(len(self), bool)

    def encoded(self) -> bytes:
        """The encoded image (JPEG, PNG, ...)."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()
