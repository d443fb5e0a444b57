"""COCO's metrics on cases whose figures can be told by hand."""

import numpy as np
import pytest

from detect_faces import Detections
from evaluation.coco import coco_metrics
from evaluation.precision_recall import precision_recall
from tools.annotations import AnnotatedImage


def annotated(boxes, **flags) -> AnnotatedImage:
    return AnnotatedImage("a.jpg", 1000, 1000, boxes, ("face",) * len(boxes), b"", flags)


def found(*boxes, scores=None) -> Detections:
    return Detections(list(boxes), scores or np.linspace(0.9, 0.1, len(boxes)))


SMALL, MEDIUM, LARGE = [0, 0, 20, 20], [100, 100, 150, 150], [300, 300, 500, 500]


def test_perfect(capfd):
    metrics = coco_metrics([annotated([SMALL, MEDIUM, LARGE])], [found(SMALL, MEDIUM, LARGE)])
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert capfd.readouterr() == ("", "")  # pycocotools talks a lot by itself


def test_nothing_detected():
    metrics = coco_metrics([annotated([SMALL])], [found()])
    assert metrics["AP"] == metrics["AP50"] == metrics["AR"] == metrics["AP_small"] == 0
    assert metrics["AP_large"] is None  # there is no large face


@pytest.mark.parametrize("images", [[], [annotated([])]])
def test_no_faces_no_figures(images):
    assert set(coco_metrics(images, [found(SMALL)] * len(images)).values()) == {None}


def test_half_the_faces_found():
    """101 recall points, those up to one half have precision 1: 51 / 101."""
    metrics = coco_metrics([annotated([SMALL, LARGE])], [found(LARGE)])
    assert metrics["AP50"] == pytest.approx(51 / 101)
    assert [metrics[name] for name in ("AP_small", "AP_large", "AR")] == pytest.approx([0, 1, 0.5])


def test_iou_thresholds():
    """IoU 180 / 220 = .818: counts for .50 to .80, 7 of 10 thresholds."""
    metrics = coco_metrics([annotated([LARGE])], [found([320, 300, 520, 500])])
    assert [metrics["AP50"], metrics["AP75"]] == pytest.approx([1, 1])
    assert metrics["AP"] == pytest.approx(0.7)


@pytest.mark.parametrize("flag", ["ignore", "group_of"])
def test_boxes_that_do_not_count(flag):
    image = annotated([SMALL, LARGE], **{flag: [0, 1]})
    # Two detections inside the large one are no mistakes, though they score best; nobody has to find it either.
    metrics = coco_metrics([image], [found([310, 310, 390, 390], [400, 400, 450, 450], SMALL)])
    assert metrics["AP50"] == pytest.approx(1) and metrics["AP_large"] is None
    assert coco_metrics([image], [found(SMALL)])["AP50"] == pytest.approx(1)


def test_crowds_are_not_cut():
    crowd = [[x, y, x + 12, y + 12] for x in range(0, 600, 20) for y in range(0, 200, 20)]  # 300 faces
    metrics = coco_metrics([annotated(crowd)], [found(*crowd)])
    assert [metrics["AR"], metrics["AP50"]] == pytest.approx([1, 1])
    cut = coco_metrics([annotated(crowd)], [found(*crowd)], max_detections=100)
    assert cut["AR"] == pytest.approx(1 / 3)


def test_ap50_is_the_area_under_our_curve():
    """The curve of precision_recall, interpolated at 101 points of recall as COCO does, gives pycocotools' AP50."""
    rng = np.random.default_rng(3)
    images, detections = [], []
    for _ in range(30):
        boxes = np.hstack([corner := rng.uniform(0, 400, (20, 2)), corner + rng.uniform(20, 60, (20, 2))])
        moved = np.vstack([boxes[:15] + rng.normal(0, 5, (15, 4)), boxes[10:] + 150])
        images.append(annotated(boxes, ignore=rng.integers(0, 2, 20)))
        detections.append(Detections(moved, rng.permutation(len(moved)) / 100 + rng.uniform(0, 0.01, len(moved))))
    curve = precision_recall(images, detections)
    best_from_here = np.maximum.accumulate(curve.precision[::-1])[::-1]
    at = np.searchsorted(curve.recall, np.linspace(0, 1, 101))
    area = np.append(best_from_here, 0)[at].mean()
    assert 0.1 < area < 0.9
    assert coco_metrics(images, detections)["AP50"] == pytest.approx(area, abs=1e-9)
