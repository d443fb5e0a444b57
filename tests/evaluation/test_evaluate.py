"""All figures together: edge cases, text and JSON, and the protocols against each other; the command's own options."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from evaluation import evaluate as command
from evaluation.evaluate import PROTOCOLS, evaluate
from evaluation.evaluate_text import as_text
from evaluation.wider_face_lists import SETTINGS, by_height, official
from evaluation.wider_face_protocol import wider_face_ap
from tests.evaluation.scenes import annotated, found, random_set
from tests.evaluation.test_wider_face_protocol import literally
from tools import formats
from tools.report import Report

SHARED = Path(__file__).parents[3] / "shared" / "data" / "wider_dev"
A, B, FAR = [0, 0, 60, 80], [100, 0, 160, 80], [500, 500, 600, 600]


def checked(images, detections, scores=(0.5,), **more) -> tuple[dict, str]:
    """The figures and their text, both of the form that the command promises."""
    figures = evaluate(images, detections, scores, **more, resamples=100) | {"median_ms": None}
    json.dumps(figures, allow_nan=False)
    text = as_text(figures)
    assert all(len(line) <= 120 and line == line.rstrip() for line in text.splitlines())
    assert "nan" not in text and "None" not in text
    return figures, text


def test_perfect():
    images = [annotated([A, B], blur=[0, 2], ignore=[0, 0]), annotated([A], blur=[1], ignore=[0])]
    figures, text = checked(images, [found(A, B), found(A)])
    assert figures["coco"]["AP"] == pytest.approx(1)
    assert figures["wider_face"]["AP"] == pytest.approx(dict.fromkeys(SETTINGS, 1))
    assert figures["open_images"]["AP50"] == pytest.approx({"V2": 1, "Challenge": 1})
    assert figures["AP50_interval"] == pytest.approx([1, 1])
    assert {point["recall"] for point in figures["thresholds"]} == {1}
    assert sum(figures["errors"]["false_alarms"].values()) == sum(figures["errors"]["missed"].values()) == 0
    assert "2 images, 3 faces" in text and "fewer than 30 images" in text
    assert "blur          clear                 1         0    1.0000    1.0000" in text


@pytest.mark.parametrize(
    ("images", "detections", "ap50"),
    [
        ([annotated([A])] * 2, [found()] * 2, 0),  # no detections at all
        ([annotated([])] * 2, [found(A)] * 2, None),  # no faces
        ([annotated([])], [found()], None),
        ([annotated([A])], [found(A)], 1),  # one image
        ([annotated([A], ignore=[1])], [found(A)], None),
        (
            [annotated([A, FAR])],
            [found([-50, -50, 60, 80], [500, 500, 5000, 5000], scores=[1, 1])],
            0,
        ),  # beyond the edge
        ([annotated([A])], [found([60, 80, 0, 0], A)], 0.5),  # inside out: a false alarm, not a hit
    ],
)
def test_edges(images, detections, ap50):
    figures, _ = checked(images, detections)
    assert figures["coco"]["AP50"] == (None if ap50 is None else pytest.approx(ap50))
    if len(images) == 1:
        assert figures["AP50_interval"] is None
        assert set(figures["wider_face"]["intervals"].values()) == {None}


def test_equal_scores():
    """One point of the curve: both detections come at once, whatever the order of the images."""
    images = [annotated([A], "1.jpg"), annotated([A], "2.jpg")]
    right, wrong = found(A, scores=[0.7]), found(FAR, scores=[0.7])
    both = [checked(images, detections)[0] for detections in ([right, wrong], [wrong, right])]
    for figures in both:
        assert figures["wider_face"]["AP"]["easy"] == pytest.approx(0.25)
        assert figures["best_f1"]["precision"] == figures["best_f1"]["recall"] == 0.5
        assert [point["score"] for point in figures["thresholds"]] == [0.7, None, None, None, None]
    assert both[0]["thresholds"] == both[1]["thresholds"]


def test_crowds_are_counted_whole_and_what_is_cut_is_said():
    crowd = [[x, y, x + 12, y + 15] for x in range(0, 1000, 20) for y in range(0, 500, 20)]  # 1,250 faces
    images, detections = [annotated(crowd)], [Faces(crowd, np.linspace(1, 0.1, len(crowd)))]
    figures, text = checked(images, detections)
    assert figures["wider_face"]["AP"]["hard"] == pytest.approx(1)
    assert (figures["at_score"][0]["recall"], figures["cut"]) == (pytest.approx(0.55, abs=0.01), 250)
    assert "at most 1000 detections an image, which leaves out 250" in text
    figures, text = checked(images, detections, max_detections=2000)
    assert figures["coco"]["AR"] == pytest.approx(1) and figures["cut"] == 0 and "leaves out" not in text


def test_protocols_agree_where_their_rules_do():
    """Few faces, without flags: COCO's and Open Images' matching is the same in the main."""
    images, detections = random_set(3, count=40, most=4)
    figures, _ = checked(images, detections)
    assert figures["open_images"]["AP50"]["V2"] == pytest.approx(figures["coco"]["AP50"], abs=0.01)
    assert figures["open_images"]["AP50"]["V2"] == figures["open_images"]["AP50"]["Challenge"]
    assert figures["best_f1"]["f1"] >= max(point["f1"] or 0 for point in figures["thresholds"])
    low, high = figures["AP50_interval"]
    assert low < figures["coco"]["AP50"] < high


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_protocol(protocol):
    figures, text = checked([annotated([A])], [found(A)], protocols=[protocol])
    titles = {"coco": "COCO metrics", "wider": "WIDER FACE's protocol", "open_images": "Open Images' protocol"}
    assert {name for name, title in titles.items() if title in text} == {protocol}
    keys = {"coco": "coco", "wider": "wider_face", "open_images": "open_images"}
    assert {name for name, key in keys.items() if key in figures} == {protocol}


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def wider_set(tmp_path):
    """Options for two images in WIDER FACE's format, with detections that find three of four faces."""
    (tmp_path / "0--Parade").mkdir()
    rows = []
    for name, boxes in {"a.jpg": [A, B], "b.jpg": [A, FAR]}.items():
        cv2.imwrite(str(tmp_path / "0--Parade" / name), np.zeros((700, 700, 3), np.uint8))
        faces = [f"{x} {y} {right - x} {low - y} 0 0 0 0 {number} 0" for number, (x, y, right, low) in enumerate(boxes)]
        rows += [f"0--Parade/{name}", "2", *faces]
    (tmp_path / "gt.txt").write_text("\n".join(rows) + "\n")
    names = ["0--Parade/a.jpg", "0--Parade/b.jpg"]
    lines = [ImageDetections(n, 700, 700, f, 2.0) for n, f in zip(names, [found(A, B), found(FAR)], strict=True)]
    detections_file.write(tmp_path / "found.jsonl", lines)
    images = ["--format", "wider_face", "--annotations", str(tmp_path / "gt.txt"), "--images", str(tmp_path)]
    return [*images, "--detections", str(tmp_path / "found.jsonl")]


