"""SavedModels and frozen graphs of the Object Detection API, run by TensorFlow: on a GPU, or before they are exported.

TensorFlow is no dependency of the package: it is imported here and nowhere else, when such a model is loaded. As any
model these are programs: they are held against the gate before TensorFlow sees them.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from detect_faces.errors import UserError

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
FACE = 1  # the class of a face; graphs of more than one class find other things as well
DEFAULT_MIN_SCORE = 0.5  # where no model.json lies beside it to say so
WAY_OUT = "if you know where it is from, run it with TensorFlow itself"


class TensorFlowModel:
    """A SavedModel or frozen graph. Several threads may use it.

    It takes uint8 (1, H, W, 3) RGB of any size, called `image_tensor:0` in a frozen graph, and gives boxes (1, N, 4)
    yxyx in 0..1 of the image, scores (1, N), classes (1, N) from 1, and the number of boxes (1,), by the names in
    OUTPUTS. Resizing and suppression are in the graph.

    Attributes:
        input_side: None: what the graph makes of an image is its own affair.
    """

    score_threshold = 0.0  # that of the graph is not known
    iou_threshold = 0.45  # of tiles only: the graph suppresses what it finds in one picture itself
    input_side = None

    def __init__(self, path: str | Path, threads: int, input_size: int | None = None):
        """Loads a model.

        Args:
            path: the folder of a SavedModel, that of an export with one in it, or a frozen graph (.pb).
            threads: for an operation on the CPU. Of a SavedModel the first one that a process loads decides for all.
            input_size: None; the graph says it.

        Raises:
            UserError: TensorFlow is not installed; the model is missing, damaged, of another form, or refused by the
                gate; or an input_size is given.
        """
        if input_size is not None:
            raise UserError(f"{path}: the graph says what size it works on; leave the input size out")
        try:
            import tensorflow  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"{path}: the backend tensorflow needs TensorFlow, which cannot be imported ({error}); "
                "pip install tensorflow, or give an exported model (model.json)"
            ) from error
        path = Path(path)
        self.min_score = DEFAULT_MIN_SCORE
        if (path / "saved_model" / "saved_model.pb").is_file():  # of an export
            path = path / "saved_model"
        usual = path.name in ("saved_model", "saved_model.pb", "frozen_inference_graph.pb")
        self.name = path.absolute().parent.name if usual else path.stem
        if usual and (path.parent / "model.json").is_file():
            self._read_description(path.parent / "model.json")
        saved_model = path.is_dir() or path.name == "saved_model.pb"
        self._run = _of_saved_model(path, threads) if saved_model else _of_frozen_graph(path, threads)
        self.path = path

    def find(self, image_bgr: np.ndarray, min_score: float, *, suppress: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """What the graph finds in an image.

        Args:
            image_bgr: (H, W, 3) uint8.
            min_score: leave out lower scores.
            suppress: makes no difference, the graph always does it.

        Returns:
            Boxes (N, 4) float32 xyxy in pixels of the image, and scores (N,).

        Raises:
            UserError: the graph fails on the image.
        """
        import tensorflow as tf

        try:
            boxes, scores, classes, count = self._run(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)[None])
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise UserError(f"{self.path}: cannot be run on an image: {_reason(error)}") from error
        boxes, scores, classes = (values[0][: int(count[0])] for values in (boxes, scores, classes))
        faces = (classes.astype(int) == FACE) & (scores >= np.float32(min_score))
        height, width = image_bgr.shape[:2]
        xyxy = boxes[faces][:, [1, 0, 3, 2]].astype(np.float32) * np.array([width, height] * 2, np.float32)
        return xyxy, scores[faces].astype(np.float32)

    def _read_description(self, path: Path) -> None:
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            self.name, self.min_score = str(description["name"]), float(description["min_score"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a model description ({error!r}); export the model again") from error


def _of_frozen_graph(path: Path, threads: int):
    """A function from uint8 (1, H, W, 3) RGB to the arrays of OUTPUTS."""
    import tensorflow as tf

    from detect_faces import graph_file

    graph_def = graph_file.read(path, way_out=WAY_OUT)
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(graph_def, name="")
            image = graph.get_tensor_by_name("image_tensor:0")
            outputs = [graph.get_tensor_by_name(f"{name}:0") for name in OUTPUTS]
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"{path}: not a detector of the Object Detection API: {_reason(error)}") from error
        _check_input(path, image)
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
        config.gpu_options.allow_growth = True  # other models may share the GPU
        session = tf.compat.v1.Session(graph=graph, config=config)
    return lambda pixels: session.run(outputs, {image: pixels.astype(image.dtype.as_numpy_dtype)})


def _of_saved_model(path: Path, threads: int):
    """A function from uint8 (1, H, W, 3) RGB to the arrays of OUTPUTS."""
    import tensorflow as tf

    from detect_faces import saved_model_file

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:  # it is in use already
        pass
    loaded = saved_model_file.load(path, way_out=WAY_OUT)
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    if signature is None:
        raise UserError(f"{path}: a SavedModel without the signature serving_default; export it again")
    missing = sorted(set(OUTPUTS) - set(signature.structured_outputs))
    inputs = signature.structured_input_signature[1]
    if missing or len(inputs) != 1:
        what = f"it does not give {', '.join(missing)}" if missing else f"it takes {len(inputs)} inputs"
        raise UserError(f"{path}: not a detector of the Object Detection API: {what}")
    ((name, image),) = inputs.items()
    _check_input(path, image)

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        _ = loaded  # holds the variables: it has to stay as long as the signature
        found = signature(**{name: tf.constant(pixels, image.dtype)})
        return [found[output].numpy() for output in OUTPUTS]

    return run


def _check_input(path: Path, image) -> None:
    """Raises UserError unless a tensor takes one image of any size."""
    shape = image.shape.as_list() if image.shape.rank is not None else [None] * 4
    if len(shape) != 4 or shape[0] not in (None, 1) or shape[1:3] != [None, None] or shape[3] not in (None, 3):
        raise UserError(f"{path}: takes {image.dtype.name} {shape}, not an image of any size, (1, height, width, 3)")


def _reason(error: Exception) -> str:
    from detect_faces.model_gate import shown

    return shown((str(error).strip() or type(error).__name__).splitlines()[0])
