"""MediaPipe's face detector (BlazeFace): `mediapipe=blaze_face_short_range.tflite` with today's package, which has no
model of its own; `mediapipe=short` or `full` with the packages up to 0.10.21, whose `solutions` carry both.

The old packages give no score below 0.5, whatever is asked for (seen with 0.10.21), so that their curve is short;
1.2.3 does.
"""

import cv2
import numpy as np

from detect_faces import Faces, UserError
from evaluation.detectors import model_file, needs

LOWEST_SCORE = 0.01


class MediaPipe:
    min_score = 0.5

    def __init__(self, model: str | None):
        mediapipe = needs("mediapipe", "mediapipe")
        if hasattr(mediapipe, "solutions"):
            kinds = {"short": 0, "full": 1}
            if (model or "full") not in kinds:
                raise UserError(f"mediapipe={model}: mediapipe {mediapipe.__version__} takes short or full")
            face_detection = mediapipe.solutions.face_detection
            net = face_detection.FaceDetection(LOWEST_SCORE, kinds[model or "full"])
            self.name, self.files = f"MediaPipe {model or 'full'} range", ()
            self._relative = lambda rgb: _of_solutions(net.process(rgb).detections or [])
        else:
            path = model_file("mediapipe", model, ".tflite")
            vision, base = mediapipe.tasks.vision, mediapipe.tasks.BaseOptions
            options = vision.FaceDetectorOptions(
                base_options=base(model_asset_path=str(path)), min_detection_confidence=LOWEST_SCORE
            )
            try:
                net = vision.FaceDetector.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise UserError(f"{path}: MediaPipe cannot use it: {str(error).strip().splitlines()[0]}") from error
            image, form = mediapipe.Image, mediapipe.ImageFormat.SRGB
            self.name, self.files = f"MediaPipe {path.stem}", (path,)
            self._relative = lambda rgb: _of_tasks(net.detect(image(form, rgb)).detections, rgb)
        self.settings = f"mediapipe {mediapipe.__version__}, threads as it likes"

    def detect(self, image_bgr: np.ndarray, min_score: float = 0.0) -> Faces:
        height, width = image_bgr.shape[:2]
        rows = np.array(self._relative(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)), np.float64).reshape(-1, 5)
        xyxy = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]) * [width, height, width, height]
        return Faces(xyxy, rows[:, 4]).at_least(min_score)


def _of_solutions(detections: list) -> list[tuple]:
    """(x, y, width, height, score) of each, in 0..1 of the image."""
    boxes = [(each.location_data.relative_bounding_box, each.score[0]) for each in detections]
    return [(box.xmin, box.ymin, box.width, box.height, score) for box, score in boxes]


def _of_tasks(detections: list, rgb: np.ndarray) -> list[tuple]:
    """The same; these come in pixels."""
    height, width = rgb.shape[:2]
    boxes = [(each.bounding_box, each.categories[0].score) for each in detections]
    return [(b.origin_x / width, b.origin_y / height, b.width / width, b.height / height, s) for b, s in boxes]


def load(model: str | None, threads: int) -> MediaPipe:
    """`model` as above; MediaPipe chooses its number of threads itself."""
    return MediaPipe(model)
