"""Open Images' average precision: cases by hand, and the OD API's own evaluators as the oracle."""

from importlib import import_module

import numpy as np
import pytest

from detect_faces import Faces
from evaluation.open_images_ap import VARIANTS, open_images_ap
from tests.evaluation.scenes import annotated, found, random_set

FACE, GROUP = [0, 0, 20, 20], [100, 100, 300, 200]
IN_GROUP, HALF_IN, THIRD_IN = [110, 110, 130, 130], [90, 110, 110, 130], [85, 110, 108, 130]
ELSEWHERE = [500, 500, 520, 520]


@pytest.mark.parametrize(
    ("detections", "v2", "challenge"),
    [
        ([], 0, 0),
        ([FACE], 1, 1 / 2),  # the Challenge's group is missed
        ([IN_GROUP, FACE], 1, 1),
        ([IN_GROUP, [140, 110, 160, 130], FACE], 1, 1),  # the second one in the group does not count
        ([HALF_IN, FACE], 1, 1),
        ([THIRD_IN, FACE], 1 / 2, 1 / 4),
        ([FACE, FACE], 1, 1 / 2),
        ([ELSEWHERE, FACE, IN_GROUP], 1 / 2, 2 / 3),  # precision 1/2 in V2; 1/2 and then 2/3 in the Challenge
    ],
)
def test_by_hand(detections, v2, challenge):
    image = annotated([FACE, GROUP], group_of=[0, 1])
    assert open_images_ap([image], [found(*detections)]) == pytest.approx({"V2": v2, "Challenge": challenge})


def test_a_box_to_be_ignored():
    image = annotated([FACE, ELSEWHERE], ignore=[0, 1])
    assert open_images_ap([image], [found(ELSEWHERE, ELSEWHERE, FACE)])["V2"] == pytest.approx(1)
    unknown = annotated([FACE], group_of=[-1])  # no group
    assert open_images_ap([unknown], [found(FACE)])["V2"] == pytest.approx(1)


def test_nothing():
    assert open_images_ap([], []) == {"V2": None, "Challenge": None}
    assert open_images_ap([annotated([])], [found(FACE)]) == {"V2": None, "Challenge": None}
    assert open_images_ap([annotated([FACE])], [found()]) == {"V2": 0, "Challenge": 0}
    only_group = annotated([GROUP], group_of=[1])
    assert open_images_ap([only_group], [found(IN_GROUP)]) == {"V2": None, "Challenge": 1}
    with pytest.raises(ValueError, match="1 images but the detections of 0"):
        open_images_ap([only_group], [])


def by_od_api(images, detections: list[Faces], groups_count: bool) -> float:
    import_module("training.od_api")  # first: it makes the API run on today's libraries
    od = import_module("object_detection.utils.object_detection_evaluation")
    evaluator = od.OpenImagesDetectionEvaluator([{"id": 1, "name": "face"}], group_of_weight=float(groups_count))
    for number, (image, faces) in enumerate(zip(images, detections, strict=True)):
        truth = {
            "groundtruth_boxes": image.xyxy[:, [1, 0, 3, 2]],
            "groundtruth_classes": np.ones(len(image), int),
            "groundtruth_group_of": image.flags["group_of"] == 1,
        }
        evaluator.add_single_ground_truth_image_info(number, truth)
        result = {
            "detection_boxes": faces.xyxy[:, [1, 0, 3, 2]].astype(np.float64),
            "detection_scores": faces.scores,
            "detection_classes": np.ones(len(faces), int),
        }
        evaluator.add_single_detected_image_info(number, result)
    return next(value for name, value in evaluator.evaluate().items() if "mAP" in name)


@pytest.mark.slow
def test_as_the_od_api():
    figures = []
    for seed in range(12):
        images, detections = random_set(seed, most=25, decimals=6, group_of=0.2)
        expected = {name: by_od_api(images, detections, count) for name, count in VARIANTS.items()}
        assert open_images_ap(images, detections) == pytest.approx(expected, abs=1e-12), seed
        figures += expected.values()
    assert 0.1 < max(figures) < 0.98
