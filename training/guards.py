"""What a run looks at so that nobody waits for nothing: its first batch, time and memory, and losses that are none."""

import math
import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file, write_whole
from training.od_api import inputs

_SHOWN = 16  # pictures of a batch
_SIDE = 320  # pixels of each
_GIB = 1 << 30


def describe(features: Mapping, labels: Mapping) -> str:
    """A batch of one device as the model sees it, in one line."""
    images = np.asarray(features[inputs.IMAGE], np.float32)
    sizes, counts = _face_sizes(images.shape[1:3], labels)
    faces = f"{len(sizes)} faces that count ({sizes.min():.0f} to {sizes.max():.0f} px)" if len(sizes) else "no face"
    empty = int((counts == 0).sum())
    return (
        f"{len(images)} images of {images.shape[2]} x {images.shape[1]}, values {images.min():.2f} to "
        f"{images.max():.2f}, {faces}, {empty} images without"
    )


def picture(batches: Iterable[tuple[Mapping, Mapping]]) -> bytes:
    """A PNG of the first images of batches with their boxes: green ones count, red ones do not."""
    drawn = [image for batch in batches for image in np.asarray(inputs.drawn(*batch))][:_SHOWN]
    across = math.ceil(math.sqrt(len(drawn)))
    tiles = [cv2.resize(image, _within(image.shape), interpolation=cv2.INTER_AREA) for image in drawn]
    sheet = np.zeros((-(-len(tiles) // across) * _SIDE, across * _SIDE, 3), np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // across * _SIDE, number % across * _SIDE
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = np.rint(tile[..., ::-1] * 255)
    return cv2.imencode(".png", sheet)[1].tobytes()


def require_finite(
    step: int,
    losses: Mapping[str, float],
    batches: Callable[[int], Sequence[tuple[Mapping, Mapping]]],
    places: Callable[[int], list[str]],
    run: Path | None,
) -> None:
    """Raises UserError where a loss or the gradients' norm isn't finite, and keeps what led there in the run folder.

    Args:
        step: the step just made.
        losses: what it gave.
        batches: makes the batches of a step once more, of all devices, by its number from 0.
        places: gives where the images of a step are, by its number from 0.
        run: gets `not-finite-STEP.npz` (images, those that are smaller filled up with zeros to the right and below;
            their sizes, (N, 2) height and width; boxes yxyx in 0..1 of that, weights, counts, places) and a PNG; None
            keeps nothing.
    """
    wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
    if not wrong:
        return
    what = ", ".join(f"{name} {value}" for name, value in wrong.items())
    if run is None:
        raise UserError(f"step {step}: not finite: {what}; lower the learning rate (learning_rate_base)")
    stem, made = run / f"not-finite-{step}", batches(step - 1)
    images = [np.asarray(image, np.float32) for features, _ in made for image in features[inputs.IMAGE]]
    arrays = {
        "images": _filled_up(images),
        "sizes": np.array([image.shape[:2] for image in images]),
        "boxes": np.concatenate([labels[inputs.BOXES] for _, labels in made]),
        "weights": np.concatenate([labels[inputs.WEIGHTS] for _, labels in made]),
        "counts": np.concatenate([labels[inputs.COUNTS] for _, labels in made]),
        "places": np.array(places(step - 1)),
    }
    with whole_file(Path(f"{stem}.npz"), "wb") as file:
        np.savez_compressed(file, **arrays)
    write_whole(Path(f"{stem}.png"), picture(made))
    raise UserError(
        f"step {step}: not finite: {what}; its images and boxes are in {stem}.npz and .png, and the last checkpoint is "
        f"whole; lower the learning rate (learning_rate_base) and give another RUN=, or look for wrong boxes"
    )


def peak_memory() -> int:
    """Bytes of memory that this process has needed so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> int:
    """Bytes of memory of this machine, or of the container it runs in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such control group, or no limit ("max")
            continue
    return min(limits)


def memory_line() -> str:
    """How much memory is needed of how much there is."""
    needed, there = peak_memory(), memory()
    warning = "; that is close: a smaller BATCH= needs less" if needed > 0.8 * there else ""
    return f"{needed / _GIB:.1f} of {there / _GIB:.0f} GiB of memory{warning}"


def _face_sizes(input_size: tuple[int, int], labels: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Sizes in pixels of the faces that count, (N,), and how many each image has."""
    boxes, counts = np.asarray(labels[inputs.BOXES]), np.asarray(labels[inputs.WEIGHTS]) > 0
    sides = (boxes[..., 2:] - boxes[..., :2]) * np.array(input_size)
    return np.sqrt(np.maximum(sides.prod(-1), 0))[counts], counts.sum(axis=1)


def _filled_up(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, 3) in one array, (N, H, W, 3) of the largest, with zeros to the right and below."""
    whole = np.zeros((len(images), *np.max([image.shape for image in images], axis=0)), np.float32)
    for place, image in zip(whole, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return whole


def _within(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of an image that fits into a tile."""
    scale = _SIDE / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
