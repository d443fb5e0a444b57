"""Validation inside a run: figures, bad images, pictures, and a model that stays as it was."""

import json
import threading

import cv2
import numpy as np
import pytest
import tensorflow as tf

from detect_faces import Faces, UserError, detections_file
from detect_faces.images import decode_image
from detect_faces.preprocessing import letterbox_size
from detect_faces.resizing import resize_by_means
from evaluation import evaluate
from evaluation.coco import coco_metrics
from tools import formats, tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.images import EncodedImage
from tools.report import Report
from training import validation
from training.detect import find_faces
from training.od_api import model as detection_model
from training.od_api import modes
from training.validation import GAP, PICTURE_SIDE, Validation

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")

BOXES = np.array([[40, 60, 120, 160], [200, 30, 260, 100]], float)
WIDTH, HEIGHT = 320, 240


class Oracle:
    """Stands in for BatchDetector: finds BOXES in every image, the last of them with the score 0.1."""

    def __init__(self, model=None, batch_size=4, by_means=False):
        self.batch_size, self.asked = batch_size, []
        self.boxes = BOXES[:, [1, 0, 3, 2]] / [HEIGHT, WIDTH, HEIGHT, WIDTH]
        self.scores = np.array([0.9, 0.1])

    def prepare(self, image_rgb):
        return image_rgb

    def detect(self, prepared):
        self.asked.append(len(prepared))
        return [(self.boxes, self.scores) for _ in prepared]


@pytest.fixture
def oracle(monkeypatch):
    monkeypatch.setattr(validation, "BatchDetector", Oracle)


def picture(name="a.jpg", boxes=BOXES, data=None, size=(WIDTH, HEIGHT), **flags) -> AnnotatedImage:
    """A grey picture, by default with BOXES as its faces."""
    if data is None:
        data = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()
    return AnnotatedImage(name, *size, boxes, ["face"] * len(boxes), data, flags)


@pytest.fixture
def records(tmp_path):
    def write(*images) -> str:
        path = tmp_path / "validation.tfrecord"
        with open(path, "wb") as file:
            for image in images:
                encoded = EncodedImage(image.source, "png", image.width, image.height, (image.width, image.height))
                file.write(tfrecord_file.frame(tf_example.encode(image, encoded, {"face": 1})))
        return str(path)

    return write


def quiet_report() -> tuple[Report, list[str]]:
    lines = []
    return Report(show=lines.append), lines


# ---- Figures ---------------------------------------------------------------------------------------------------------


def test_figures_of_what_is_found(oracle, records):
    validate = Validation(records(*(picture(f"{i}.jpg") for i in range(9))), None)
    metrics = validate()
    assert metrics["AP"] == metrics["AP50"] == metrics["AR"] == pytest.approx(1)
    assert (metrics["images"], metrics["faces"]) == (9, 18)
    assert metrics["AP_small"] is None and metrics["seconds"] > 0


def test_boxes_that_do_not_count(oracle, records):
    metrics = Validation(records(picture(ignore=[0, 1]), picture("b.jpg", group_of=[1, 0])), None)()
    assert metrics["faces"] == 2 and metrics["AP50"] == pytest.approx(1)


def test_no_face_that_counts(oracle, records):
    for images in ([picture(boxes=np.zeros((0, 4)))], [picture(ignore=[1, 1])]):
        metrics = Validation(records(*images), None)()
        assert metrics["AP"] is None and metrics["AP50"] is None
        assert (metrics["images"], metrics["faces"]) == (1, 0)


def test_a_bad_image_is_said_once_and_left_out(oracle, records, tmp_path):
    bad = picture("bad.jpg", data=picture().source[:-40])
    other_size = picture("other.jpg", size=(WIDTH + 1, HEIGHT))
    report, lines = quiet_report()
    validate = Validation(records(picture(), bad, other_size, picture("c.jpg")), None, report=report)
    found = tmp_path / "found.jsonl"
    first = validate(found)
    assert [line.split(": ")[1] for line in lines] == ["bad.jpg", "other.jpg"]
    assert "damaged" in lines[0] and "is 320x240 pixels, its annotation is for 321x240" in lines[1]
    assert first["images"] == 2 and first["AP"] == pytest.approx(1)
    assert [line.error is None for line in detections_file.read(found)] == [True, False, False, True]
    again = validate()
    assert len(lines) == 2 and report.problems == 2
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


