"""python -m tools.stats: figures counted by hand and by brute force, both outputs, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask

from detect_faces.errors import UserError
from tools import anchors, convert, input_size, pipeline_config, stats, tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.formats import wider_face
from tools.images import EncodedImage
from tools.report import Report

ROOT = Path(__file__).parents[2]
SSDLITE, FASTER_RCNN = "ssdlite_mobilenet_v2_320_face", "faster_rcnn_inception_resnet_v2_atrous_oid_face"


@pytest.fixture
def records(tmp_path):
    """A function that writes records of (width, height, boxes, ignore) and gives their path. They hold no pictures."""

    def write(*images):
        examples = []
        for number, (width, height, boxes, ignore) in enumerate(images):
            image = AnnotatedImage(
                f"{number}.jpg", width, height, boxes, ("face",) * len(boxes), b"none", {"ignore": ignore}
            )
            encoded = EncodedImage(b"none", "jpeg", width, height, (width, height))
            examples.append(tf_example.encode(image, encoded, {"face": 1}))
        path = tmp_path / "some.tfrecord"
        path.write_bytes(b"".join(map(tfrecord_file.frame, examples)))
        return str(path)

    return write


@pytest.fixture
def run(capsys):
    """A function that runs the command: (exit code, what it printed, stderr); the parsed object with --json."""

    def command(*arguments):
        code = stats.main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments else out, err

    return command


def scattered(rng, number, width, height):
    """(number, 4) boxes of many sizes inside an image."""
    centre, size = rng.uniform(0, 1, (number, 2)) * [width, height], np.exp(rng.uniform(1.5, 5, (number, 1)))
    size = size * rng.uniform(0.7, 1.3, (number, 2))
    boxes = np.clip(np.hstack([centre - size / 2, centre + size / 2]), 0, [width, height] * 2)
    return boxes[(boxes[:, 2:] - boxes[:, :2] > 1).all(axis=1)]


def best_ious(pipeline, images, images_anchors):
    """[(face's size at the input, IoU with its best anchor)] by trying every anchor."""
    found = []
    for width, height, boxes, ignore in images:
        (inner_width, inner_height), whole = input_size.resized(pipeline.image_resizer, width, height)
        boxes = np.asarray(boxes)[~np.asarray(ignore, bool)] * ([inner_width / width, inner_height / height] * 2)
        xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        iou = mask.iou(xywh, images_anchors(*whole), [0] * len(images_anchors(*whole)))
        found += zip(np.sqrt(xywh[:, 2] * xywh[:, 3]), np.max(iou, axis=1), strict=True)
    return np.array(found)


def test_counts(wider, run):
    images, annotations = wider
    source = ("--format", "wider_face", "--annotations", annotations, "--images", images)
    code, found, err = run(*source, "--json")
    assert (code, err) == (0, "")
    assert {name: found[name] for name in ("images", "images_without_faces", "images_with_ignored_boxes_only")} == {
        "images": 4,
        "images_without_faces": 2,
        "images_with_ignored_boxes_only": 0,
    }
    assert [found[name] for name in ("boxes", "faces", "ignored", "clipped", "problems")] == [3, 2, 1, 1, 0]
    assert found["dropped"] == {"outside the image": 1, "zero or negative size": 1}
    assert found["classes"] == {"face": 3}
    assert found["flags"]["blur"] == {"0": 1, "1": 1, "2": 1}
    assert found["flags"]["ignore"] == {"0": 2, "1": 1}
    assert found["resizer"] is None and found["anchors"] is None
    spread = found["distributions"]
    assert (spread["image_width"]["min"], spread["image_width"]["max"], spread["image_height"]["median"]) == (
        48,
        48,
        32,
    )
    assert (spread["faces_per_image"]["max"], spread["faces_per_image"]["mean"]) == (1, 0.5)
    # 10 x 12, and 20 x 20 cut to 8 x 12
    assert (spread["size"]["min"], spread["size"]["max"]) == pytest.approx((96**0.5, 120**0.5))
    assert (spread["aspect_ratio"]["min"], spread["aspect_ratio"]["max"]) == pytest.approx((8 / 12, 10 / 12))
    assert [each["faces"] for each in found["sizes"]] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    assert [each["share_below"] for each in found["sizes"]] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]

    code, text, _ = run(*source)
    lines = [line.split() for line in text.splitlines()]
    assert ["faces", "2"] in lines and ["dropped", "1", "outside", "the", "image"] in lines
    assert ["blur", "2", "1", "33.3%"] in lines
    assert ["8-12", "2", "100.0%", "100.0%"] in lines
    assert "pixels of the image" in text and "anchors" not in text
    assert max(map(len, text.splitlines())) <= 110

    *_, found, _ = run(*source, "--class", "face=head", "--json")
    assert found["classes"] == {"head": 3}


def test_size_at_the_input(wider, run):
    images, annotations = wider
    source = ("--format", "wider_face", "--annotations", annotations, "--images", images)
    _, found, _ = run(*source, "--input-size", 96, "--json")  # twice as large
    assert found["distributions"]["size"]["max"] == pytest.approx(2 * 120**0.5)
    assert [each["faces"] for each in found["sizes"]] == [0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    assert found["anchors"] is None
    assert "pixels of the input" in run(*source, "--input-size", 96)[1]


def test_bins_hold_their_lower_edge():
    found = stats.size_bins(np.array([0.5, 4, 7.9999, 8, 256, 3000]))
    assert [each["faces"] for each in found] == [1, 2, 1, 0, 0, 0, 0, 0, 0, 2]
    assert found[1] == {"from": 4, "to": 8, "faces": 2, "share": 2 / 6, "share_below": 3 / 6}
    assert found[-1]["from"] == 256 and found[-1]["to"] is None


@pytest.mark.parametrize("sides", [(320, 320), (640, 425), (333, 500)])
def test_recall_of_our_ssd(records, run, sides):
    boxes = scattered(np.random.default_rng(2), 150, *sides)
    ignore = np.arange(len(boxes)) % 10 == 0
    images = [(*sides, boxes[:100], ignore[:100]), (*sides, boxes[100:], ignore[100:])]
    code, found, _ = run("--records", records(*images), "--pipeline", SSDLITE, "--json")
    assert code == 0
    pipeline = pipeline_config.read(SSDLITE)
    xyxy = anchors.xyxy(anchors.build(pipeline, 320, 320))
    exact = best_ious(pipeline, images, lambda *_: np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))
    reached = exact[:, 1] >= pipeline.matched_threshold
    result = found["anchors"]
    assert 0.1 < result["recall"] < 0.95
    assert result["recall"] == pytest.approx(reached.mean())
    assert result["mean_iou"] == pytest.approx(exact[:, 1].mean(), abs=1e-6)
    assert result["recall"] <= result["centred_recall"]
    for each in found["sizes"]:
        inside = (exact[:, 0] >= each["from"]) & (exact[:, 0] < (each["to"] or np.inf))
        assert each["faces"] == inside.sum()
        assert each["recall"] == (pytest.approx(reached[inside].mean()) if inside.any() else None)
    assert result["anchors"] == 2034 and [layer["anchors"] for layer in result["layers"]][:2] == [1200, 600]
    assert sum(layer["best_for"] for layer in result["layers"]) == found["faces"] == (~ignore).sum()
    assert result["smallest_anchor"]["size"] == pytest.approx(16)
    assert result["smallest_anchor"]["share_below_half"] == pytest.approx((exact[:, 0] < 8).mean())
    assert not reached[exact[:, 0] < result["smallest_anchor"]["unreachable_below"]].any()


def test_recall_where_inputs_differ_in_size(records, run):
    rng = np.random.default_rng(4)
    images = []
    for width, height in [(640, 480), (480, 640), (1300, 500), (200, 200), (640, 480)]:
        boxes = scattered(rng, 40, width, height)
        images.append((width, height, boxes, np.zeros(len(boxes))))
    _, found, _ = run("--records", records(*images), "--pipeline", FASTER_RCNN, "--json")
    pipeline = pipeline_config.read(FASTER_RCNN)

    def inside(width, height):
        xyxy = anchors.xyxy(anchors.build(pipeline, width, height))
        keep = (xyxy[:, :2] >= 0).all(axis=1) & (xyxy[:, 2] <= width) & (xyxy[:, 3] <= height)
        return np.hstack([xyxy[keep, :2], xyxy[keep, 2:] - xyxy[keep, :2]])

    exact = best_ious(pipeline, images, inside)
    result = found["anchors"]
    assert 0 < result["recall"] == pytest.approx((exact[:, 1] >= 0.7).mean())
    assert result["mean_iou"] == pytest.approx(exact[:, 1].mean(), abs=1e-6)
    assert (result["input_sizes"], result["commonest_input_size"]) == (4, [800, 600])
    assert result["anchors"] == len(inside(800, 600))
    assert (result["fewest_anchors"], result["most_anchors"]) == (
        min(len(inside(600, 600)), len(inside(1024, 394))),
        len(inside(800, 600)),
    )


def test_fixed_shape_changes_the_aspect_ratio(records, run, tmp_path):
    config = (ROOT / f"pipelines/{SSDLITE}.config").read_text()
    start, end = config.index("keep_aspect_ratio_resizer"), config.index("feature_extractor")
    path = tmp_path / "stretched.config"
    path.write_text(config[:start] + "fixed_shape_resizer { height: 320 width: 320 }\n}\n" + config[end:])
    box = [100, 100, 140, 140]
    _, found, _ = run("--records", records((640, 320, [box], [0])), "--pipeline", path, "--json")
    assert found["distributions"]["aspect_ratio"]["median"] == pytest.approx(1)
    assert found["distributions"]["aspect_ratio_at_input"]["median"] == pytest.approx(0.5)
    assert found["distributions"]["size"]["median"] == pytest.approx((20 * 40) ** 0.5)


def test_text_with_anchors(records, run):
    boxes = [[x, y, x + 6, y + 7] for x in range(0, 300, 50) for y in range(0, 300, 50)] + [[0, 0, 215, 267]]
    path = records((320, 320, boxes, [0] * 37), (320, 320, np.zeros((0, 4)), []))
    _, text, _ = run("--records", path, "--pipeline", SSDLITE)
    lines = [line.split() for line in text.splitlines()]
    assert ["4-8", "36", "97.3%", "97.3%", "0.000", "0.000"] in [line[:6] for line in lines]
    assert ["128-256", "1", "2.7%", "100.0%", "1.000", "1.000"] in [line[:6] for line in lines]
    assert ["1", "20", "x", "20", "16", "1,200", "36", "0", "16", "26", "42", "0.8"] in lines
    assert "force_match_for_each_row" in text
    assert "layer 1: all: 16 px" not in text and "layer 2: all: 48 px w/h 0.8, 57 px" in text
    assert "Too small: faces of 4-8 px. The smallest anchor has 16.0 px (14.3 x 17.9)." in text
    assert "97.3% of the faces are below half its size, 97.3% below 10.1 px" in text
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize(
    "box, hint",
    [
        ((152, 151, 166, 169), "Cells too far apart: faces of 12-16 px"),  # between four cells
        ((100, 100, 180, 112), "No anchors of such shapes: faces of 24-32 px"),
        ((97, 95, 111, 113), ""),  # right on one
    ],
)
def test_hints(records, run, box, hint):
    _, text, _ = run("--records", records((320, 320, [box], [0])), "--pipeline", SSDLITE)
    for beginning in ("Too small", "Cells too far apart", "No anchors of such shapes"):
        assert (beginning in text) == hint.startswith(beginning)
    assert hint in text


def test_no_faces(records, run):
    path = records((320, 320, np.zeros((0, 4)), []), (320, 320, [[1, 1, 9, 9]], [1]))
    for pipeline in ([], ["--pipeline", SSDLITE], ["--input-size", "320"]):
        code, found, _ = run("--records", path, *pipeline, "--json")
        assert (code, found["faces"], found["images_without_faces"]) == (0, 0, 2)
        assert found["images_with_ignored_boxes_only"] == 1 and found["ignored"] == 1
        assert found["anchors"] is None and found["distributions"]["size"] is None
        assert "NaN" not in json.dumps(found)
        assert "0.0%" in run("--records", path, *pipeline)[1]


def test_the_matcher_is_described(records, run, tmp_path):
    config = (ROOT / f"pipelines/{SSDLITE}.config").read_text()
    path = tmp_path / "mine.config"
    source = ("--records", records((320, 320, [[1, 1, 40, 50]], [0])), "--pipeline", path)
    path.write_text(config.replace("force_match_for_each_row: true", ""))
    assert "background to the model (force_match_for_each_row is not set)" in run(*source)[1]
    path.write_text(config.replace("ignore_thresholds: false", "ignore_thresholds: true"))
    assert "has no threshold; IoU 0.50 is taken here" in run(*source)[1]
    assert run(*source, "--json")[1]["anchors"]["matched_threshold"] is None


def test_bad_inputs_are_listed_and_the_rest_is_counted(wider, run):
    images, annotations = wider
    (images / "0--Parade/a.jpg").unlink()
    code, found, err = run(
        "--format", "wider_face", "--annotations", annotations, "--images", images, "--input-size", "320", "--json"
    )
    assert code == 1
    assert (found["images"], found["faces"], found["problems"]) == (3, 1, 1)
    assert err.count("\n") == 1 and "line 1: 0--Parade/a.jpg: no such file" in err


def test_nothing_to_go_on_with(wider, run, tmp_path):
    images, annotations = wider
    source = ["--format", "wider_face", "--annotations", annotations, "--images", images]
    unknown = tmp_path / "unknown.config"
    unknown.write_text((ROOT / f"pipelines/{SSDLITE}.config").read_text().replace("mobilenet_v2_keras", "nobody"))
    for arguments, message in [
        ([], "give the images as --records"),
        (["--records", tmp_path / "none"], "none"),
        ([*source, "--pipeline", "none"], "no such pipeline"),
        ([*source, "--pipeline", unknown], "line .*: feature_extractor: the layers of 'ssd_nobody' are not known"),
    ]:
        with pytest.raises(UserError, match=message):
            run(*arguments)
    for path in images.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match="not one good image"):
        run(*source)
    for size in ("0", "-1", "many", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            run(*source, f"--input-size={size}")
    with pytest.raises(SystemExit, match="2"):
        run(*source, "--input-size", "320", "--pipeline", SSDLITE)


def test_records_and_their_source_have_the_same_figures(wider, run, tmp_path):
    images, annotations = wider
    source = ["--annotations", str(annotations), "--images", str(images)]
    assert convert.main(["--from", "wider_face", *source, "--to", "tfrecord", "--output", str(tmp_path / "out")]) == 0
    _, of_source, _ = run("--format", "wider_face", *source, "--pipeline", SSDLITE, "--json")
    _, of_records, _ = run("--records", tmp_path / "out", "--pipeline", SSDLITE, "--json")
    for name in ("images", "faces", "ignored", "classes", "flags"):
        assert of_records[name] == of_source[name]
    assert [each["faces"] for each in of_records["sizes"]] == [each["faces"] for each in of_source["sizes"]]
    assert of_records["anchors"]["mean_iou"] == pytest.approx(of_source["anchors"]["mean_iou"], abs=1e-6)


def test_the_command_without_tensorflow(records):
    path = records((320, 320, [[1, 1, 40, 50]], [0]))
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['object_detection'] = None\n"
        "from tools import stats; from detect_faces.errors import run_command; run_command(stats.main)"
    )
    command = [sys.executable, "-c", code, "--records", path, "--pipeline", SSDLITE, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["faces"] == 1


def test_a_real_set(shared_wider, run):
    """Every anchor against every face of 400 photographs."""
    folder, annotations = shared_wider("wider_dev")
    source = ("--format", "wider_face", "--annotations", annotations, "--images", folder)
    code, found, _ = run(*source, "--pipeline", SSDLITE, "--json")
    assert (code, found["images"], found["faces"]) == (0, 400, 4796)
    pipeline = pipeline_config.read(SSDLITE)
    xyxy = anchors.xyxy(anchors.build(pipeline, 320, 320))
    xywh = np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])
    images = [
        (image.width, image.height, image.xyxy, image.ignore)
        for image in wider_face.load(annotations, folder, None, Report())
        if not image.ignore.all()
    ]
    exact = best_ious(pipeline, images, lambda *_: xywh)
    assert found["anchors"]["recall"] == pytest.approx((exact[:, 1] >= pipeline.matched_threshold).mean(), abs=1e-9)
    assert found["anchors"]["mean_iou"] == pytest.approx(exact[:, 1].mean(), abs=1e-9)
    assert found["sizes"][1]["share_below"] == pytest.approx((exact[:, 0] < 8).mean())
