"""WIDER FACE's protocol: cases by hand, a slow literal second implementation, and the official lists where they are."""

import numpy as np
import pytest
from scipy.io import savemat

from detect_faces import Faces, UserError
from evaluation.wider_face_lists import WiderFaces, by_height, official
from evaluation.wider_face_protocol import wider_face_ap
from tests.evaluation.scenes import annotated, found, random_set

EASY, MEDIUM, HARD, TINY = [0, 0, 60, 59], [200, 0, 240, 39], [400, 0, 420, 19], [600, 0, 606, 8]


def ap(images, detections):
    return wider_face_ap(by_height(images), detections)


def figures(easy, medium, hard):
    return pytest.approx({"easy": easy, "medium": medium, "hard": hard})


def test_all_found():
    image = annotated([EASY, MEDIUM, HARD, TINY])
    assert ap([image], [found(EASY, MEDIUM, HARD, TINY)]) == figures(1, 1, 1)


def test_faces_that_a_setting_does_not_want_are_no_mistake():
    """Those below scores best: false alarms, were they not ignored."""
    image = annotated([EASY, MEDIUM, HARD, TINY])
    assert ap([image], [found(TINY, HARD, EASY)]) == figures(1, 1 / 2, 2 / 3)


def test_false_alarms_by_score():
    """Precision 1/2 when the face is found; below it nothing counts."""
    assert ap([annotated([EASY])], [found([500, 500, 600, 600], EASY)])["easy"] == pytest.approx(1 / 2)
    assert ap([annotated([EASY])], [found(EASY, [500, 500, 600, 600])])["easy"] == pytest.approx(1)


def test_a_second_detection_of_a_face_is_a_false_alarm():
    other = [300, 300, 400, 400]
    result = ap([annotated([EASY, other])], [found(EASY, EASY, other)])
    assert result["easy"] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_detection_belongs_to_one_box_even_if_that_does_not_count():
    """Two boxes over each other: it overlaps the ignored one most, and so finds nothing, unlike in COCO's matching."""
    image = annotated([[0, 0, 100, 100], [0, 0, 100, 90]], ignore=[0, 1])
    assert ap([image], [found([0, 0, 100, 91])])["easy"] == 0
    assert ap([image], [found([0, 0, 100, 96])])["easy"] == pytest.approx(1)


def test_sides_include_the_last_pixel():
    """11 x 11 and 11 x 6 pixels where continuous boxes have 10 x 10 and 10 x 5: IoU .545 in place of .5."""
    image = annotated([[0, 0, 100, 14]])  # hard: higher than 10
    for bottom, expected in [(7, 1), (6, 0)]:  # 8/15 = .53 although 7/14 = .5; 7/15 = .47
        assert ap([image], [found([0, 0, 100, bottom])])["hard"] == pytest.approx(expected), bottom
    image = annotated([[0, 0, 100, 12]])
    assert ap([image], [found([0, 0, 100, 5.6])])["hard"] == pytest.approx(1)  # 6.6/13 = .508; 5.6/12 = .467


def test_scores_are_stretched_over_the_set_and_come_in_a_thousand_steps():
    """.5 and .4999 are one step apart when stretched to 1 and 0; but not beside a score of 0: then they are equal."""
    boxes = [found([500, 500, 600, 600], EASY, scores=[0.5, 0.4999])]
    assert ap([annotated([EASY])], boxes)["easy"] == pytest.approx(1 / 2)
    wide = [found(EASY, [500, 500, 600, 600], [700, 700, 750, 750], scores=[0.5, 0.4999, 0.0])]
    assert ap([annotated([EASY])], wide)["easy"] == pytest.approx(1 / 2)  # precision at the step that has both
    narrow = [found(EASY, [500, 500, 600, 600], scores=[0.5, 0.4999])]
    assert ap([annotated([EASY])], narrow)["easy"] == pytest.approx(1)


def test_images_without_faces_give_false_alarms():
    images, detections = [annotated([EASY]), annotated([])], [found(EASY, scores=[0.5]), found(HARD, scores=[0.9])]
    assert ap(images, detections) == figures(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("images", "detections", "expected"),
    [
        ([], [], None),
        ([annotated([])], [found()], None),
        ([annotated([])], [found(EASY)], None),
        ([annotated([EASY])], [found()], 0.0),
        ([annotated([EASY], ignore=[1])], [found(EASY)], None),
        ([annotated([EASY], group_of=[1])], [found(EASY)], None),
        ([annotated([EASY])], [found(EASY, scores=[0.3])], 1.0),  # one score: nothing to stretch
        ([annotated([EASY])], [found(EASY, [500, 500, 600, 600], scores=[0.3, 0.3])], 0.5),
        ([annotated([EASY])], [found([-20, -5, 60, 59], [1200, 1200, 1300, 1300])], 1.0),  # beyond the edges
    ],
)
def test_edges(images, detections, expected):
    result = ap(images, detections)["easy"]
    assert result is None if expected is None else result == pytest.approx(expected)


