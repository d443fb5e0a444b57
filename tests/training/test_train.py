"""The training command from outside: kills, continuing, the end of a run, other tools on its weights, bad input."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detect_faces.errors import UserError
from training import restore, run_folder, train
from training.steps import TrainStep

ROOT = Path(__file__).parents[2]
SSDLITE = "ssdlite_mobilenet_v2_320_face"
FASTER_RCNN = "faster_rcnn_inception_resnet_v2_atrous_oid_face"
pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


def arguments(run, records, *more, pipeline=SSDLITE, checkpoint="none") -> list[str]:
    return [
        *("--pipeline", pipeline, "--records", str(records), "--checkpoint", str(checkpoint), "--run", str(run)),
        *("--label-map", str(ROOT / "data/label_map.pbtxt"), *more),
    ]


def python(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True, **options
    )


@pytest.fixture
def one_record(record):
    return record([[64, 96, 194, 256]])


@pytest.fixture
def two_classes(tmp_path):
    path = tmp_path / "two.pbtxt"
    path.write_text('item { id: 1 name: "face" }\nitem { id: 2 name: "hand" }\n')
    return str(path)


@pytest.fixture
def another_model(tmp_path):
    prefix = str(tmp_path / "another.ckpt")
    restore.save_tf1({"FeatureExtractor/Conv/weights": np.zeros([3, 3, 3, 32], np.float32)}, prefix)
    return prefix


def test_bad_input_gets_one_line_and_exit_code_2(tmp_path):
    done = python("training.train", *arguments(tmp_path / "run", tmp_path / "none"))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and f"{tmp_path}/none" in line
    assert not (tmp_path / "run").exists()


def test_bad_input_is_named(tmp_path, one_record, two_classes, another_model):
    run = tmp_path / "run"
    empty, torn = tmp_path / "empty.tfrecord", tmp_path / "torn.tfrecord"
    empty.touch()
    torn.write_bytes(Path(one_record).read_bytes()[:-1])
    cases = [
        ((tmp_path / "none",), {}, "none"),
        ((empty,), {}, "empty.tfrecord.*no image"),
        ((torn,), {}, "torn.tfrecord"),
        ((one_record, "--label-map", two_classes), {}, r"line \d+: model.ssd.num_classes: is 1, but .*two.pbtxt has 2"),
        ((one_record, "--label-map", tmp_path / "none.pbtxt"), {}, "none.pbtxt: No such file"),
        ((one_record,), {"pipeline": "yolo"}, f"yolo: no such pipeline.*{SSDLITE}"),
        ((one_record,), {"checkpoint": tmp_path / "none.ckpt"}, "none.ckpt: no checkpoint here"),
        ((one_record,), {"checkpoint": another_model}, "another.ckpt: a checkpoint of another model: 404 of 404"),
    ]
    for (records, *more), options, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            train.main(arguments(run, records, *map(str, more), **options))
        assert "\n" not in str(caught.value)
        assert {path.name for path in run.glob("*")} <= {"pipeline.config"}  # which binds nobody: test_run_folder.py


@pytest.mark.parametrize("more", [["--steps", "-1"], ["--batch-size", "0"], ["--save-every", "0"], ["--steps", "many"]])
def test_wrong_options(tmp_path, more, capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(arguments(tmp_path / "run", "records", *more))
    assert caught.value.code == 2
    assert more[0] in capsys.readouterr().err


# ---- One real run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start(request) -> str:
    """The COCO checkpoint where there is one: with it 60 steps are enough to find faces."""
    try:
        return request.getfixturevalue("coco_checkpoint")
    except pytest.skip.Exception:
        return "none"


@pytest.fixture(scope="module")
def command(tmp_path_factory, sample_records, start) -> list[str]:
    run = tmp_path_factory.mktemp("runs") / "run"
    more = [] if start == "none" else ["--class-from", "person"]
    steps = ["--steps", "60", "--batch-size", "8", *more]
    return ["training.train", *arguments(run, sample_records["train"], *steps, checkpoint=start)]


@pytest.fixture(scope="module")
def finished(command) -> tuple[Path, str]:
    """The run, and what it said."""
    done = python(*command)
    assert done.returncode == 0, done.stderr
    run = Path(command[command.index("--run") + 1])
    assert done.stdout == f"{run_folder.weights_path(run)}\n"
    assert run_folder.finished_steps(run) == 60
    return run, done.stderr


@pytest.mark.slow
def test_the_loss_falls(finished, start):
    if start == "none":
        pytest.skip("from random values 60 steps show little")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "train"), size_guidance={"tensors": 0})
    events.Reload()
    values = {event.step: float(tf_value(event)) for event in events.Tensors("loss/total")}
    assert sorted(values) == [10, 20, 30, 40, 50, 60]
    assert values[60] < values[10]


def tf_value(event):
    import tensorflow as tf

    return tf.make_ndarray(event.tensor_proto)


@pytest.mark.slow
def test_another_config_is_refused_in_the_same_folder(command, finished):
    run, _ = finished
    before = (run / "pipeline.config").read_text()
    done = python(*command, "--batch-size", "4")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"error: .*pipeline.config: the run was started with another config \(- batch_size: 8 / \+ batch_size: 4\).*",
        done.stderr.splitlines()[-1],
    )
    assert (run / "pipeline.config").read_text() == before


@pytest.mark.slow
def test_the_od_api_s_own_evaluation_agrees_with_ours(
    finished, start, sample_records, label_map, tmp_path, monkeypatch
):
    """model_lib_v2.eval_continuously against training.detect and evaluation.evaluate, on the same weights."""
    if start == "none":
        pytest.skip("without the COCO checkpoint there is nothing to find yet")
    from object_detection import model_lib_v2

    from training.od_api import pipeline, trainer_settings

    run, _ = finished
    config = pipeline.load(run / "pipeline.config")
    shards = [str(path) for path in Path(sample_records["validation"]).glob("*.tfrecord")]
    config.eval_input_reader[0].tf_record_input_reader.input_path[:] = shards
    config.eval_input_reader[0].label_map_path = str(label_map)
    config_file = tmp_path / "pipeline.config"
    config_file.write_text(pipeline.text(config))
    figures = []
    loop = model_lib_v2.eager_eval_loop
    monkeypatch.setattr(model_lib_v2, "eager_eval_loop", lambda *a, **k: figures.append(loop(*a, **k)))
    model_lib_v2.eval_continuously(
        str(config_file), model_dir=str(tmp_path), checkpoint_dir=str(run / run_folder.LAST), wait_interval=1, timeout=1
    )
    theirs = figures[0]

    # Without crops images are resized as the OD API does it.
    trainer_settings.settings(config).ClearField("face_crop")
    same = Path(shutil.copytree(run, tmp_path / "same"))
    (same / "pipeline.config").write_text(pipeline.text(config))
    detections, records = tmp_path / "found.jsonl", ["--records", sample_records["validation"]]
    done = python("training.detect", "--run", same, "--output", detections, *records)
    assert done.returncode == 0, done.stderr
    done = python("evaluation.evaluate", "--detections", detections, "--max-detections", "100", "--json", *records)
    assert done.returncode == 0, done.stderr
    ours = json.loads(done.stdout)["coco"]

    names = {
        "AP": "DetectionBoxes_Precision/mAP",
        "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
        "AP75": "DetectionBoxes_Precision/mAP@.75IOU",
        "AP_large": "DetectionBoxes_Precision/mAP (large)",
        "AR": "DetectionBoxes_Recall/AR@100",
    }
    print({name: (ours[name], float(theirs[other])) for name, other in names.items()})
    assert ours["AP50"] > 0.05
    for name, other in names.items():
        # One face more or less at an IoU threshold is 1/61: JPEGs are decoded by OpenCV here and by TensorFlow there.
        assert ours[name] == pytest.approx(float(theirs[other]), abs=0.02), name


@pytest.fixture
def may_be_deterministic():
    """Takes op determinism back, which holds for the whole process."""
    yield
    from tensorflow.python.framework import config

    config.disable_op_determinism()


@pytest.mark.slow
def test_faster_rcnn_is_killed_and_goes_on_to_the_same_weights(
    tmp_path, sample_records, thin_inception, may_be_deterministic, capsys
):
    """A thin network of the large pipeline: stride 8 behind its shim, frozen batch norm, images of different sizes."""
    changes = [
        "model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer={min_dimension: 128 max_dimension: 192}",
        "model.faster_rcnn.first_stage_max_proposals=64",
        "trainer.save_every=1",
    ]
    more = [argument for change in changes for argument in ("--set", change)]
    # Without it the gradients of crops are added up in any order.
    more.append("--deterministic")
    runs = {name: arguments(tmp_path / name, sample_records["train"], *more, pipeline=FASTER_RCNN) for name in "ab"}
    assert train.main([*runs["a"], "--steps", "2"]) == 0
    err = capsys.readouterr().err
    assert "BoxClassifierLoss/classification" in err and "will differ" not in err
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainStep, "__call__", stopping_at(1, TrainStep.__call__))
        with pytest.raises(KeyboardInterrupt):
            train.main([*runs["b"], "--steps", "2"])
    assert train.main([*runs["b"], "--steps", "2"]) == 0
    one, other = (run_folder.weights_path(tmp_path / name) for name in "ab")
    reader, its = restore.checkpoint_reader(one), restore.checkpoint_reader(other)
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    assert len(names) > 100
    assert [name for name in names if not np.array_equal(reader.get_tensor(name), its.get_tensor(name))] == []


def stopping_at(steps: int, make):
    """The function that makes a step, which stops the run before it makes more than so many."""
    made = iter(range(steps))

    def make_or_stop(self, batches):
        if next(made, None) is None:
            raise KeyboardInterrupt
        return make(self, batches)

    return make_or_stop
