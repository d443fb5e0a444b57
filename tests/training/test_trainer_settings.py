"""The trainer's block in a pipeline.config: its defaults, its text form, and everyone who reads such a config."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from detect_faces import Faces
from detect_faces.errors import UserError
from evaluation.coco import coco_metrics
from tools import anchors, pipeline_config
from tools.annotations import AnnotatedImage
from training import run_folder
from training.od_api import pipeline, trainer_settings

SSDLITE = "ssdlite_mobilenet_v2_320_face"
DEFAULTS = {
    "evaluate_every": 200,
    "patience": 5,
    "metric": "AP50",
    "save_every": 100,
    "accumulate": 1,
    "batch_norm_batches": 24,
    "smallest_face": 8,
    "head_only_steps": 0,
    "seed": 0,
}
FACE_CROP = {"share": pytest.approx(0.8), "min_size": 12, "max_size": 160, "max_zoom": 2.5}
BLOCK = """
[face_detector.trainer] {
  evaluate_every: 400   # steps between evaluations
  patience: 3
  metric: "AP"
  save_every: 50
  accumulate: 2
  batch_norm_batches: 40
  smallest_face: 6.5
  head_only_steps: 100
  face_crop { share: 0.5 min_size: 16 max_size: 200 max_zoom: 2 }
  seed: 4000000000
}
"""


@pytest.fixture
def full(tmp_path) -> Path:
    """The SSDLite config with a full block in front: nothing of the OD API's own has been named before."""
    path = tmp_path / "full.config"
    text = pipeline.find(SSDLITE).read_text()
    path.write_text(BLOCK + text[: text.index("[face_detector.trainer]")])
    return path


def test_defaults_where_there_is_no_block(tmp_path):
    config = pipeline.load(SSDLITE)
    config.ClearExtension(trainer_settings.TRAINER)
    before = pipeline.text(config)
    found = trainer_settings.settings(config)
    assert {name: getattr(found, name) for name in DEFAULTS} == DEFAULTS
    assert not found.HasField("face_crop")
    assert {name: getattr(found.face_crop, name) for name in FACE_CROP} == FACE_CROP
    assert pipeline.text(config) == before  # to look puts no block there


def test_a_full_config(full):
    found = trainer_settings.settings(pipeline.load(full))
    assert found.HasField("face_crop")
    assert (found.evaluate_every, found.patience, found.metric, found.save_every) == (400, 3, "AP", 50)
    assert (found.accumulate, found.batch_norm_batches, found.smallest_face) == (2, 40, 6.5)
    assert (found.head_only_steps, found.seed) == (100, 4_000_000_000)
    crop = found.face_crop
    assert (crop.share, crop.min_size, crop.max_size, crop.max_zoom) == (0.5, 16, 200, 2)


def test_every_field_is_in_the_module_s_table():
    trainer = trainer_settings.Trainer()
    for message in (trainer, trainer.face_crop, trainer.start.add()):
        for field in message.DESCRIPTOR.fields:
            assert f"{field.name} |" in trainer_settings.__doc__ or f"{field.name}, " in trainer_settings.__doc__


def test_text_and_bytes_give_it_back(full):
    config = pipeline.load(full)
    assert text_format.Parse(pipeline.text(config), type(config)()) == config
    assert type(config).FromString(config.SerializeToString()) == config
    done = pipeline.complete(config, records=["a"], label_map="m", steps=3)
    assert trainer_settings.settings(done) == trainer_settings.settings(config)


def test_spelled_out(full):
    config = pipeline.load(SSDLITE)
    config.ClearExtension(trainer_settings.TRAINER)
    text = pipeline.text(trainer_settings.spelled_out(config))
    assert all(f"  {name}: " in text for name in DEFAULTS) and "face_crop" not in text
    assert not config.HasExtension(trainer_settings.TRAINER)
    config = pipeline.load(full)
    assert trainer_settings.spelled_out(config) == config


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("patience: 3", "pateince: 3", r"line 4, column 3: Trainer has no field 'pateince'; did you mean patience\?"),
        ("patience: 3", "patience: -3", "line 4, column 13: trainer.patience takes a whole number, 0 or more, not -3"),
        ("patience: 3", "patience: 3 patience: 3", "line 4, .*: trainer.patience is there already, in line 4"),
        ('"AP"', "AP", "line 5, column 11: trainer.metric takes text in quotes, not AP"),
        ("share: 0.5", "share: half", "line 11, .*trainer.face_crop.share takes a number, not half"),
        ("share: 0.5", "shares: 0.5", "FaceCrop has no field 'shares'; did you mean share"),
        ("face_detector.trainer", "face_detector.traner", "no extension .*; did you mean face_detector.trainer"),
        ("[face_detector.trainer]", "trainer", r"no field 'trainer'; did you mean \[face_detector.trainer\]\?"),
    ],
)
def test_a_wrong_block_is_placed(full, old, new, message):
    text = full.read_text()
    assert old in text
    full.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=f"full.config, .*{message}") as caught:
        pipeline.load(full)
    assert "\n" not in str(caught.value)


