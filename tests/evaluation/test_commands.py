"""The commands detect, evaluate and compare on records of three real photographs, and what they say of bad input."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from evaluation import compare, detect, detectors, evaluate
from tools.annotations import AnnotatedImage
from tools.formats import tfrecord
from tools.images import upright_size
from tools.report import Report

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
PHOTOS = ("astronaut.png", "faceapi-sample5.jpg", "grace_hopper.jpg")  # 1, 5 and 1 faces


def photographs() -> list[AnnotatedImage]:
    with open(SAMPLE / "validation-annotations-bbox.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    images = []
    for name in PHOTOS:
        path = SAMPLE / "images" / name
        width, height = upright_size(path)
        sides = [("XMin", width), ("YMin", height), ("XMax", width), ("YMax", height)]
        boxes = [[float(row[side]) * size for side, size in sides] for row in rows if row["ImageID"] == path.stem]
        images.append(AnnotatedImage(name, width, height, boxes, ("face",) * len(boxes), path))
    return images


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("records")
    tfrecord.save(photographs(), folder, Report(), label_map={"face": 1}, shards=1)
    return str(folder)


@pytest.fixture
def truth_as_detections(tmp_path) -> Path:
    path = tmp_path / "truth.jsonl"
    detections_file.write(
        path,
        [
            ImageDetections(i.name, i.width, i.height, Faces(i.xyxy, np.linspace(0.9, 0.7, len(i))), 1.0)
            for i in photographs()
        ],
    )
    return path


def test_the_cascade_finds_the_faces(records, tmp_path, capsys):
    path = tmp_path / "cascade.jsonl"
    arguments = ["--records", records]
    assert detect.main(["--detector", "cascade", "--model", "alt2", *arguments, "--output", str(path)]) == 0
    assert evaluate.main(["--detections", str(path), *arguments, "--json", "--score", "0"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["images"], figures["faces"]) == (3, 7)
    assert figures["coco"]["AP50"] > 0.7
    assert figures["at_score"][0]["recall"] > 0.7
    assert figures["median_ms"] > 0


@pytest.mark.parametrize("name", ["default", "alt2"])
def test_the_cascade_gives_the_boxes_of_detect_multi_scale(name):
    image = cv2.imread(str(SAMPLE / "images" / "faceapi-sample5.jpg"))
    classifier = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_{name}.xml")
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    expected = [[x, y, x + w, y + h] for x, y, w, h in classifier.detectMultiScale(grey, 1.1, 3, minSize=(20, 20))]
    detector = detectors.load("cascade", name, 2)
    found = detector.detect(image, detector.min_score)  # what its user gets; the whole curve has more
    assert len(expected) >= 4 and sorted(found.xyxy.tolist()) == sorted(expected)
    assert len(detector.detect(image)) > len(found)
    assert len(set(found.scores.tolist())) > 1 and (0 < found.scores).all() and (found.scores < 1).all()


def test_an_exported_model(records, tiny_model, tmp_path, capsys):
    path = tmp_path / "tiny.jsonl"
    arguments = ["--detector", "exported", "--model", str(tiny_model), "--records", records, "--output", str(path)]
    assert detect.main(arguments) == 0
    lines = list(detections_file.read(path))
    assert [line.image for line in lines] == list(PHOTOS)
    assert all(len(line.faces) > 10 and line.ms > 0 for line in lines)  # all scores, not only from min_score on
    assert min(line.faces.scores.min() for line in lines) < 0.1


def test_table_of_perfect_detections(records, truth_as_detections, capsys):
    assert evaluate.main(["--records", records, "--detections", str(truth_as_detections)]) == 0
    out = capsys.readouterr().out
    assert "3 images, 7 faces" in out
    assert "AP50        1.0000" in out
    assert "0.5000    1.0000     1.0000     1.0000" in out


@pytest.mark.parametrize("folder", ["/photographs/of/people/", "photographs/"])
def test_a_folder_in_front_of_the_names_is_taken_off(records, truth_as_detections, folder, tmp_path, capsys):
    rewritten(truth_as_detections, lambda lines: [line | {"image": folder + line["image"]} for line in lines])
    assert evaluate.main(["--records", records, "--detections", str(truth_as_detections)]) == 0
    assert "AP50        1.0000" in capsys.readouterr().out
    output = tmp_path / "compared"
    compare.main(["--records", records, "--detector", f"detections={truth_as_detections}", "--output", str(output)])
    assert "truth" in (output / "compare.md").read_text()


def rewritten(path: Path, change) -> Path:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "3 of 3 images have no line in it"),
        (lambda lines: lines[1:], r"1 of 3 images have no line in it \(astronaut.png\)"),
        (lambda lines: [lines[0] | {"image": "x.jpg"}, *lines], "1 of 3 of its images are not in the annotations"),
        (lambda lines: [{"image": "astronaut.png", "error": "?"}, *lines[1:]], "1 of 3 images failed"),
        (lambda lines: [lines[0] | {"width": 7}, *lines[1:]], "1 of 3 images had another size"),
        (lambda lines: [*lines, lines[0]], "astronaut.png is there twice"),
    ],
)
def test_detections_that_do_not_fit_the_images(records, truth_as_detections, change, message):
    rewritten(truth_as_detections, change)
    with pytest.raises(UserError, match=message):
        evaluate.main(["--records", records, "--detections", str(truth_as_detections)])


def test_an_image_that_does_not_decode(tmp_path, capsys):
    good, *_ = photographs()
    path = tmp_path / "set" / "set-00000-of-00001.tfrecord"
    tfrecord.save([good], path.parent, Report(), label_map={"face": 1}, shards=1)
    from tools import tf_example, tfrecord_file
    from tools.images import EncodedImage

    broken = EncodedImage(b"\xff\xd8\xff\xe0 no more", "jpeg", 10, 10, (10, 10))
    image = AnnotatedImage("broken.jpg", 10, 10, [[1, 1, 5, 5]], ("face",), broken.data)
    with open(path, "ab") as file:
        file.write(tfrecord_file.frame(tf_example.encode(image, broken, {"face": 1})))
    output = tmp_path / "found.jsonl"
    arguments = ["--detector", "cascade", "--records", str(path.parent), "--output", str(output)]
    assert detect.main(arguments) == 1
    assert "error: broken.jpg: cannot be decoded" in capsys.readouterr().err
    assert [line.error is None for line in detections_file.read(output)] == [True, False]


def test_compare(records, tiny_model, tmp_path, capsys):
    output = tmp_path / "comparison"
    arguments = [
        "--records",
        records,
        "--model",
        str(tiny_model),
        "--detector",
        "cascade=alt2",
        "--output",
        str(output),
    ]
    assert compare.main([*arguments, "--threads", "1", "--rounds", "1"]) == 0
    table = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["tiny", "Haar alt2"]
    assert "1 threads" not in table and "1 thread " in table
    assert (output / "compare.md").read_text() == table
    figures = json.loads((output / "compare.json").read_text())
    tiny, haar = figures["detectors"]
    assert tiny["coco"]["AP50"] < 0.1 and haar["coco"]["AP50"] > 0.7
    assert tiny["in_use"]["score"] == 0.5
    assert tiny["model_bytes"] == sum((tiny_model / name).stat().st_size for name in ("model.tflite", "model.json"))
    for detector in (tiny, haar):
        assert detector["p95_ms"] >= detector["median_ms"] > 0
        assert detector["start_up"]["start_ms"] > 0 and 20 < detector["start_up"]["peak_mib"] < 2000
    assert {path.name for path in output.iterdir()} == {
        *("compare.html", "compare.md", "compare.json", "measured.json"),
        *("tiny.jsonl", "Haar-alt2.jsonl"),
    }
    # The figures are those of the detections files.
    assert evaluate.main(["--records", records, "--detections", str(output / "Haar-alt2.jsonl"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["coco"]["AP50"] == pytest.approx(haar["coco"]["AP50"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the images as --records"),
        (["--records", "nowhere"], "nowhere"),
        (["--records", "x", "--format", "wider_face"], "--records goes without"),
        (["--format", "wider_face", "--annotations", "nowhere.txt", "--images", "."], "nowhere.txt"),
    ],
)
def test_wrong_images(arguments, message):
    with pytest.raises(UserError, match=message):
        evaluate.main(["--detections", "found.jsonl", *arguments])


def test_what_makes_the_results_of_a_model_that_comes_along():
    assert [path.name for path in detectors.load("exported", "fast", 1).files if path.is_file()] == [
        "model.tflite",
        "model.json",
    ]


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("exported", None, "needs its folder: exported=FOLDER"),
        ("graph", None, "needs its model: graph=FILE.pb"),
        ("exported", "nowhere", "nowhere"),
        ("cascade", "nonesuch", "no such cascade"),
        ("cascade", __file__.replace(".py", ".xml"), "no such cascade"),
        ("yolo", None, "unknown detector 'yolo'"),
    ],
)
def test_wrong_detector(name, model, message):
    with pytest.raises(UserError, match=message):
        detectors.load(name, model, 1)


@pytest.mark.parametrize("content", ["", "<xml/>", "<opencv_storage><a>1</a></opencv_storage>"])
def test_a_file_that_is_no_cascade(tmp_path, content):
    path = tmp_path / "some.xml"
    path.write_text(content)
    with pytest.raises(UserError, match="not a cascade"):
        detectors.load("cascade", str(path), 1)
