"""Models in 8 bits: the faces of the float16 one, in a file that the runtime reads as any other."""

import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces import Detector, UserError, read_image
from export import calibration, description, tflite
from training.od_api import pipeline as pipelines

IMAGES = Path("data/sample/images")
COMMITTED = [IMAGES / f"faceapi-sample{i}.jpg" for i in range(1, 7)] + [
    IMAGES / "astronaut.png",
    IMAGES / "grace_hopper.jpg",
]
PYRAMID = Path("pipelines/ssdlite_mobilenet_v2_fpn_320_face.config")


def test_photographs_too_few_to_measure_on(tmp_path, capsys):
    for path in COMMITTED[:3]:
        shutil.copy(path, tmp_path)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="3 photographs are too few"):
        calibration.check(tmp_path)
    assert "torn.jpg" in capsys.readouterr().err


@pytest.fixture(scope="module")
def enough_photographs(tmp_path_factory):
    """Those of the repository, and each upside down: alone they are too few, and nothing is to be downloaded here."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in COMMITTED:
        image = cv2.imread(str(path))
        cv2.imwrite(str(folder / path.name), image)
        cv2.imwrite(str(folder / f"{path.stem}-turned.png"), cv2.rotate(image, cv2.ROTATE_180))
    return folder


def test_inputs_are_those_of_the_runtime(enough_photographs):
    described = {"name": "n", "model": "model.tflite", "min_score": 0.5}
    described["input"] = {
        "width": 64,
        "height": 64,
        "resize": "letterbox",
        "interpolation": "means",
        "pad_value": 127.5,
        "scale": 1,
        "offset": -100,
    }
    described["postprocessing"] = {"score_threshold": 0.01, "iou_threshold": 0.45, "max_detections": 400}
    seen = list(calibration.inputs(enough_photographs, described, [(64, 64), (256, 256)])())
    assert Counter(name for name, _ in seen) == {"detect": 16, "detect_256x256": calibration.FEWEST}
    for name, given in seen:
        side = 64 if name == "detect" else 256
        assert given["image"].shape == (1, side, side, 3) and given["image"].dtype == np.float32
        assert given["image"].min() >= -100 and given["image"].max() <= 155


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ssd: ssd.box_coder.mean_stddev_box_coder.SetInParent(), "faster_rcnn_box_coder"),
        (lambda ssd: setattr(ssd.post_processing, "score_converter", ssd.post_processing.SOFTMAX), "SIGMOID"),
        (lambda ssd: setattr(ssd.post_processing, "logit_scale", 2.0), "SIGMOID"),
    ],
)
def test_what_the_runtime_cannot_decode_is_refused(change, message):
    pipeline = pipelines.load(PYRAMID.stem)
    change(pipeline.model.ssd)
    with pytest.raises(UserError, match=message):
        description.decoding(pipeline, PYRAMID, [(320, 320)])


@pytest.mark.slow
def test_finds_the_faces_of_the_float16_model(tmp_path, enough_photographs):
    from export.__main__ import main
    from training import restore, run_folder
    from training.od_api import model as detection_model

    pipeline = pipelines.load(PYRAMID.stem)
    model = detection_model.build(pipeline, training=False)
    checkpoint = "checkpoints/face_pyramid/model.ckpt"
    variables = {variable.name.partition(":")[0]: variable for variable in model.variables}
    restore.restore(restore.plan(variables, checkpoint, restore.by_place(checkpoint, model)))
    run = tmp_path / "run"
    run_folder.write_config(run, pipelines.text(pipeline))
    run_folder.save_weights(run / run_folder.LAST, model, 0)
    command = [
        "--run",
        str(run),
        "--sizes",
        "320",
        "448",
        "--output",
        str(tmp_path / "int8"),
        "--int8",
        str(enough_photographs),
    ]
    assert main(command) == 0
    (tmp_path / "float16").mkdir()
    described = description.describe(pipeline, model, "float16", ["face"], 0.5, [(448, 448)])
    (tmp_path / "float16/model.json").write_text(json.dumps(described))
    (tmp_path / "float16/model.tflite").write_bytes(tflite.convert(model, [(320, 320), (448, 448)]))

    sizes = {name: (tmp_path / name / "model.tflite").stat().st_size for name in ("int8", "float16")}
    assert sizes["int8"] < sizes["float16"]
    layers = json.loads((tmp_path / "int8/model.json").read_text())["decoding"]["anchors"]
    assert [entry["input"] for entry in layers] == [[320, 320], [448, 448]]
    for size in (None, 448):
        theirs, ours = (Detector(tmp_path / name, input_size=size) for name in ("float16", "int8"))
        for name in ("faceapi-sample5.jpg", "astronaut.png", "grace_hopper.jpg"):
            image = read_image(IMAGES / name)
            true, found = theirs.detect(image), ours.detect(image)
            assert len(found) == len(true) > 0
            sides = true.xyxy[:, 2:] - true.xyxy[:, :2]
            order = np.abs(found.xyxy[:, None] - true.xyxy).sum(-1).argmin(0)
            assert (np.abs(found.xyxy[order] - true.xyxy) < 0.06 * np.tile(sides, 2)).all()
            np.testing.assert_allclose(found.scores[order], true.scores, atol=0.05)
