"""Find faces in photographs with a small exported detector: LiteRT, OpenCV and numpy, no TensorFlow.

from detect_faces import Detector
faces = Detector("exported-models/demo").detect(cv2.imread("photo.jpg"))
faces.xyxy, faces.scores    # (N, 4) pixels, (N,)
"""

from typing import TYPE_CHECKING

from detect_faces.errors import UserError
from detect_faces.faces import Faces

if TYPE_CHECKING:
    from detect_faces.detector import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "Faces", "UserError", "__version__"]


def __getattr__(name: str):
    # The detector brings LiteRT and OpenCV with it; whoever only wants the value type does not wait for them.
    if name == "Detector":
        from detect_faces.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