def test_options(wider_set, capsys):
    arguments = [*wider_set, "--score", "0.85", "--score", "0.1", "--precision", "0.7", "--protocol", "wider", "--json"]
    assert command.main(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [point["score"] for point in figures["at_score"]] == [0.85, 0.1]
    assert [point["recall"] for point in figures["at_score"]] == [0.5, 0.75]
    assert figures["errors"] == {
        "score": 0.85,
        "false_alarms": {"duplicate": 0, "badly localised": 0, "on an ignored face": 0, "background": 0},
        "missed": {"score too low": 1, "taken by a neighbour": 0, "badly localised": 0, "nothing there": 1},
        "left_out": 0,
    }
    assert [(point["wanted_precision"], point["score"]) for point in figures["thresholds"]] == [(0.7, 0.8)]
    assert [(s["kind"], s["faces"]) for s in figures["subsets"] if s["by"] == "occlusion"] == [
        ("none", 2),
        ("partial", 2),
    ]
    assert figures["median_ms"] == 2.0
    assert (figures["wider_face"]["faces_from"], "coco" in figures) == ("by height", False)
    assert command.main(wider_set) == 0
    out = capsys.readouterr().out
    assert "0.8       " in out and "2.0 ms an image" in out and "faces by height" in out


def test_images_that_failed(wider_set, tmp_path, capsys):
    path = tmp_path / "found.jsonl"
    first, _ = path.read_text().splitlines()
    path.write_text(f"{first}\n{json.dumps({'image': '0--Parade/b.jpg', 'error': 'cannot be decoded'})}\n")
    with pytest.raises(UserError, match=r"1 of 2 images failed when it was made \(0--Parade/b.jpg\)"):
        command.main(wider_set)
    assert command.main([*wider_set, "--leave-out-failed", "--json"]) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["images"], json.loads(out)["faces"]) == (1, 2)
    assert "0--Parade/b.jpg: cannot be decoded; left out" in err
    path.write_text("".join(json.dumps({"image": f"0--Parade/{n}.jpg", "error": "?"}) + "\n" for n in "ab"))
    with pytest.raises(UserError, match="all images failed"):
        command.main([*wider_set, "--leave-out-failed"])


