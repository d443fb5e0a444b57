"""Detector: finds the faces in an image, with whatever model it is given."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from detect_faces.errors import UserError
from detect_faces.faces import Faces
from detect_faces.preprocessing import Channels, as_bgr

Backend = Literal["litert", "tensorflow"]

MODELS = Path(__file__).parent / "models"
SHIPPED = ("fast", "accurate")  # folders in MODELS
CASCADES = ("haar", "haar_alt2")


class FaceFinder(Protocol):
    """What a detector runs on: ExportedModel, Haar or TensorFlowModel.

    Attributes:
        name: of the model.
        min_score: the score from which on a detection is worth showing.
        score_threshold: no score up to that is ever given.
        iou_threshold: of two boxes that overlap more, the one with the lower score is dropped.
        input_side: the longer side of the network's input in pixels; None where it looks at every size.
    """

    name: str
    min_score: float
    score_threshold: float
    iou_threshold: float
    input_side: int | None

    def find(self, image_bgr: np.ndarray, min_score: float, *, suppress: bool) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy in pixels of the image, not clipped, and scores (N,)."""
        ...


class Detector:
    """A loaded model. Load it once and use it for many images.

    Several threads may use one detector: they prepare their images side by side and take turns at the network, which
    itself runs on all the threads it is given. A detector for each thread, with threads=1, takes the memory of another
    network (35 MB for SSDLite at 320) and gains little in sum: between 0 and 18 % in three runs on two busy cores.

    >>> detector = Detector("haar")
    >>> len(detector.detect(np.zeros((480, 640, 3), np.uint8)))
    0

    Attributes:
        name: of the model.
        min_score: the score from which on the model takes a detection for a face.
        score_threshold: the model gives no score up to that.
        model: the description that came with an exported model; None for others.
        threads: how many the network runs on.
        tile, whole: as given.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        backend: Backend = "litert",
        input_size: int | None = None,
        tile: int | Literal["auto"] | None = None,
        whole: bool = False,
    ):
        """Loads a model.

        Args:
            model: "fast" (the same as None) or "accurate", which come with the package; "haar" or "haar_alt2",
                OpenCV's cascades; the folder of an exported model, or the path of its model.json; with
                backend="tensorflow" the folder of a SavedModel, or a frozen graph (.pb).
            threads: for the network; by default as many as this process may use CPUs, but no more than 4.
            backend: "litert", or "tensorflow", which has to be installed, and uses a GPU where it finds one.
            input_size: side of the network's input in pixels, for a model that takes any; None for its own.
            tile: look at large pictures in overlapping tiles of so many pixels as well as at the whole, for faces that
                are too small in the whole (see detect_faces.tiling); "auto" chooses by the size of picture and input.
            whole: leave large pictures to the resizing of the OD API's graph; by default they are made smaller by
                means, which finds more (see detect_faces.resizing and detect_faces.shrinking).

        Raises:
            UserError: the model is missing, damaged, of another kind, with operations that the gate refuses, or takes
                no input of that size; or TensorFlow is not installed.
            ValueError: no such backend, or no tile of that size.
        """
        from detect_faces.tiling import MIN_TILE

        if backend not in get_args(Backend):
            raise ValueError(f"backend {backend!r} is not one of {', '.join(get_args(Backend))}")
        if tile not in (None, "auto") and (not isinstance(tile, int) or tile < MIN_TILE):
            raise ValueError(f"tile {tile!r} is not 'auto', None or at least {MIN_TILE} pixels")
        self.threads = threads or min(4, len(os.sched_getaffinity(0)))
        self.tile, self.whole = tile, whole
        self._backend = _load(model, backend, self.threads, input_size, whole)
        self.name = self._backend.name
        self.min_score = self._backend.min_score
        self.score_threshold = self._backend.score_threshold
        self.model = getattr(self._backend, "description", None)

    def detect(self, image: np.ndarray, min_score: float | None = None, channels: Channels = "BGR") -> Faces:
        """Finds the faces in an image.

        Args:
            image: (H, W, 3) uint8, or grey (H, W) or (H, W, 1), or with alpha (H, W, 4), which is left out.
            min_score: leave out lower scores; None for the model's own, which leaves what is worth showing, 0.0 for
                all that there is, as a precision-recall curve needs it. The same as `.at_least(min_score)` on all
                detections, and faster.
            channels: the order of colours: "BGR" as OpenCV reads them, or "RGB" as Pillow, imageio and others do.

        Returns:
            Faces with a score of at least min_score, in pixels of the image, best score first.

        Raises:
            ValueError: image is not such an array.
        """
        bgr = as_bgr(image, channels)
        height, width = bgr.shape[:2]
        min_score = self.min_score if min_score is None else min_score
        xyxy, scores = self._find(bgr, min_score)
        xyxy = xyxy.clip(0, np.array([width, height, width, height], np.float32))
        visible = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        return Faces(xyxy[visible], scores[visible])

    @property
    def enough_side(self) -> int:
        """Pixels of an image's longer side that are enough: more are not looked at. 0: all there are are needed."""
        return 0 if self.tile else self._enough_of_a_look

    @property
    def _enough_of_a_look(self) -> int:
        """As `enough_side`, of what the network sees at once: the picture, or a tile of it."""
        from detect_faces.shrinking import ENOUGH

        return 0 if self.whole or self._backend.input_side is None else ENOUGH * self._backend.input_side

    def detect_batch(
        self, images: Iterable[np.ndarray], min_score: float | None = None, channels: Channels = "BGR"
    ) -> list[Faces]:
        """Finds the faces in several images, of any sizes: as `detect` of each."""
        return [self.detect(image, min_score, channels) for image in images]

    def _find(self, bgr: np.ndarray, min_score: float) -> tuple[np.ndarray, np.ndarray]:
        from detect_faces import tiling
        from detect_faces.shrinking import shrunk

        backend = self._backend
        height, width = bgr.shape[:2]

        def look(image: np.ndarray, suppress: bool) -> tuple[np.ndarray, np.ndarray]:
            small = shrunk(image, self._enough_of_a_look)
            boxes, scores = backend.find(small, min_score, suppress=suppress)
            return boxes * np.float32([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]] * 2), scores

        side = tiling.tile_side(self.tile, width, height, backend.input_side)
        if side is None:
            return look(bgr, suppress=True)
        found = []
        for part in tiling.tiles(width, height, side):
            x_min, y_min, x_max, y_max = part
            boxes, scores = look(bgr[y_min:y_max, x_min:x_max], suppress=False)
            boxes = boxes + np.array([x_min, y_min, x_min, y_min], np.float32)
            found.append((boxes, scores, tiling.cut_boxes(boxes, part, width, height)))
        boxes, scores, cut = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        kept = tiling.merge(boxes, scores, cut, backend.iou_threshold, tiling.MAX_BOXES)
        return boxes[kept], scores[kept]