def test_the_reader_without_the_od_api_passes_it_over(full):
    plain, held = pipeline_config.read(SSDLITE), pipeline_config.read(full)
    assert held.anchor_generator == plain.anchor_generator
    assert repr(anchors.build(held, 320, 320)) == repr(anchors.build(plain, 320, 320))


def test_a_line_in_a_config_that_holds_it(full):
    """The block's own names lead nobody astray: `face_crop` is no part of the model."""
    number = full.read_text().splitlines().index("    image_resizer {") + 1
    full.write_text(full.read_text().replace("max_dimension: 320", "max_dimension: 10"))
    with pytest.raises(UserError, match=f"line {number}: image_resizer: min_dimension"):
        pipeline_config.read(full)


def test_that_reader_needs_no_tensorflow_for_it(full):
    code = "import sys; from tools import pipeline_config; pipeline_config.read(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, full], cwd=pipeline.PIPELINES.parent, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not {b"tensorflow", b"object_detection"} & set(done.stdout.split())


def test_the_metrics_are_those_of_evaluation():
    image = AnnotatedImage("a.jpg", 100, 100, np.array([[10.0, 10, 50, 50]]), ["face"], Path("a.jpg"))
    found = Faces(np.array([[10.0, 10, 50, 50]]), np.array([0.9]))
    assert set(coco_metrics([image], [found])) >= set(trainer_settings.METRICS)


def test_the_od_api_reads_builds_and_writes_a_config_that_holds_it(full, tmp_path):
    """The calls of its exporter: reading the file, building the model from it, writing it beside the SavedModel."""
    from object_detection.builders import model_builder
    from object_detection.core.model import DetectionModel
    from object_detection.utils import config_util

    configs = config_util.get_configs_from_pipeline_file(str(full))
    assert configs["model"] == pipeline.load(full).model
    assert isinstance(model_builder.build(configs["model"], is_training=False), DetectionModel)
    config_util.save_pipeline_config(pipeline.load(full), str(tmp_path))
    assert pipeline.load(tmp_path / "pipeline.config") == pipeline.load(full)


# ---- What may change between a start and the next -----------------------------------------------------------------


@pytest.fixture
def begun(tmp_path):
    """A function that gives a begun run the text of a config, and checks another against it."""
    folder = tmp_path / "run"

    def check(before: str, now: str) -> None:
        run_folder.write_config(folder, before)
        tf.train.CheckpointManager(tf.train.Checkpoint(step=tf.Variable(1)), str(folder), max_to_keep=1).save()
        run_folder.check_config(folder, now)

    return check


def block(inner: str) -> str:
    return f"train_config {{ batch_size: 8 }} [face_detector.trainer] {{ {inner} }}"


@pytest.mark.parametrize(
    "before, now",
    [
        ("", "evaluate_every: 7 patience: 0 save_every: 1"),
        ("evaluate_every: 7 patience: 0 save_every: 1", "patience: 9"),
        ("", "start { checkpoint: 'a' class_from: 'b' }"),  # its weights are its own
        ("", "seed: 0 accumulate: 1 smallest_face: 8"),  # what holds without a word
        ("face_crop {}", "face_crop { share: 0.8 min_size: 12 }"),
    ],
)
def test_a_run_goes_on_with_other_looks_at_it(begun, before, now):
    begun(block(before), block(now))


def test_a_run_of_before_there_was_a_block_goes_on(begun):
    begun("train_config { batch_size: 8 }", block("evaluate_every: 7"))


@pytest.mark.parametrize(
    "before, now, difference",
    [
        ("", "accumulate: 2", r"- accumulate: 1 / \+ accumulate: 2"),
        ("", "metric: 'AR'", r'- metric: "AP50" / \+ metric: "AR"'),  # best/ was chosen by the other
        ("seed: 1", "", r"- seed: 1 / \+ seed: 0"),
        ("", "batch_norm_batches: 1", "batch_norm_batches: 1"),
        ("", "smallest_face: 4", "smallest_face: 4"),
        ("", "head_only_steps: 4", "head_only_steps: 4"),
        ("", "face_crop {}", r"\+ face_crop \{"),
        ("face_crop {}", "face_crop { max_zoom: 3 }", r"- max_zoom: 2.5 / \+ max_zoom: 3"),
    ],
)
def test_what_is_trained_may_not_change(begun, before, now, difference):
    with pytest.raises(UserError, match=f"another config .*{difference}"):
        begun(block(before), block(now))


@pytest.mark.parametrize(("name", "expected"), [(SSDLITE, True), ("ssdlite_mobilenet_v2_300_zoo", False)])
def test_images_come_by_means_where_the_trainer_crops(name, expected):
    assert trainer_settings.by_means(pipeline.load(name)) is expected
