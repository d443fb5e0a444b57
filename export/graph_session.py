"""A frozen graph in a session, and a photograph as its input."""

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

from detect_faces.errors import UserError
from detect_faces.model_gate import shown
from export.graph_cut import imported


class GraphSession:
    """Runs a graph.

    Args:
        graph_def: without variables.
        threads: of TensorFlow, for one operation and for several; None for one on each CPU.
        as_written: without TensorFlow's optimiser. It joins operations (a convolution and its batch norm), cannot join
            those on two sides of a cut, and so changes the last bits of a result.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef, threads: int | None = None, as_written: bool = False):
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads or 0)
        config.inter_op_parallelism_threads = threads or 0
        if as_written:
            options = config.graph_options
            options.rewrite_options.disable_meta_optimizer = True
            options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
            options.optimizer_options.opt_level = -1  # L0: no common subexpressions, no constant folding
        self.graph = imported(graph_def)
        self.inputs = [op.outputs[0] for op in self.graph.get_operations() if op.type == "Placeholder"]
        self._session = tf.compat.v1.Session(graph=self.graph, config=config)

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs ("node:0") for these inputs. Raises UserError where an operation fails."""
        try:
            return self._session.run(list(outputs), feeds)
        except (tf.errors.OpError, ValueError) as error:
            raise UserError(f"the graph cannot be run on this: {_reason(error)}") from error

    def photograph(self, image_bgr: np.ndarray) -> dict[str, np.ndarray]:
        """The photograph as what `run` feeds to the one input of the graph. Raises UserError where it has another."""
        if len(self.inputs) != 1:
            names = ", ".join(tensor.name for tensor in self.inputs) or "none"
            raise UserError(f"a photograph goes into a graph with one input; this one has {names}")
        return {self.inputs[0].name: as_input(self.inputs[0], image_bgr)}


def _reason(error: Exception) -> str:
    """The line that says what happened, among those that say where."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [
        line for line in lines if line and not line.startswith(("Graph execution", "Detected at", "Node:", "[[", "<"))
    ]
    return shown(said[0]) if said else type(error).__name__


def as_input(tensor: tf.Tensor, image_bgr: np.ndarray) -> np.ndarray:
    """A photograph in the shape and type of a placeholder.

    Args:
        tensor: (1, H, W, 3) or (H, W, 3), grey values 0..255 of any number type; sides that are not known are the
            photograph's own, others are what it is resized to. RGB; one channel is grey.
        image_bgr: (H, W, 3) uint8.

    Raises:
        UserError: it takes no photograph.
    """
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else [1, None, None, 3]
    number = tensor.dtype.is_integer or tensor.dtype.is_floating
    if len(shape) not in (3, 4) or shape[-1] not in (None, 1, 3) or not number:
        raise UserError(f"{tensor.name} is {tensor.dtype.name} {tensor.shape}: it takes no photograph")
    height, width = shape[-3] or image_bgr.shape[0], shape[-2] or image_bgr.shape[1]
    if (height, width) != image_bgr.shape[:2]:
        image_bgr = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    if shape[-1] == 1:
        pixels = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)[..., None]
    else:
        pixels = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
    if len(shape) == 4:
        pixels = np.repeat(pixels[None], shape[0] or 1, axis=0)
    return pixels.astype(tensor.dtype.as_numpy_dtype)
