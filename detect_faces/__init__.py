"""Find faces in photographs with a small exported detector: LiteRT, OpenCV and numpy, no TensorFlow.

from detect_faces import Detector, read_image

detector = Detector("exported-models/demo")  # or "haar"
image = read_image("photo.jpg")              # (H, W, 3) uint8, BGR
faces = detector.detect(image)
faces.xyxy, faces.scores                     # (N, 4) pixels, (N,) best first
"""

from typing import TYPE_CHECKING

from detect_faces.errors import UserError
from detect_faces.faces import Faces

if TYPE_CHECKING:
    from detect_faces.detector import Detector
    from detect_faces.images import read_image

__version__ = "0.1.0"
__all__ = ["Detector", "Faces", "UserError", "__version__", "read_image"]


def __getattr__(name: str):
    # These bring OpenCV and more with them; whoever only wants the value type does not wait for it.
    if name == "Detector":
        from detect_faces.detector import Detector

        return Detector
    if name == "read_image":
        from detect_faces.images import read_image

        return read_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
