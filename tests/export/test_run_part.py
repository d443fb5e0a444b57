"""python -m export.run_part: features of a folder once, detections from them, as the whole graph gives them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import detections_file
from detect_faces.errors import UserError
from evaluation import evaluate
from export import run_part, split
from tests.export import tf1_detector
from tests.export.tf1_detector import FEATURES


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A folder with frozen.pb, and its two parts in split/."""
    folder = tmp_path_factory.mktemp("parts")
    tf1_detector.save(folder, frozen=folder / "frozen.pb")
    assert split.main([str(folder / "frozen.pb"), "--at", FEATURES, "--output", str(folder / "split")]) == 0
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Five photographs of several sizes, in two folders."""
    random = np.random.default_rng(0)
    for number, name in enumerate(["b.png", "a.png", "inner/c.png", "inner/a.png", "d.png"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 256, (20 + 7 * number, 50 - 5 * number, 3), np.uint8))
    return tmp_path / "photos"


ORDER = ["a.png", "b.png", "d.png", "inner/a.png", "inner/c.png"]


def before(parts, photos, *more) -> int:
    features = str(photos.parent / "features")
    return run_part.main([str(parts / "split/before.pb"), "--images", str(photos), "--output", features, *more])


def after(parts, photos, *more) -> int:
    features, output = str(photos.parent / "features"), str(photos.parent / "detections.jsonl")
    return run_part.main([str(parts / "split/after.pb"), "--features", features, "--output", output, *more])


def lines(photos) -> list:
    return list(detections_file.read(photos.parent / "detections.jsonl"))


def test_the_head_alone_gives_what_the_whole_graph_gives(parts, photos, capsys):
    assert before(parts, photos) == 0
    assert after(parts, photos, "--whole", str(parts / "frozen.pb"), "--images", str(photos)) == 0
    out, err = capsys.readouterr()
    differences = [float(line.rpartition(" ")[2]) for line in out.splitlines() if "largest difference" in line]
    assert len(differences) == 4 and max(differences) < 1e-5
    assert "times faster" in out and "median ms a photograph" in err
    found = lines(photos)
    assert [line.image for line in found] == ORDER
    assert all(len(line.faces) and line.ms > 0 for line in found)
    image = cv2.imread(str(photos / "a.png"))
    assert (found[0].width, found[0].height) == (image.shape[1], image.shape[0])
    assert found[0].faces.xyxy[:, 2].max() > 1  # pixels


def test_photographs_are_not_needed_the_second_time(parts, photos):
    assert before(parts, photos) == 0
    for path in photos.rglob("*.png"):
        path.unlink()
    assert after(parts, photos) == 0
    assert len(lines(photos)) == 5


def test_goes_on_with_what_is_missing(parts, photos, capsys):
    assert before(parts, photos) == 0
    features = photos.parent / "features"
    kept = {path: path.stat().st_mtime_ns for path in features.rglob("*.npz")}
    (features / "features.json").unlink()  # killed here: the list comes last
    (features / "a.png.npz").unlink()
    torn = features / "inner/a.png.npz"
    torn.write_bytes(torn.read_bytes()[:-40])
    flipped = bytearray((features / "d.png.npz").read_bytes())
    flipped[200] ^= 1
    (features / "d.png.npz").write_bytes(flipped)
    cv2.imwrite(str(photos / "inner/c.png"), np.zeros((30, 30, 3), np.uint8))  # another picture of the same name

    with pytest.raises(UserError, match=r"run the first part \(before.pb\) to its end"):
        after(parts, photos)
    capsys.readouterr()
    assert before(parts, photos) == 0
    assert "4 photographs, 1 were there already, 0 bad" in capsys.readouterr().err
    assert (features / "b.png.npz").stat().st_mtime_ns == kept[features / "b.png.npz"]
    assert after(parts, photos, "--whole", str(parts / "frozen.pb"), "--images", str(photos)) == 0
    assert (lines(photos)[4].width, lines(photos)[4].height) == (30, 30)


def test_bad_photographs_are_reported_and_the_rest_done(parts, photos, capsys):
    (photos / "b.png").write_bytes(b"not a picture")
    cv2.imwrite(str(photos / "c.png"), np.zeros((1, 1, 3), np.uint8))  # refused by a check in the graph
    assert before(parts, photos) == 1
    err = capsys.readouterr().err
    assert f"error: {photos / 'b.png'}: not a JPEG" in err and "2 bad" in err
    assert f"error: {photos / 'c.png'}: " in err and "too small for a detector" in err
    assert after(parts, photos) == 1
    found = {line.image: line.error for line in lines(photos)}
    assert list(found) == ["a.png", "b.png", "c.png", *ORDER[2:]]
    assert found["b.png"].startswith("not a JPEG") and found["a.png"] is None


def test_features_that_went_bad_are_reported_and_the_rest_done(parts, photos):
    assert before(parts, photos) == 0
    (photos.parent / "features/d.png.npz").write_bytes(b"PK")
    assert after(parts, photos) == 1
    assert [line.error is None for line in lines(photos)] == [True, True, False, True, True]


def test_evaluate_reads_the_detections(parts, photos, capsys):
    assert before(parts, photos) == 0 and after(parts, photos) == 0
    rows = [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    ]
    rows += [f"{Path(name).stem},x,/m/0dzct,1,0.1,0.4,0.1,0.4,0,0,0,0,0" for name in ("a.png", "b.png", "d.png")]
    (photos.parent / "boxes.csv").write_text("\n".join(rows) + "\n")
    for path in (photos / "inner").iterdir():
        path.unlink()
    assert before(parts, photos) == 0 and after(parts, photos) == 0
    arguments = ["--format", "open_images", "--annotations", str(photos.parent / "boxes.csv"), "--images", str(photos)]
    capsys.readouterr()
    assert evaluate.main(["--detections", str(photos.parent / "detections.jsonl"), "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["median_ms"] > 0


def test_detections_of_one_class(parts, photos):
    assert before(parts, photos) == 0
    assert after(parts, photos, "--class-id", "2") == 0
    assert all(len(line.faces) == 0 for line in lines(photos))
    assert after(parts, photos, "--class-id", "1") == 0
    assert all(len(line.faces) for line in lines(photos))


def test_features_of_another_split(parts, photos, tmp_path):
    assert before(parts, photos) == 0
    other = tmp_path / "other"
    assert split.main([str(parts / "frozen.pb"), "--at", "Preprocessor/mul", "--output", str(other)]) == 0
    arguments = ["--features", str(tmp_path / "features"), "--output", str(tmp_path / "x.jsonl")]
    with pytest.raises(UserError, match="made by another graph"):
        run_part.main([str(other / "after.pb"), *arguments])
    assert not (tmp_path / "x.jsonl").exists()


def test_other_photographs_beside_the_whole_graph(parts, photos):
    assert before(parts, photos) == 0
    cv2.imwrite(str(photos / "a.png"), np.zeros((30, 30, 3), np.uint8))
    assert after(parts, photos, "--whole", str(parts / "frozen.pb"), "--images", str(photos)) == 1
    assert "another photograph" in lines(photos)[0].error


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("before.pb", [], "is the first part; give --images FOLDER"),
        ("before.pb", ["--images", ".", "--features", "."], "is the first part, which takes no --features"),
        ("before.pb", ["--images", "split.json"], "not a folder"),
        ("before.pb", ["--images", "empty"], "no photographs"),
        ("after.pb", [], "is the second part; give --features FOLDER"),
        ("after.pb", ["--features", ".", "--images", "."], "is the second part, which takes no --images"),
        ("after.pb", ["--features", ".", "--whole", "x.pb"], "give their folder with --images"),
        ("after.pb", ["--features", "."], r"features\.json: No such file"),
        ("middle.pb", [], "not a part of the split graph there"),
        ("../frozen.pb", [], r"split\.json: No such file.*of a split graph"),
    ],
)
def test_wrong_options(parts, monkeypatch, tmp_path, part, options, message):
    monkeypatch.chdir(parts / "split")
    (parts / "split/empty").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message):
        run_part.main([part, *options, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_part_that_was_changed_is_refused(parts, photos, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("before.pb", "after.pb", "split.json"):
        (folder / name).write_bytes((parts / "split" / name).read_bytes())
    (folder / "before.pb").write_bytes((parts / "frozen.pb").read_bytes())
    with pytest.raises(UserError, match=r"is not the graph that split\.json describes"):
        run_part.main([str(folder / "before.pb"), "--images", str(photos), "--output", str(tmp_path / "features")])
