"""Pipeline configs: found by name or path, their errors, what is filled in for a run; and those of the project."""

import re

import pytest

from detect_faces.errors import UserError
from training.od_api import pipeline

CONFIGS = sorted(pipeline.PIPELINES.glob("*.config"))
SSDLITE = "ssdlite_mobilenet_v2_320_face"


def test_by_name_and_by_path(tmp_path):
    by_name = pipeline.load(SSDLITE)
    assert by_name == pipeline.load(f"{SSDLITE}.config")
    path = tmp_path / "mine.config"
    path.write_text(pipeline.text(by_name))
    assert pipeline.load(path) == by_name


@pytest.mark.parametrize("name", ["", "ssdlite", "pipelines", "no/such.config"])
def test_an_unknown_pipeline_gets_the_known_ones(name):
    with pytest.raises(UserError) as caught:
        pipeline.load(name)
    message = str(caught.value)
    assert "no such pipeline" in message and "\n" not in message
    assert all(config.stem in message for config in CONFIGS)


@pytest.mark.parametrize(
    "text, where",
    [
        ("model {\n  ssd {\n    num_clases: 1\n  }\n}\n", "line 3, column 5: .*num_clases.*did you mean num_classes"),
        ("model {\n  ssd {\n    num_classes: one\n", "line 3, column 18: .*one"),
        ("model {\n", 'line 1, column 7: Expected "}"'),
        ("", "needs a model and an optimizer"),
        ("model { ssd { num_classes: 1 } }", "needs a model and an optimizer"),
        ("\n\nmodel { ssd {} faster_rcnn {} }", "line 3"),
        (b"model {\n\xff\xfe}", "UTF-8"),
    ],
)
def test_an_error_in_the_file_is_placed(tmp_path, text, where):
    path = tmp_path / "broken.config"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"broken.config.*({where})") as caught:
        pipeline.load(path)
    assert "\n" not in str(caught.value)


def test_the_two_pyramids_are_one_network():
    small, large = (pipeline.load(f"ssdlite_mobilenet_v2_fpn_{side}_face") for side in (320, 640))
    resizer = large.model.ssd.image_resizer.keep_aspect_ratio_resizer
    resizer.min_dimension = resizer.max_dimension = 320
    assert large.model == small.model
    assert large.train_config.data_augmentation_options == small.train_config.data_augmentation_options


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_project_s_configs(path):
    config = pipeline.load(path.stem)
    assert pipeline.num_classes(config) == 1
    assert pipeline.meta_architecture(config) in ("ssd", "faster_rcnn")
    assert pipeline.meta_config(config).feature_extractor.type.endswith("_keras")

    # nothing to edit by hand
    assert "/" not in re.sub(r"#.*", "", path.read_text())
    assert "PATH_TO" not in path.read_text()
    assert not config.train_config.fine_tune_checkpoint
    for reader in (config.train_input_reader, *config.eval_input_reader):
        assert not reader.tf_record_input_reader.input_path and not reader.label_map_path
        assert reader.max_number_of_boxes >= 500  # the OD API reads the cap here; its default of 100 cuts crowds
    assert len(config.eval_input_reader) == 1

    # crowds are not cut at 100, and the detections that AP needs are kept
    model = pipeline.meta_config(config)
    stage = "post_processing" if config.model.HasField("ssd") else "second_stage_post_processing"
    suppression = getattr(model, stage).batch_non_max_suppression
    most = 100 if path.stem.endswith("_zoo") else 300  # the zoo's has to find what graphs made with it find
    assert suppression.max_detections_per_class == suppression.max_total_detections >= most
    assert suppression.score_threshold <= 0.01

    # the head says how to run it
    head = path.read_text().partition("model {")[0]
    assert f"make train PIPELINE={path.stem}" in head


def test_a_run_s_own_values_are_filled_in():
    config = pipeline.load(SSDLITE)
    before = pipeline.text(config)
    done = pipeline.complete(
        config, records=["a-0", "a-1"], label_map="map.pbtxt", checkpoint="model.ckpt", steps=10000, batch_size=3
    )
    assert pipeline.text(config) == before
    assert list(done.train_input_reader.tf_record_input_reader.input_path) == ["a-0", "a-1"]
    assert done.train_input_reader.label_map_path == done.eval_input_reader[0].label_map_path == "map.pbtxt"
    train = done.train_config
    assert (train.fine_tune_checkpoint, train.batch_size, train.num_steps) == ("model.ckpt", 3, 10000)
    unchanged = pipeline.complete(config, records=["a"], label_map="m")
    assert unchanged.train_config == config.train_config


@pytest.mark.parametrize(
    "steps, total, warmup", [(0, 1, 0), (1, 1, 0), (10, 10, 1), (300, 300, 30), (600, 600, 60), (9999, 9999, 60)]
)
def test_the_schedule_follows_the_steps(steps, total, warmup):
    done = pipeline.complete(pipeline.load(SSDLITE), records=["a"], label_map="m", steps=steps)
    schedule = done.train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    assert (done.train_config.num_steps, schedule.total_steps, schedule.warmup_steps) == (steps, total, warmup)


@pytest.mark.parametrize("name", [config.stem for config in CONFIGS])
def test_learning_rate_rises_and_falls_to_nothing(name):
    import tensorflow as tf

    from training.od_api import optimizer

    step = tf.Variable(0, dtype=tf.int64)
    config = pipeline.complete(pipeline.load(name), records=["a"], label_map="m", steps=100)
    _, learning_rate = optimizer.build(config, step, [])
    rates = [float(learning_rate()) for at in (0, 10, 55, 100) if step.assign(at) is not None]
    assert 0 < rates[0] < 0.21 * rates[1]
    assert rates[1] == max(rates) > 1e-5
    assert rates[2] == pytest.approx(0.5 * rates[1])
    assert rates[3] == pytest.approx(0, abs=1e-9)


def test_average_decay():
    from training.od_api import optimizer

    config = pipeline.load(SSDLITE)
    assert optimizer.average_decay(config) == pytest.approx(0.995)
    config.train_config.optimizer.use_moving_average = False
    assert optimizer.average_decay(config) == 0
