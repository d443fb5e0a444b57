"""dlib's frontal face detector: HOG features and linear classifiers; `dlib_hog=1` enlarges the image once (default)."""

import cv2
import numpy as np

from detect_faces import Faces, UserError
from evaluation.detectors import needs

LOWEST = -1.0  # of its own scores, where 0 is the threshold that a user gets


class DlibHog:
    """dlib's own score s is any real number; as a score it goes through 1 / (1 + exp(-s)), so that 0 becomes 0.5."""

    name = "dlib HOG"
    min_score = 0.5
    files = ()  # inside the package

    def __init__(self, upsample: str):
        if upsample not in ("0", "1", "2"):
            raise UserError(f"dlib_hog={upsample}: how often to double the image: 0, 1 or 2")
        dlib = needs("dlib", "dlib-bin")
        self._detector = dlib.get_frontal_face_detector()
        self._upsample = int(upsample)
        self.settings = f"dlib {dlib.__version__} get_frontal_face_detector, upsampled {upsample} times, one thread"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        threshold = 0.0 if min_score >= self.min_score else LOWEST
        rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        rectangles, scores, _ = self._detector.run(rgb, self._upsample, threshold)
        boxes = [[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rectangles]  # its corners are pixels
        return Faces(boxes, 1 / (1 + np.exp(-np.array(scores, np.float64)))).at_least(min_score)


def load(model: str | None, threads: int) -> DlibHog:
    """`model` is how often the image is doubled in size, for smaller faces; dlib has no setting for threads."""
    return DlibHog(model or "1")
