"""Boxes of annotations: what can be wrong with one, and cutting them to their image."""

import math
from dataclasses import replace

import numpy as np

from tools.annotations import AnnotatedImage
from tools.report import Report


def fault(xmin: float, ymin: float, xmax: float, ymax: float) -> str:
    """What makes four numbers no box, in a few words; empty for a good one. Zero size is no fault."""
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
        return "a side is not a finite number"
    if xmax < xmin or ymax < ymin:
        return "inverted: its right or lower side comes before its left or upper one"
    return ""


def clip_boxes(image: AnnotatedImage, report: Report) -> AnnotatedImage:
    """The image with its boxes cut to it, as training and the OD API's evaluation need them.

    A box without area, or with none left, is dropped; `report` counts what is cut and what is dropped.
    """
    edge = np.array([image.width, image.height] * 2, np.float64)
    sides = image.xyxy[:, 2:] - image.xyxy[:, :2]
    if (image.xyxy >= 0).all() and (image.xyxy <= edge).all() and (sides > 1).all():  # as nearly always
        return image
    clipped = np.clip(image.xyxy, 0, edge)
    # Records hold float32, so a box counts as empty when it is so in float32.
    xmin, ymin, xmax, ymax = (clipped / edge).astype(np.float32).T
    has_area = (xmax > xmin) & (ymax > ymin)
    had_area = (image.xyxy[:, 2:] > image.xyxy[:, :2]).all(axis=1)
    report.clipped += int((has_area & (clipped != image.xyxy).any(axis=1)).sum())
    for reason, boxes in [("zero size", ~had_area), ("outside the image", had_area & ~has_area)]:
        if number := int(boxes.sum()):
            report.dropped[reason] += number
    return replace(
        image,
        xyxy=clipped[has_area],
        classes=tuple(name for name, keep in zip(image.classes, has_area, strict=True) if keep),
        flags={name: values[has_area] for name, values in image.flags.items()},
    )
