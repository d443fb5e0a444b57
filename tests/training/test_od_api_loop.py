"""The OD API's own training loop, evaluation and exporter behind the shims, on the project's SSDLite config."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.od_api import exporter, pipeline
from training.od_api import model as detection_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STEPS = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory, sample_records, label_map) -> Path:
    """The SSDLite config with paths, as whoever uses the OD API by itself would write it."""
    train, validation = (
        [str(path) for path in Path(sample_records[part]).glob("*.tfrecord")] for part in ("train", "validation")
    )
    config = pipeline.complete(
        pipeline.load("ssdlite_mobilenet_v2_320_face"), records=train, label_map=label_map, steps=STEPS, batch_size=2
    )
    config.eval_input_reader[0].tf_record_input_reader.input_path[:] = validation
    path = tmp_path_factory.mktemp("od_api") / "pipeline.config"
    path.write_text(pipeline.text(config))
    return path


@pytest.fixture(scope="module")
def run(config) -> Path:
    """What the OD API's training loop leaves."""
    from object_detection import model_lib_v2

    folder = config.parent / "run"
    model_lib_v2.train_loop(
        str(config), str(folder), train_steps=STEPS, num_steps_per_iteration=1, checkpoint_every_n=STEPS
    )
    yield folder
    detection_model.set_training(False)


def test_it_trains(run):
    assert tf.train.latest_checkpoint(str(run)) == str(run / "ckpt-2")  # one before the first step, one behind the last
    first, last = (tf.train.load_checkpoint(str(run / name)) for name in ("ckpt-1", "ckpt-2"))
    weights = [
        name for name in last.get_variable_to_shape_map() if name.startswith("model/") and "OPTIMIZER" not in name
    ]
    changed = [name for name in weights if not np.array_equal(first.get_tensor(name), last.get_tensor(name))]
    assert len(changed) > 300
    assert all(np.all(np.isfinite(last.get_tensor(name))) for name in weights)


def test_it_evaluates(run, config, monkeypatch):
    from object_detection import model_lib_v2

    figures = []
    loop = model_lib_v2.eager_eval_loop
    monkeypatch.setattr(model_lib_v2, "eager_eval_loop", lambda *a, **k: figures.append(loop(*a, **k)))
    model_lib_v2.eval_continuously(
        str(config), model_dir=str(run), checkpoint_dir=str(run), train_steps=STEPS, wait_interval=1, timeout=1
    )
    assert 0 <= float(figures[0]["DetectionBoxes_Precision/mAP"]) <= 1
    assert np.isfinite(float(figures[0]["Loss/total_loss"]))
    assert list((run / "eval").rglob("events.out.tfevents.*"))


def test_it_exports(run, config, tmp_path):
    loaded = pipeline.load(config)
    model = detection_model.build(loaded, training=False)
    tf.train.Checkpoint(model=model).restore(str(run / "ckpt-2")).expect_partial()
    exporter.export_saved_model(loaded, model, tmp_path / "saved_model")
    detect = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    image = np.random.default_rng(0).integers(0, 256, (1, 90, 120, 3), np.uint8)
    found = detect(input_tensor=tf.constant(image))
    assert found["detection_boxes"].shape == (1, 400, 4)

    boxes, scores = detection_model.detect(model, tf.constant(image[0]))
    count = int(found["num_detections"][0])
    assert count == len(scores)
    assert found["detection_scores"][0, :count].numpy() == pytest.approx(scores.numpy(), abs=1e-5)
    assert found["detection_boxes"][0, :count].numpy() == pytest.approx(boxes.numpy(), abs=1e-4)