def test_no_detections_to_count(wider_set):
    with pytest.raises(UserError, match="--max-detections 0"):
        command.main([*wider_set, "--max-detections", "0"])


def test_lists_that_are_not_there(wider_set, tmp_path):
    with pytest.raises(UserError, match=r"wider_easy_val\.mat"):
        command.main([*wider_set, "--wider-lists", str(tmp_path)])


# ---- The official lists, where they are beside the checkout ----------------------------------------------------------


def test_the_official_lists_are_by_height_but_for_faces_on_the_limit():
    if not SHARED.is_dir():
        pytest.skip("WIDER FACE's lists are not beside this checkout")
    images = list(
        formats.find("wider_face").load(SHARED / "wider_face_dev_bbx_gt.txt", SHARED / "images", None, Report())
    )
    faces = official(images, SHARED / "eval_tools")
    assert sum(len(true.xyxy) for true in faces) == 4897  # those of the ground-truth file, and here none of zero size
    assert {name: sum(int(true.wanted[name].sum()) for true in faces) for name in SETTINGS} == {
        "easy": 961,
        "medium": 1759,
        "hard": 3947,
    }
    others = 0
    for given, rule in zip(faces, by_height(images), strict=True):
        np.testing.assert_array_equal(given.xyxy, rule.xyxy)
        height = given.xyxy[:, 3] - given.xyxy[:, 1]
        for name, limit in SETTINGS.items():
            clear = np.abs(height - limit) > 1
            others += int((given.wanted[name] != rule.wanted[name])[clear].sum())
    assert others <= 3
    # Detections made from the true boxes, by the protocol and by its literal reading.
    draw = np.random.default_rng(0)
    some = [true for true in faces if len(true.xyxy) < 60][:60]
    detections = []
    for true in some:
        moved = (
            true.xyxy + draw.normal(0, 0.08, true.xyxy.shape) * (true.xyxy[:, 2:] - true.xyxy[:, :2])[:, [0, 1, 0, 1]]
        )
        boxes = np.vstack([moved, moved[::2] + draw.normal(0, 20, moved[::2].shape)])
        detections.append(Faces(boxes, draw.random(len(boxes))))
    expected = {name: literally(some, detections, name) for name in SETTINGS}
    assert wider_face_ap(some, detections) == pytest.approx(expected, abs=1e-12)
    assert 0.3 < expected["hard"] < 0.9
