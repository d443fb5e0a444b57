"""Comparisons from outside: turns, going on after a kill, detectors that fail, sets with next to nothing in them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from evaluation import compare
from tests.evaluation.scenes_on_disk import BRIGHT, CORNER, HEIGHT, NOTHING, WIDTH, detector, records

FACES = [[[10, 20, 50, 70]], [[60, 10, 100, 60]], [[20, 20, 45, 50]], [[30, 30, 90, 85]]]


def run(output: Path, path: str, *specs: str, more: tuple[str, ...] = ()) -> tuple[int, dict]:
    arguments = ["--records", path, "--detector", *specs, "--output", str(output), "--rounds", "0", "--threads", "1"]
    code = compare.main([*arguments, *more])
    return code, json.loads((output / "compare.json").read_text())


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> str:
    return records(tmp_path_factory.mktemp("four") / "records", FACES)


def test_the_better_detector_is_told(four, tmp_path, capsys):
    ours, other = detector(tmp_path / "ours.py", BRIGHT), detector(tmp_path / "other.py", CORNER)
    code, figures = run(tmp_path / "out", four, ours, other, detector(tmp_path / "blind.py", NOTHING))
    assert code == 0 and figures["images"] == figures["faces"] == 4 and figures["rival"] == 1
    best, worse, blind = figures["detectors"]
    assert best["coco"]["AP50"] == pytest.approx(1) and worse["coco"]["AP50"] == 0
    assert best["in_use"]["recall"] == 1 and worse["in_use"]["false_positives"] == 4
    assert worse["errors"]["false_alarms"]["background"] == 4 and worse["errors"]["missed"]["nothing there"] == 4
    assert blind["detections"] == 0 and blind["best_f1"] is None and blind["in_use"]["precision"] is None
    assert figures["paired_test"]["difference"] == pytest.approx(1)
    assert all(each["median_ms"] <= each["p95_ms"] for each in figures["detectors"])
    table = capsys.readouterr().out
    assert (tmp_path / "out/compare.md").read_text() == table and "| ours" in table and "too few" in table
    page = (tmp_path / "out/compare.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 8  # four pairs; ours misses nothing
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("compare.html", "compare.md", "compare.json", "measured.json"),
        *("ours.jsonl", "other.jsonl", "blind.jsonl"),
    }


def counting(path: Path, log: Path, mark: str) -> str:
    """A detector that writes a letter for each image, and is interrupted at the one whose first pixel $KILL_AT says."""
    path.write_text(
        f"""
import os
from detect_faces import Faces

class Counting:
    name, settings, min_score, files = {path.stem!r}, "as written", 0.0, ()

    def detect(self, image, min_score=0.0):
        with open({str(log)!r}, "a") as file:
            file.write({mark!r})
        if {mark!r} == "b" and str(image[0, 0, 0]) == os.environ.get("KILL_AT"):
            raise KeyboardInterrupt
        return Faces([[5, 5, 30, 30]], [0.5])

def load(model, threads):
    return Counting()
