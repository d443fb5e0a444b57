"""Draws detections into a picture."""

import cv2
import numpy as np

from detect_faces.faces import Faces

COLOUR = (80, 220, 60)  # BGR; a green that skin and clothes rarely have
DARK = (20, 40, 10)  # around the lines and for the text, so that both are seen on any background


def draw(image_bgr: np.ndarray, faces: Faces, show_scores: bool = True) -> np.ndarray:
    """A copy of the image with a box and a score for each face; width of line and size of font follow the image's size.

    Args:
        image_bgr: (H, W, 3) uint8.
        faces: in pixels of the image.
        show_scores: write the score on each face that has room for it.

    Returns:
        (H, W, 3) uint8.
    """
    picture = image_bgr.copy()
    side = max(picture.shape[:2])
    line = max(1, round(side / 400))
    boxes = np.rint(faces.xyxy).astype(int)
    for x_min, y_min, x_max, y_max in boxes:
        if line > 1:
            cv2.rectangle(picture, (x_min, y_min), (x_max, y_max), DARK, line + max(2, line // 2), cv2.LINE_AA)
        cv2.rectangle(picture, (x_min, y_min), (x_max, y_max), COLOUR, line, cv2.LINE_AA)
    if show_scores:
        # Best score last, so that its label lies on top.
        for box, score in zip(boxes[::-1], faces.scores[::-1], strict=True):
            _draw_score(picture, box, f"{score:.2f}", line)
    return picture


def _draw_score(picture: np.ndarray, box: np.ndarray, text: str, line: int) -> None:
    font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(line * 0.7))
    text_height = max(9, 6 * line)  # pixels of a digit
    scale = cv2.getFontScaleFromHeight(font, text_height, stroke)
    (width, height), _ = cv2.getTextSize(text, font, scale, stroke)
    x_min, y_min, x_max, _ = box.tolist()
    if width > 1.5 * (x_max - x_min):  # in a crowd the labels would hide the faces
        return
    margin = max(2, height // 4)
    # Above the box, or inside it where the picture ends.
    y_label = y_min - height - 2 * margin if y_min >= height + 2 * margin else y_min
    x_label = min(x_min, picture.shape[1] - width - 2 * margin)
    corner = (x_label + width + 2 * margin, y_label + height + 2 * margin)
    cv2.rectangle(picture, (x_label, y_label), corner, COLOUR, cv2.FILLED)
    cv2.putText(picture, text, (x_label + margin, y_label + height + margin), font, scale, DARK, stroke, cv2.LINE_AA)