def _load(model: str | Path | None, backend: Backend, threads: int, input_size: int | None, whole: bool) -> FaceFinder:
    # Each backend brings a library of its own with it: only the one that is used is imported.
    if backend == "tensorflow" and (model is None or model in SHIPPED + CASCADES):
        raise UserError(
            f"{model or 'fast'}: not run by TensorFlow; leave the backend out, or give the folder of a SavedModel, "
            "or a frozen graph (.pb)"
        )
    if model in CASCADES:
        from detect_faces.haar import Haar

        if input_size:
            raise UserError(f"{model}: a cascade has no input size; leave it out")
        return Haar(model)
    if backend == "tensorflow":
        from detect_faces.tensorflow_backend import TensorFlowModel

        return TensorFlowModel(model, threads, input_size)
    from detect_faces.exported_model import ExportedModel

    if model is None or model in SHIPPED:
        model = MODELS / (model or "fast")
        if not model.is_dir():
            raise UserError(
                f"no model {model.name!r}: it is missing from this installation, {MODELS}; install detect-faces again, "
                "or give the folder of an exported model"
            )
    elif not os.path.lexists(model):
        names = ", ".join((*SHIPPED, *CASCADES))
        raise UserError(f"{model}: no such model; give {names} or an exported model: its folder, or its model.json")
    return ExportedModel(model, threads, input_size, as_graph=whole)
