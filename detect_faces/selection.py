"""Which of the faces of an image are wanted."""

from argparse import Namespace

import numpy as np

from detect_faces.faces import Faces


def selected(faces: Faces, options: Namespace) -> np.ndarray:
    """Positions (K,) of the faces that --min-size, --largest and --max-faces leave, best score first."""
    index = np.arange(len(faces))
    if options.min_size:
        index = index[(faces.sizes[index] >= options.min_size).all(axis=1)]
    if options.largest and len(index):
        index = index[[np.argmax(faces.sizes[index].prod(axis=1))]]
    return index[: options.max_faces] if options.max_faces else index