"""
    )
    return str(path)


def test_detectors_take_turns(four, tmp_path):
    log = tmp_path / "log"
    specs = [counting(tmp_path / f"{mark}.py", log, mark) for mark in "abc"]
    run(tmp_path / "out", four, *specs)
    assert log.read_text() == "abc" + "abc" + "bca" + "cab" + "abc"  # the first time for warming up


def test_killed_it_goes_on_and_gives_the_same(four, tmp_path, monkeypatch):
    log = tmp_path / "log"
    first = counting(tmp_path / "a.py", log, "a")
    monkeypatch.setenv("KILL_AT", "42")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", four, first, counting(tmp_path / "b.py", log, "b"))
    monkeypatch.delenv("KILL_AT")
    assert not (tmp_path / "out/a.jsonl").exists()  # nothing half-written under its name
    with open(tmp_path / "out/.a.jsonl.growing", "a") as file:
        file.write('{"image": "torn')
    log.unlink()
    _, figures = run(tmp_path / "out", four, first, str(tmp_path / "b.py"))
    assert log.read_text() == "ab" + "ab" + "ba"  # two of four were there
    _, whole = run(tmp_path / "whole", four, first, str(tmp_path / "b.py"))
    for one, other in zip(figures["detectors"], whole["detectors"], strict=True):
        assert {**one, "median_ms": 0, "p95_ms": 0} == {**other, "median_ms": 0, "p95_ms": 0}
    log.unlink()
    _, again = run(tmp_path / "out", four, first, str(tmp_path / "b.py"))
    assert (
        not log.exists()
        and "4 of the 4 images were measured in an earlier run" in dict(again["measured"])["milliseconds"]
    )


@pytest.mark.parametrize("change", [{"settings": "other settings"}, {}])
def test_another_detector_is_measured_anew(four, tmp_path, change):
    path = tmp_path / "one.py"
    detector(path, CORNER)
    _, before = run(tmp_path / "out", four, str(path))
    detector(path, BRIGHT, **change)
    _, after = run(tmp_path / "out", four, str(path))
    assert before["detectors"][0]["coco"]["AP50"] == 0 and after["detectors"][0]["coco"]["AP50"] == pytest.approx(1)


def test_a_model_whose_description_changed_is_measured_anew(four, tmp_path, tiny_model, capsys):
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    run(tmp_path / "out", four, f"exported={model}")
    run(tmp_path / "out", four, f"exported={model}")
    assert "4 images are measured already" in capsys.readouterr().err
    described = json.loads((model / "model.json").read_text())
    described["postprocessing"]["max_detections"] -= 1
    (model / "model.json").write_text(json.dumps(described))
    run(tmp_path / "out", four, f"exported={model}")
    assert "measured already" not in capsys.readouterr().err


def test_a_detector_that_fails_on_an_image(four, tmp_path, capsys):
    failing = detector(tmp_path / "failing.py", f"{BRIGHT} if image[0, 0, 0] != 41 else 1 / 0")
    code, figures = run(tmp_path / "out", four, failing, detector(tmp_path / "other.py", BRIGHT))
    assert code == 1 and figures["detectors"][0]["failed"] == ["folder/1.png"]
    assert figures["detectors"][0]["in_use"]["missed"] == 1 and figures["detectors"][1]["in_use"]["missed"] == 0
    assert "folder/1.png: failing failed: ZeroDivisionError" in capsys.readouterr().err
    assert "failing failed" in (tmp_path / "out/compare.html").read_text()


def test_detections_of_a_file_take_part(four, tmp_path):
    lines = [
        ImageDetections(f"folder/{i}.png", WIDTH, HEIGHT, Faces(boxes, [0.7]), None) for i, boxes in enumerate(FACES)
    ]
    detections_file.write(tmp_path / "elsewhere.jsonl", lines)
    spec = f"detections={tmp_path / 'elsewhere.jsonl'}"
    _, figures = run(tmp_path / "out", four, spec, detector(tmp_path / "other.py", NOTHING))
    assert figures["detectors"][0]["coco"]["AP50"] == pytest.approx(1)
    assert figures["detectors"][0]["median_ms"] is None and figures["detectors"][1]["median_ms"] is not None
    detections_file.write(tmp_path / "elsewhere.jsonl", lines[1:])
    with pytest.raises(UserError, match=r"1 of 4 images have no line in it \(folder/0.png\)"):
        run(tmp_path / "out2", four, spec)


@pytest.mark.parametrize(
    ("boxes", "flags"),
    [
        ([[]], None),
        ([[], []], None),
        ([FACES[0]], None),
        ([FACES[0], []], None),
        ([FACES[0]], [{"ignore": [1]}]),
        ([FACES[0], FACES[1], []], [{"blur": [2], "occlusion": [0]}, {}, {}]),
    ],
    ids=["one image without faces", "no faces", "one image", "some without", "nothing counts", "attributes missing"],
)
@pytest.mark.parametrize(("first", "second"), [(NOTHING, NOTHING), (BRIGHT, CORNER)], ids=["nothing found", "found"])
def test_sets_with_next_to_nothing_in_them(boxes, flags, first, second, tmp_path, capsys):
    path = records(tmp_path / "records", boxes, flags)
    specs = [detector(tmp_path / "first.py", first), detector(tmp_path / "second.py", second)]
    code, figures = run(tmp_path / "out", path, *specs)
    assert code == 0 and figures["images"] == len(boxes) and len(figures["detectors"]) == 2
    page = (tmp_path / "out/compare.html").read_text()
    assert not re.search(r"\b(nan|None|inf)\b", page), "a missing figure is a dash"
    assert "nan" not in capsys.readouterr().out.lower()
    json.loads((tmp_path / "out/compare.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_one_detector_alone(four, tmp_path):
    code, figures = run(tmp_path / "out", four, detector(tmp_path / "ours.py", BRIGHT))
    assert code == 0 and figures["rival"] is None and figures["paired_test"] is None


def test_detectors_of_one_name_are_told_apart(four, tmp_path):
    specs = [detector(tmp_path / f"{i}.py", BRIGHT, name="same") for i in range(3)]
    _, figures = run(tmp_path / "out", four, *specs)
    assert [each["name"] for each in figures["detectors"]] == ["same", "same (2)", "same (3)"]
    assert (tmp_path / "out/same--3-.jsonl").exists()


def test_nothing_is_measured_where_a_detector_cannot_be_loaded(four, tmp_path):
    with pytest.raises(UserError, match="unknown detector 'nonesuch'"):
        run(tmp_path / "out", four, detector(tmp_path / "ours.py", BRIGHT), "nonesuch")
    assert not (tmp_path / "out").exists()


def test_wider_face_figures_where_the_images_are_its(tmp_path):
    path = records(tmp_path / "records", [[[10, 20, 50, 62]], FACES[2]], [{"invalid": [0]}, {"invalid": [1]}])
    _, figures = run(tmp_path / "out", path, detector(tmp_path / "ours.py", BRIGHT))
    assert figures["detectors"][0]["wider_face"] == pytest.approx({"easy": None, "medium": 1.0, "hard": 1.0})