def test_nothing_to_validate_on(oracle, records, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Validation(tmp_path / "nowhere", None)
    with pytest.raises(UserError, match="not one good image"):
        Validation(records(), None)
    with pytest.raises(UserError, match="not one good image"):
        Validation(records(picture(data=b"\x89PNG\r\n\x1a\n")), None, report=quiet_report()[0])()


def test_the_detections_file_is_one_that_evaluation_reads(oracle, records, tmp_path, capsys):
    path, found = records(picture(), picture("b.jpg", boxes=BOXES[1:])), tmp_path / "eval/found.jsonl"
    metrics = Validation(path, None)(found)
    assert evaluate.main(["--records", path, "--detections", str(found), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["coco"]
    assert 0 < figures["AP"] < 1
    assert figures == pytest.approx({name: metrics[name] for name in figures}, abs=1e-6)


# ---- Pictures --------------------------------------------------------------------------------------------------------


def test_pictures_are_chosen_evenly(oracle, records):
    validate = Validation(records(*(picture(f"{i}.jpg") for i in range(9))), None, pictures=3)
    assert validate.pictures().shape == (0, PICTURE_SIDE, 2 * PICTURE_SIDE + GAP, 3)
    validate()
    assert validate.pictures().shape == (3, PICTURE_SIDE, 2 * PICTURE_SIDE + GAP, 3)
    assert validate.pictures().dtype == np.uint8
    assert list(validate._found) == ["0.jpg", "4.jpg", "8.jpg"]


@pytest.mark.parametrize("pictures, images, expected", [(0, 2, 0), (8, 2, 2), (1, 2, 1)])
def test_number_of_pictures(oracle, records, pictures, images, expected):
    validate = Validation(records(*(picture(f"{i}.jpg") for i in range(images))), None, pictures=pictures)
    validate()
    assert len(validate.pictures()) == expected


def test_true_boxes_on_the_left_found_ones_on_the_right(oracle, records):
    validate = Validation(records(picture(ignore=[0, 1])), None)
    validate()
    (drawn,) = validate.pictures().astype(int)
    top = (PICTURE_SIDE - HEIGHT) // 2  # 320 x 240 in the middle of its square, not enlarged
    left = (PICTURE_SIDE - WIDTH) // 2

    def colours(box, panel):
        """Of the pixels on the lower edge of a box, where no label lies."""
        x_min, _, x_max, y_max = (box + np.array([left, top, left, top])).astype(int)
        shift = panel * (PICTURE_SIDE + GAP)
        return drawn[y_max, x_min + 2 + shift : x_max - 2 + shift]

    def is_green(pixels):
        return (pixels[:, 1] > pixels[:, 0] + 80) & (pixels[:, 1] > pixels[:, 2] + 80)

    assert is_green(colours(BOXES[0], panel=0)).all()
    ignored = colours(BOXES[1], panel=0)
    assert (ignored == 170).all(axis=1).any() and not is_green(ignored).any()
    assert is_green(colours(BOXES[0], panel=1)).all()
    assert (colours(BOXES[1], panel=1) == 90).all()  # its score is below what is shown


# ---- Images on their way through the network -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_image_in_order(count, batch_size):
    detector = Oracle(batch_size=batch_size)
    images = [picture(f"{i}.jpg") for i in range(count)]
    lines = list(find_faces(detector, images))
    assert [line.image for line in lines] == [image.name for image in images]
    assert sum(detector.asked) == count and max(detector.asked, default=0) <= batch_size
    for line in lines:
        assert line.faces.xyxy == pytest.approx(BOXES, abs=1e-3)


def test_few_images_are_read_ahead_and_threads_end():
    taken = []

    def endless():
        while True:
            taken.append(picture(f"{len(taken)}.jpg"))
            yield taken[-1]

    found = find_faces(Oracle(), endless())
    for _ in range(40):
        next(found)
    assert len(taken) <= 40 + 3 * 4
    found.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_detections_that_are_not_finite_are_none():
    detector = Oracle()
    detector.boxes[0, 2], detector.scores[:] = np.nan, [0.9, 0.8]
    (line,) = find_faces(detector, [picture()])
    assert line.faces.xyxy == pytest.approx(BOXES[1:], abs=1e-3)


def test_a_file_that_has_gone(tmp_path):
    image = AnnotatedImage("gone.jpg", 9, 9, np.zeros((0, 4)), (), tmp_path / "gone.jpg")
    (line,) = find_faces(Oracle(), [image])
    assert line.error == "No such file or directory"


# ---- The real model --------------------------------------------------------------------------------------------------


def test_the_model_finds_in_batches_what_it_finds_singly_and_stays_as_it_was(seeing_model, sample_records):
    images = list(formats.find("tfrecord").load(sample_records["validation"], None, None, Report()))
    singly = []
    for image in images:
        pixels = decode_image(image.encoded())
        pixels = resize_by_means(pixels, *letterbox_size(image.width, image.height, 320, 320))
        boxes, scores = detection_model.detect(seeing_model, tf.constant(np.ascontiguousarray(pixels[..., ::-1])))
        singly.append(Faces.from_yxyx(boxes.numpy(), scores.numpy(), image.width, image.height))
    assert sum(map(len, singly)) > 100

    before = [variable.numpy() for variable in seeing_model.variables]
    detection_model.set_training(True)  # as between two steps
    validate = Validation(sample_records["validation"], seeing_model, by_means=True, pictures=2)
    assert validate._detector.batch_size > 1
    metrics = validate()
    assert tf.keras.backend.learning_phase() and seeing_model._is_training
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, seeing_model.variables, strict=True))

    expected = coco_metrics(images, singly)
    assert metrics["AR"] > 0 and {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    in_batches = [line.faces for line in find_faces(validate._detector, images)]
    same = []
    for one, several in zip(singly, in_batches, strict=True):
        assert several.scores == pytest.approx(one.scores, abs=1e-4)
        same.append(np.abs(several.xyxy - one.xyxy).max(axis=1) < 0.1)  # pixels
    assert np.concatenate(same).mean() > 0.99  # two of nearly the same score may change places

    # the weights are those of the moment
    for variable in seeing_model.trainable_variables:
        if "ClassPredictor/bias" in variable.name:
            variable.assign(variable - 1000)
    assert validate()["AR"] == 0


TWO_STAGE = """
model { faster_rcnn {
  num_classes: 1
  image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 } }
  feature_extractor { type: "faster_rcnn_resnet50_keras" batch_norm_trainable: true }
  first_stage_anchor_generator { grid_anchor_generator { scales: [0.1, 0.2] aspect_ratios: [1.0] } }
  first_stage_box_predictor_conv_hyperparams {
    regularizer { l2_regularizer {} } initializer { truncated_normal_initializer {} }
  }
  first_stage_nms_iou_threshold: 0.95
  first_stage_max_proposals: 20
  first_stage_localization_loss_weight: 2
  first_stage_objectness_loss_weight: 1
  initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
  second_stage_batch_size: 8
  second_stage_box_predictor { mask_rcnn_box_predictor { fc_hyperparams {
    op: FC regularizer { l2_regularizer {} } initializer { variance_scaling_initializer {} }
  } } }
  second_stage_post_processing {
    batch_non_max_suppression { iou_threshold: 1 max_detections_per_class: 20 max_total_detections: 20 }
    score_converter: SOFTMAX
  }
} }
train_config { optimizer { adam_optimizer { learning_rate { constant_learning_rate {} } } } }
"""


@pytest.mark.slow
def test_a_two_stage_model_built_for_training(tmp_path):
    """Detects as the same weights do in a model built for inference, and trains on as before."""
    from training.od_api import pipeline

    path = tmp_path / "two-stage.config"
    path.write_text(TWO_STAGE)
    config = pipeline.load(path)
    tf.keras.utils.set_random_seed(0)
    trained, used = (detection_model.build(config, training=training) for training in (True, False))
    for variable in trained.variables:
        if "gamma" in variable.name:  # with 1 the values grow from block to block
            variable.assign(variable / 2)
    for source, target in zip(trained.variables, used.variables, strict=True):
        target.assign(source)
    images = [np.random.default_rng(i).integers(0, 256, (90 + 10 * i, 120, 3), np.uint8) for i in range(2)]
    expected = [detection_model.detect(used, tf.constant(image)) for image in images]
    detection_model.set_training(True)
    detector = modes.BatchDetector(trained)
    detection_model.set_training(False)
    assert detector.batch_size == 1 and trained._is_training  # images of different sizes
    for image, (boxes, scores) in zip(images, expected, strict=True):
        assert len(scores) > 5
        ((found_boxes, found_scores),) = detector.detect([detector.prepare(image)])
        assert found_scores == pytest.approx(scores.numpy(), abs=1e-4)  # oneDNN: by CPU and graph
        assert found_boxes == pytest.approx(boxes.numpy(), abs=1e-3)
