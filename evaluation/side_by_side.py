"""A picture of what several detectors find in the same image, side by side."""

from collections.abc import Mapping

import cv2
import numpy as np

from detect_faces import Faces
from detect_faces.draw import draw

PANEL_SIDE = 900  # pixels, of the longer side
TITLE_HEIGHT = 44
GAP = 8


def side_by_side(image_bgr: np.ndarray, found: Mapping[str, Faces]) -> np.ndarray:
    """One panel for each detector, under its title: {title: its detections in pixels of the image}.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    height, width = image_bgr.shape[:2]
    scale = min(1.0, PANEL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)
    panels = []
    for title, faces in found.items():
        picture = draw(small, Faces(faces.xyxy * scale, faces.scores))
        panels += [
            np.vstack([_title(title, size[0]), picture]),
            np.full((size[1] + TITLE_HEIGHT, GAP, 3), 255, np.uint8),
        ]
    return np.hstack(panels[:-1])


def _title(text: str, width: int) -> np.ndarray:
    strip = np.full((TITLE_HEIGHT, width, 3), 255, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.75
    text_width = cv2.getTextSize(text, font, scale, 1)[0][0]
    scale *= min(1.0, (width - 12) / text_width)
    cv2.putText(strip, text, (6, 29), font, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return strip
