"""Network: the TFLite file of an exported model, gated, loaded and run on one input at a time."""

import threading

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from detect_faces.box_decoding import BoxDecoder, logit, sigmoid
from detect_faces.errors import UserError
from detect_faces.model import Model, signature
from detect_faces.tflite_file import gate

MARGIN, SURE = 0.01, 0.999  # of a logit up to that of a score of SURE, rounding of the score makes less than MARGIN


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
            input_size: (width, height) of the input, one of those that the description lists; None for its own.

        Raises:
            UserError: damaged, of another kind, with operations that the gate refuses, or not of that input size.
        """
        own = (model.width, model.height)
        self.width, self.height = input_size or own
        if (self.width, self.height) not in (own, *model.other_sizes):
            sizes = [f"{width} x {height}" for width, height in sorted({own, *model.other_sizes})]
            raise UserError(
                f"{model.tflite}: takes no input of {self.width} x {self.height}, only {' or '.join(sizes)}; "
                "python -m export --sizes makes it one that does, where its anchors allow it"
            )
        gate(model.tflite)
        try:
            # By path, so that LiteRT maps the file into memory instead of reading it.
            interpreter = Interpreter(model_path=str(model.tflite), num_threads=threads)
            self._run = interpreter.get_signature_runner(signature(None if input_size in (None, own) else input_size))
            input_shape = tuple(self._run.get_input_details()["image"]["shape"].tolist())
            outputs = self._run.get_output_details()
        except (ValueError, RuntimeError, KeyError, TypeError) as error:  # TypeError: a name that is no text
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{model.tflite}: not a face detector of this project: {reason}") from error
        wanted = {"encodings", "logits"} if model.decoding else {"boxes", "scores"}
        if input_shape != (1, self.height, self.width, 3) or not wanted <= outputs.keys():
            raise UserError(
                f"{model.tflite}: takes {input_shape} and gives {', '.join(sorted(outputs))}, which is not what "
                "model.json says; export the model again"
            )
        self._decode = None
        if model.decoding:
            # Before they are laid out: a wrong number of them could fill the memory.
            anchors = sum(map(len, model.decoding.grids[self.width, self.height]))
            shapes = [outputs[name]["shape"].tolist() for name in ("encodings", "logits")]
            if shapes != [[1, anchors, 4], [1, anchors]]:
                raise UserError(
                    f"{model.tflite}: gives encodings and logits of {shapes[0]} and {shapes[1]}, and model.json "
                    f"describes {anchors} anchors; export the model again"
                )
            self._decode = BoxDecoder(model.decoding, (self.width, self.height))
        self._turn = threading.Lock()

    def candidates(self, pixels: np.ndarray, above: float, least: float) -> tuple[np.ndarray, np.ndarray]:
        """The boxes whose score is above `above` and at least `least`, before suppression.

        Args:
            pixels: (1, height, width, 3) float32, normalised as the model's description says.

        Returns:
            Boxes (N, 4) float32, (y_min, x_min, y_max, x_max) in 0..1 of the input, not clipped, and scores (N,).
        """
        with self._turn:
            output = self._run(image=pixels)
        above, least = np.float32(above), np.float32(least)
        if not self._decode:
            scores = output["scores"][0]
            chosen = np.flatnonzero((scores > above) & (scores >= least))
            return output["boxes"][0][chosen], scores[chosen]
        # Of some ten thousand anchors few come near: only of those scores and boxes are computed.
        logits = output["logits"][0]
        chosen = np.flatnonzero(logits > logit(min(max(above, least), SURE)) - MARGIN)
        scores = sigmoid(logits[chosen])
        passed = (scores > above) & (scores >= least)
        chosen, scores = chosen[passed], scores[passed]
        return self._decode(output["encodings"][0], chosen), scores
