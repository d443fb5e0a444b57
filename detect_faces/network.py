"""Network: the TFLite file of an exported model, gated, loaded and run on one input at a time."""

import threading

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from detect_faces.errors import UserError
from detect_faces.model import Model
from detect_faces.tflite_file import gate

SIGNATURE = "detect"


class Network:
    """A loaded network. Several threads may use it: they take turns.

    Attributes:
        width, height: pixels of its input.
    """

    def __init__(self, model: Model, threads: int, input_size: tuple[int, int] | None = None):
        """Loads the network that a description names.

        Args:
            model: the description.
            threads: to run on.
            input_size: (width, height) of the input, for a network whose input may have any; None for its own.

        Raises:
            UserError: damaged, of another kind, with operations that the gate refuses, or not of that input size.
        """
        gate(model.tflite)
        try:
            # By path, so that LiteRT maps the file into memory instead of reading it.
            interpreter = Interpreter(model_path=str(model.tflite), num_threads=threads)
            self._run = interpreter.get_signature_runner(SIGNATURE)
            input_shape = tuple(self._run.get_input_details()["image"]["shape"].tolist())
            outputs = set(self._run.get_output_details())
        except (ValueError, RuntimeError, KeyError, TypeError) as error:  # TypeError: a name that is no text
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{model.tflite}: not a face detector of this project: {reason}") from error
        if input_shape != (1, model.height, model.width, 3) or not {"boxes", "scores"} <= outputs:
            raise UserError(
                f"{model.tflite}: takes {input_shape} and gives {', '.join(sorted(outputs))}, which is not what "
                "model.json says; export the model again"
            )
        if input_size not in (None, (model.width, model.height)):
            raise UserError(
                f"{model.tflite}: its input has one size, {model.width} x {model.height}; leave the input size out"
            )
        self.width, self.height = model.width, model.height
        self._turn = threading.Lock()

    def candidates(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All boxes that the network looks at, before suppression.

        Args:
            pixels: (1, height, width, 3) float32, normalised as the model's description says.

        Returns:
            Boxes (N, 4) float32, (y_min, x_min, y_max, x_max) in 0..1 of the input, not clipped, and scores (N,).
        """
        with self._turn:
            output = self._run(image=pixels)
        return output["boxes"][0], output["scores"][0]
