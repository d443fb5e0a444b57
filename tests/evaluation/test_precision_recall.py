"""Matching, precision and recall: cases by hand, and pycocotools as the oracle for many at once."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect_faces import Faces
from evaluation.matched_set import match_set
from evaluation.matching import FALSE, IGNORED, TRUE, match
from evaluation.precision_recall import curve_of
from tools.annotations import AnnotatedImage

FACE = [10, 10, 30, 30]
SHIFTED = [14, 10, 34, 30]  # IoU with FACE 16 / 24
HALF = [20, 10, 40, 30]  # IoU with FACE 1 / 3
ELSEWHERE = [60, 60, 80, 80]


def annotated(boxes, **flags) -> AnnotatedImage:
    return AnnotatedImage("a.jpg", 100, 100, boxes, ("face",) * len(boxes), b"", flags)


def found(*boxes) -> Faces:
    """Detections with scores 0.9, 0.8, ..."""
    return Faces(list(boxes), [0.9 - i / 10 for i in range(len(boxes))])


@pytest.mark.parametrize(
    ("boxes", "flags", "detections", "expected"),
    [
        ([], {}, [], []),
        ([], {}, [FACE], [FALSE]),
        ([FACE], {}, [], []),
        ([FACE], {}, [FACE], [TRUE]),
        ([FACE], {}, [HALF], [FALSE]),
        ([FACE], {}, [SHIFTED, FACE], [TRUE, FALSE]),  # the better score takes it, not the better box
        ([FACE, SHIFTED], {}, [FACE, FACE], [TRUE, TRUE]),  # the second takes what is left
        ([FACE], {"ignore": [1]}, [FACE, SHIFTED, ELSEWHERE], [IGNORED, IGNORED, FALSE]),
        ([FACE], {"group_of": [1]}, [FACE], [IGNORED]),
        ([FACE], {"group_of": [-1]}, [FACE], [TRUE]),  # unknown is not a group
        ([FACE, FACE], {"ignore": [1, 0]}, [FACE, FACE], [TRUE, IGNORED]),  # a face that counts comes first
        ([[0, 0, 90, 90]], {"ignore": [1]}, [FACE], [IGNORED]),  # lies in it, though the IoU is small
    ],
)
def test_match(boxes, flags, detections, expected):
    assert match(annotated(boxes, **flags), found(*detections))[0].tolist() == expected


def test_match_at_another_iou():
    assert match(annotated([FACE]), found(HALF), iou=0.3)[0].tolist() == [TRUE]


def test_figures_at_scores():
    images = [annotated([FACE, ELSEWHERE]), annotated([]), annotated([FACE])]
    detections = [found(FACE), found(FACE), found(ELSEWHERE, FACE)]  # scores .9, .9, (.9, .8)
    curve = curve_of(match_set(images, detections))
    assert curve.faces == 3
    np.testing.assert_allclose(curve.scores, [0.9, 0.8], atol=1e-6)
    assert (curve.true_positives.tolist(), curve.false_positives.tolist()) == ([1, 2], [2, 2])
    np.testing.assert_allclose(curve.precision, [1 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 3, 2 / 3])
    assert curve.at(0.5) == pytest.approx(
        {"score": 0.5, "precision": 1 / 2, "recall": 2 / 3, "f1": 4 / 7}
        | {"true_positives": 2, "false_positives": 2, "missed": 1}
    )
    assert curve.at(0.85)["true_positives"] == 1
    assert curve.at(0.95)["precision"] is None and curve.at(0.95)["recall"] == 0
    assert curve.best_f1_score() == pytest.approx(0.8)


def test_nothing_at_all():
    for images, detections in [([], []), ([annotated([])], [found()])]:
        curve = curve_of(match_set(images, detections))
        assert curve.best_f1_score() is None
        assert curve.at(0.5)["precision"] is None and curve.at(0.5)["recall"] is None and curve.at(0.5)["f1"] is None


def coco_hits(image: AnnotatedImage, detections: Faces) -> list[int]:
    """How COCOeval itself matches at IoU .50."""

    def coco(boxes, **more):
        boxes = [box.tolist() for box in boxes]
        dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": []}
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            extra = {key: values[i] for key, values in more.items()}
            annotation = {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            dataset["annotations"].append(annotation | {"area": (x1 - x0) * (y1 - y0), "iscrowd": 0} | extra)
        result = COCO()
        result.dataset = dataset
        result.createIndex()
        return result

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            coco(image.xyxy, iscrowd=image.ignore.astype(int).tolist()),
            coco(detections.xyxy, score=detections.scores.tolist()),
            "bbox",
        )
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
    result = evaluation.evalImgs[0]
    if result is None:
        return []
    hit, ignored = result["dtMatches"][0] > 0, result["dtIgnore"][0].astype(bool)
    return np.where(ignored, IGNORED, np.where(hit, TRUE, FALSE)).tolist()


@st.composite
def scenes(draw):
    def boxes(n):
        corners = draw(arrays(np.int32, (n, 2), elements=st.integers(0, 8)))
        sizes = draw(arrays(np.int32, (n, 2), elements=st.integers(1, 8)))
        return np.hstack([corners, corners + sizes]).astype(float)

    n, k = draw(st.integers(0, 8)), draw(st.integers(0, 12))
    ignore = draw(arrays(np.int64, n, elements=st.integers(0, 1)))
    return annotated(boxes(n), ignore=ignore), Faces(boxes(k), np.linspace(0.9, 0.1, k))


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_matches_as_coco_does(scene):
    assert match(*scene)[0].tolist() == coco_hits(*scene)