def test_as_many_detections_as_images():
    with pytest.raises(ValueError, match="1 images but the detections of 0"):
        ap([annotated([EASY])], [])


# ---- A second implementation, face by face and score by score, from the rules alone ----------------------------------


def literally(faces: list[WiderFaces], detections: list[Faces], setting: str) -> float:
    """The protocol word by word, in plain loops over Python numbers."""
    everything = [float(score) for found in detections for score in found.scores]
    lowest, highest = min(everything), max(everything)
    curve = [[0, 0] for _ in range(1000)]  # detections that count, faces found
    total = 0
    for true, these in zip(faces, detections, strict=True):
        wanted = true.wanted[setting]
        total += sum(bool(value) for value in wanted)
        state = ["new"] * len(wanted)
        rows = []  # score, counts, faces found so far
        for box, score in zip(these.xyxy.tolist(), these.scores.tolist(), strict=True):
            best, where = -1.0, None
            for row, face in enumerate(true.xyxy.tolist()):
                width = min(box[2], face[2]) - max(box[0], face[0]) + 1
                height = min(box[3], face[3]) - max(box[1], face[1]) + 1
                common = width * height if width > 0 and height > 0 else 0.0
                areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (box, face)]
                iou = common / (sum(areas) - common)
                if iou > best:
                    best, where = iou, row
            counts = True
            if best >= 0.5:
                if not wanted[where]:
                    counts = False
                else:
                    state[where] = "found"
            rows.append(((score - lowest) / (highest - lowest), counts, state.count("found")))
        for number in range(1, 1001):
            above = [row for row in rows if row[0] >= 1 - number / 1000]
            if above:
                curve[number - 1][0] += sum(counts for _, counts, _ in above)
                curve[number - 1][1] += above[-1][2]
    recall = [0.0, *(hits / total for _, hits in curve), 1.0]
    precision = [0.0, *(hits / count if count else 0.0 for count, hits in curve), 0.0]
    for at in range(len(precision) - 2, -1, -1):
        precision[at] = max(precision[at], precision[at + 1])
    return sum((recall[at] - recall[at - 1]) * precision[at] for at in range(1, len(recall)))


@pytest.mark.parametrize("decimals", [6, 2])
@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_as_the_protocol_says(seed, decimals):
    images, detections = random_set(seed, count=8, most=12, decimals=decimals, ignore=0.2)
    faces = by_height(images)
    expected = {setting: literally(faces, detections, setting) for setting in ("easy", "medium", "hard")}
    assert wider_face_ap(faces, detections) == pytest.approx(expected, abs=1e-12)
    assert 0.02 < expected["hard"] < 0.98


# ---- Lists -----------------------------------------------------------------------------------------------------------


def cells(*values):
    result = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        result[row, 0] = value
    return result


@pytest.fixture
def lists(tmp_path):
    """Two events: one image with two faces, and one without any, as WIDER FACE writes it."""
    for setting, rows in {"easy": [], "medium": [[2]], "hard": [[1], [2]]}.items():
        content = {
            "event_list": cells("0--Parade", "1--Handshaking"),
            "file_list": cells(cells("a"), cells("b")),
            "face_bbx_list": cells(
                cells(np.array([[10, 20, 12, 12], [50, 50, 40, 40]])), cells(np.array([[0, 0, 0, 0]]))
            ),
            "gt_list": cells(cells(np.array(rows).reshape(-1, 1)), cells(np.zeros((0, 0)))),
        }
        savemat(tmp_path / f"wider_{setting}_val.mat", content)
    return tmp_path


def test_official_lists(lists):
    images = [annotated([], "1--Handshaking/b.jpg"), annotated([[1, 2, 3, 4]], "0--Parade/a.jpg")]
    empty, two = official(images, lists)
    assert two.xyxy.tolist() == [[10, 20, 22, 32], [50, 50, 90, 90]]
    assert {name: rows.tolist() for name, rows in two.wanted.items()} == {
        "easy": [False, False],
        "medium": [False, True],
        "hard": [True, True],
    }
    assert empty.xyxy.tolist() == [[0, 0, 0, 0]] and not empty.wanted["hard"].any()
    detections = [found(scores=[]), found([50, 50, 90, 90], [10, 20, 22, 32])]
    assert wider_face_ap([empty, two], detections) == {"easy": None, "medium": 1.0, "hard": 1.0}


def test_lists_that_do_not_fit(lists):
    images = [annotated([], name) for name in ("0--Parade/a.jpg", "0--Parade/c.jpg", "x.jpg")]
    with pytest.raises(UserError, match=r"2 of 3 images are not in the lists \(0--Parade/c.jpg, ...\)"):
        official(images, lists)
    (lists / "wider_easy_val.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"wider_easy_val\.mat: not one of WIDER FACE's lists"):
        official(images, lists)
    with pytest.raises(UserError, match=r"wider_easy_val\.mat: .*give the folder"):
        official(images, lists / "elsewhere")
