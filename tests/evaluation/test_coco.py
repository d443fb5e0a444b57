"""COCO's metrics on cases whose figures can be told by hand, and against pycocotools on random ones."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect_faces import Faces
from evaluation.coco import coco_metrics
from evaluation.matched_set import match_set
from evaluation.precision_recall import curve_of
from tools.annotations import AnnotatedImage


def annotated(boxes, **flags) -> AnnotatedImage:
    return AnnotatedImage("a.jpg", 1000, 1000, boxes, ("face",) * len(boxes), b"", flags)


def found(*boxes, scores=None) -> Faces:
    return Faces(list(boxes), scores or np.linspace(0.9, 0.1, len(boxes)))


SMALL, MEDIUM, LARGE = [0, 0, 20, 20], [100, 100, 150, 150], [300, 300, 500, 500]


def test_perfect(capfd):
    metrics = coco_metrics([annotated([SMALL, MEDIUM, LARGE])], [found(SMALL, MEDIUM, LARGE)])
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert capfd.readouterr() == ("", "")  # as pycocotools doesn't


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
    """The curve of precision_recall, interpolated at 101 points of recall as COCO does, is COCO's AP50."""
    rng = np.random.default_rng(3)
    images, detections = [], []
    for _ in range(30):
        boxes = np.hstack([corner := rng.uniform(0, 400, (20, 2)), corner + rng.uniform(20, 60, (20, 2))])
        moved = np.vstack([boxes[:15] + rng.normal(0, 5, (15, 4)), boxes[10:] + 150])
        images.append(annotated(boxes, ignore=rng.integers(0, 2, 20)))
        detections.append(Faces(moved, rng.permutation(len(moved)) / 100 + rng.uniform(0, 0.01, len(moved))))
    curve = curve_of(match_set(images, detections))
    best_from_here = np.maximum.accumulate(curve.precision[::-1])[::-1]
    at = np.searchsorted(curve.recall, np.linspace(0, 1, 101))
    area = np.append(best_from_here, 0)[at].mean()
    assert 0.1 < area < 0.9
    assert coco_metrics(images, detections)["AP50"] == pytest.approx(area, abs=1e-9)


# ---- pycocotools as the oracle ---------------------------------------------------------------------------------------


def by_pycocotools(images, detections, max_detections) -> dict[str, float | None]:
    """The same figures, from COCO's own code."""
    true, found = (
        {"images": [{"id": i} for i in range(1, len(images) + 1)], "categories": [{"id": 1}], "annotations": []}
        for _ in range(2)
    )

    def add(dataset, image_id, box, **more):
        x_min, y_min, x_max, y_max = np.asarray(box, np.float64).tolist()
        bbox = [x_min, y_min, x_max - x_min, y_max - y_min]
        more |= {"id": len(dataset["annotations"]) + 1, "image_id": image_id, "category_id": 1}
        dataset["annotations"].append({"bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0} | more)

    for image_id, (image, faces) in enumerate(zip(images, detections, strict=True), 1):
        ignored = image.ignore | (image.flags.get("group_of", np.zeros(len(image))) == 1)
        for box, crowd in zip(image.xyxy, ignored, strict=True):
            add(true, image_id, box, iscrowd=int(crowd))
        for box, score in zip(faces.xyxy, faces.scores, strict=True):
            add(found, image_id, box, score=float(score))
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for dataset in (true, found):
            coco = COCO()
            coco.dataset = dataset
            coco.createIndex()
            sets.append(coco)
        evaluation = COCOeval(*sets, "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][:, :, 0, :, 0], evaluation.eval["recall"][:, 0, :, 0]

    def mean(values):
        return float(values[values > -1].mean()) if (values > -1).any() else None

    sizes = {"": 0, "_small": 1, "_medium": 2, "_large": 3}
    figures = {f"AP{name}": mean(precision[..., i]) for name, i in sizes.items()}
    figures |= {"AP50": mean(precision[0, :, 0]), "AP75": mean(precision[5, :, 0])}
    return figures | {f"AR{name}": mean(recall[:, i]) for name, i in sizes.items()}


def random_set(seed: int, count: int, most: int, decimals: int):
    """Images of 0 to `most` boxes with good, worse and stray detections; scores of few decimals are often equal."""
    draw = np.random.default_rng(seed)
    images, detections = [], []
    for _ in range(count):
        n = int(draw.choice([0, 1, 3, most]))
        corner, size = draw.uniform(0, 900, (n, 2)), np.exp(draw.uniform(1, 5, (n, 2)))
        if draw.random() < 0.3:
            corner, size = np.rint(corner), np.rint(size)  # equal IoU
        boxes = np.hstack([corner, corner + size])
        flags = {"ignore": draw.random(n) < 0.2, "group_of": draw.choice([-1, 0, 1], n, p=[0.1, 0.8, 0.1])}
        images.append(annotated(boxes, **flags))
        m = int(draw.choice([0, 2, 3 * most]))
        corner, size = draw.uniform(0, 900, (m, 2)), np.exp(draw.uniform(1, 5, (m, 2)))
        moved = np.hstack([corner, corner + size])
        if n:
            near = draw.random(m) < 0.7
            moved[near] = boxes[draw.integers(0, n, near.sum())] + draw.choice([0, 1, 4]) * draw.normal(
                size=(near.sum(), 4)
            )
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        detections.append(Faces(moved, np.round(draw.random(m), decimals)))
    return images, detections


@pytest.mark.parametrize("max_detections", [100, 1000])
@pytest.mark.parametrize("most, decimals", [(5, 6), (5, 1), (40, 2), (150, 3)])
@pytest.mark.parametrize("count", [1, 12])
def test_as_pycocotools(count, most, decimals, max_detections):
    figures = {}
    for seed in range(3):
        images, detections = random_set(seed, count, most, decimals)
        metrics = coco_metrics(images, detections, max_detections)
        expected = by_pycocotools(images, detections, max_detections)
        assert metrics == pytest.approx(expected, abs=1e-6), seed
        figures |= {name: value for name, value in metrics.items() if value}
    assert count == 1 or figures["AP"] > 0.001  # there was something to compare


@pytest.mark.parametrize("detections", [[], [Faces.empty()] * 3], ids=["no images", "no detections"])
def test_as_pycocotools_without_anything(detections):
    images = [annotated([SMALL, LARGE], ignore=[0, 1]), annotated([]), annotated([MEDIUM], group_of=[1])]
    images = images[: len(detections)]
    assert coco_metrics(images, detections) == by_pycocotools(images, detections, 1000)


def test_images_without_their_detections_are_a_mistake():
    with pytest.raises(ValueError, match="2 images but the detections of 1"):
        coco_metrics([annotated([SMALL])] * 2, [found(SMALL)])
