"""Detections as .jsonl, COCO results and WIDER FACE submissions: written, read, turned into each other, refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from detect_faces import Faces, UserError, detections_file
from detect_faces.detections_file import ImageDetections
from evaluation import coco_results, convert_detections, wider_submission
from evaluation.pairing import detections_for, lines_for
from tests.evaluation.scenes import annotated, found, random_set

A, B = [10, 20.5, 40, 60.25], [100.1, 0, 160, 60]
IMAGES = [annotated([A], "0--Parade/a.x.jpg"), annotated([], "b.png", side=300)]
LINES = [
    ImageDetections("0--Parade/a.x.jpg", 1000, 1000, found(A, B), 3.5),
    ImageDetections("b.png", 300, 300, found(scores=[])),
]
FILE = {"jsonl": "found.jsonl", "coco": "found.json", "wider_face": "found"}


def write(format_name, folder, lines=LINES):
    path = folder / FILE[format_name]
    module = {"jsonl": detections_file, "coco": coco_results, "wider_face": wider_submission}[format_name]
    module.write(path, lines)
    return path


def assert_same(left: list[Faces], right: list[Faces]):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.011)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize("format_name", FILE)
def test_what_is_written_is_read(format_name, tmp_path):
    images, detections = random_set(0, decimals=4)
    lines = [ImageDetections(i.name, 1000, 1000, f) for i, f in zip(images, detections, strict=True)]
    path = write(format_name, tmp_path, lines)
    assert_same(detections_for(images, path), detections)
    if format_name != "coco":  # its images are numbered
        assert_same(detections_for(images[::-1], path), detections[::-1])
    assert sum(map(len, detections)) > 50


def test_a_submission_by_hand(tmp_path):
    path = write("wider_face", tmp_path)
    assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*.txt")) == ["0--Parade/a.x.txt", "b.txt"]
    expected = "a.x\n2\n10.0 20.5 30.0 39.75 0.900000\n100.1 0.0 59.9 60.0 0.800000\n"
    assert (path / "0--Parade" / "a.x.txt").read_text() == expected
    assert (path / "b.txt").read_text() == "b\n0\n"
    (path / "b.txt").write_text("anything at all\r\n1\r\n 1 2 3 4 .5 \r\n\r\n")
    assert detections_for(IMAGES, path)[1].xyxy.tolist() == [[1, 2, 4, 6]]


def test_coco_results_are_for_pycocotools(tmp_path, capsys):
    path = write("coco", tmp_path)
    truth = COCO()
    truth.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}], "annotations": []}
    truth.createIndex()
    results = truth.loadRes(str(path))
    assert [results.anns[i]["bbox"] for i in (1, 2)] == [[10, 20.5, 30, 39.75], [100.1, 0, 59.9, 60]]
    assert [(results.anns[i]["image_id"], results.anns[i]["score"]) for i in (1, 2)] == [(1, 0.9), (1, 0.8)]
    assert json.loads(write("coco", tmp_path, LINES[1:]).read_text()) == []


def test_ids_of_annotations(tmp_path):
    annotations = tmp_path / "annotations.json"
    entries = [{"id": 139, "file_name": "b.png"}, {"id": "x7", "file_name": "0--Parade/a.x.jpg"}, {"id": 3}]
    annotations.write_text(json.dumps({"images": entries}))
    ids = coco_results.ids_in_annotations(annotations)
    path = tmp_path / "found.json"
    coco_results.write(path, LINES, ids)
    assert {entry["image_id"] for entry in json.loads(path.read_text())} == {"x7"}
    assert_same(detections_for(IMAGES, path, ids), [line.faces for line in LINES])
    with pytest.raises(UserError, match=r"1 of 2 of its images are not in the annotations \(image_id x7\)"):
        detections_for(IMAGES, path)


# ---- What does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"images": []}', "which is a list"),
        ("[3]", "entry 0: not a COCO result"),
        ('[{"image_id": 1, "bbox": [1, 2, 3], "score": 1}]', "entry 0: not a COCO result"),
        ('[{"image_id": [], "bbox": [1, 2, 3, 4], "score": 1}]', "entry 0: not a COCO result"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, NaN], "score": 1}]', "entry 0: .*not finite"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "entry 0: .*score"),
        ('[{"image_id": 9, "bbox": [1, 2, 3, 4], "score": 1}]', "image_id 9"),
    ],
)
def test_results_that_are_none(tmp_path, text, message):
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        detections_for(IMAGES, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 2: not the number"),
        ("b", "line 2: not the number"),
        ("b\n-1\n", "line 2: not the number"),
        ("b\n2\n1 2 3 4 .5\n", "2 detections are announced, 1 lines follow"),
        ("b\n1\n1 2 3 4\n", "line 3: not `x y width height score`"),
        ("b\n1\n1 2 3 nan .5\n", "line 3: not `x y width height score`"),
        ("b\n2\n1 2 3 4 .5\n\n", "2 detections are announced"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_submissions_that_are_none(tmp_path, text, message):
    path = write("wider_face", tmp_path)
    (path / "b.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as error:
        detections_for(IMAGES, path)
    assert "b.txt" in str(error.value) and "\n" not in str(error.value)


@given(st.binary(max_size=60))
def test_any_text_is_a_submission_or_a_user_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("submission")
    (folder / "b.txt").write_bytes(data)
    try:
        assert len(lines_for(IMAGES[1:], folder)) == 1
    except UserError:
        pass


def test_images_without_a_file_are_counted(tmp_path):
    path = write("wider_face", tmp_path)
    (path / "b.txt").unlink()
    with pytest.raises(UserError, match=r"1 of 2 images have no file in it \(b.png\)"):
        detections_for(IMAGES, path)
    (path / "c.txt").write_text("c\n0\n")
    with pytest.raises(UserError, match="1 of 2 images have no file in it"):
        detections_for(IMAGES, path)
    (path / "b.txt").write_text("b\n0\n")
    with pytest.raises(UserError, match=r"1 of 2 of its images are not in the annotations \(c.txt\)"):
        detections_for(IMAGES, path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no text file in it"):
        detections_for(IMAGES, tmp_path / "empty")
    with pytest.raises(UserError, match="No such file"):
        detections_for(IMAGES, tmp_path / "none.json")


def test_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "found.jsonl"
    line = '{"image": "b.png", "width": 300, "height": 300, "faces": [{"box": [1, 2, NaN, 4], "score": 1}]}\n'
    path.write_text(line)
    with pytest.raises(UserError, match="1 of 1 images have a box or score in it that is not a finite number"):
        detections_for(IMAGES[1:], path)


def test_submissions_are_written_whole_or_not_at_all(tmp_path):
    path = write("wider_face", tmp_path)
    with pytest.raises(UserError, match="is there already"):
        wider_submission.write(path, LINES)
    twice = [LINES[1], ImageDetections("b.jpg", 300, 300, found(scores=[]))]
    with pytest.raises(UserError, match=r"b.jpg and b.png would both be b.txt"):
        wider_submission.write(tmp_path / "new", twice)
    with pytest.raises(UserError, match="leads out of the folder"):
        wider_submission.write(tmp_path / "new", [ImageDetections("../b.jpg", 300, 300, found(scores=[]))])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found"]
    failed = ImageDetections("c.jpg", error="cannot be decoded")
    assert wider_submission.write(tmp_path / "new", [*LINES, failed]) == 2
    assert coco_results.write(tmp_path / "new.json", [*LINES, failed]) == 2


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def data_set(tmp_path):
    """Options that name two images as COCO annotations, with ids of their own."""
    import cv2

    entries = []
    for number, image in zip((7, 5), IMAGES, strict=True):
        path = tmp_path / "images" / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((image.height, image.width, 3), np.uint8))
        entries.append({"id": number, "file_name": image.name, "width": image.width, "height": image.height})
    content = {"images": entries, "annotations": [], "categories": [{"id": 1, "name": "face"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    annotations = str(tmp_path / "annotations.json")
    return ["--format", "coco", "--annotations", annotations, "--images", str(tmp_path / "images")]


def test_there_and_back(data_set, tmp_path):
    path = write("jsonl", tmp_path)
    for number, format_name in enumerate(["coco", "wider_face", "jsonl", "wider_face", "coco", "jsonl"]):
        target = tmp_path / str(number) / FILE[format_name]
        arguments = ["--detections", str(path), "--to", format_name, "--output", str(target), *data_set]
        assert convert_detections.main(arguments) == 0
        path = target
        if format_name == "coco":
            assert {entry["image_id"] for entry in json.loads(path.read_text())} == {7}
    lines = list(detections_file.read(path))
    described = [(line.image, line.width, line.height) for line in lines]
    assert described == [("0--Parade/a.x.jpg", 1000, 1000), ("b.png", 300, 300)]
    assert_same([line.faces for line in lines], [line.faces for line in LINES])


def test_a_folder_is_no_output_file(data_set, tmp_path):
    path = write("jsonl", tmp_path)
    with pytest.raises(UserError, match="is a folder"):
        convert_detections.main(["--detections", str(path), "--to", "jsonl", "--output", str(tmp_path), *data_set])
