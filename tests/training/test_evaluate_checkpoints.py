"""The command training.evaluate: which checkpoints a list stands for, their figures, and broken ones among them."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from detect_faces import UserError
from evaluation import evaluate as evaluate_detections
from training import detect, evaluate, run_folder
from training.od_api import model as detection_model
from training.od_api import pipeline

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


# ---- Names -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_run(tmp_path) -> Path:
    """A run with the states 9 and 100, and weights of 100, of a model of one variable."""
    run = tmp_path / "runs/small"
    run_folder.write_config(run, "")
    model = tf.Module()
    model.weights = tf.Variable([1.0, 2.0])
    for step in (100, 9):
        state = tf.train.Checkpoint(step=tf.Variable(step, dtype=tf.int64), model=model)
        state.write(str(run / f"ckpt-{step}"))
    run_folder.save_weights(run / run_folder.LAST, model, 100)
    (run / "ckpt-200_temp").mkdir()  # of a save that was cut short
    (run / "ckpt-200_temp/part-00000-of-00001.index").touch()
    return run


@pytest.mark.parametrize(
    "name, expected",
    [
        ("", ["ckpt-9", "ckpt-100", "last/ckpt-100"]),
        ("ckpt-9", ["ckpt-9"]),
        ("ckpt-9.index", ["ckpt-9"]),
        ("ckpt-9.data-00000-of-00001", ["ckpt-9"]),
        ("ckpt-*", ["ckpt-100", "ckpt-9"]),
        ("*/ckpt-*", ["last/ckpt-100"]),
    ],
)
def test_what_a_name_stands_for(small_run, name, expected):
    assert evaluate.find(str(small_run / name)) == [str(small_run / prefix) for prefix in expected]


@pytest.mark.parametrize("name", ["ckpt-10", "pipeline.config", "weights-*", "ckpt-200_temp", "checkpoint"])
def test_names_of_no_checkpoint(small_run, name):
    with pytest.raises(UserError, match=name.replace("*", r"\*")):
        evaluate.find(str(small_run / name))


def test_an_empty_run_has_no_checkpoint(tmp_path):
    run_folder.write_config(tmp_path / "run", "")
    with pytest.raises(UserError, match="run: no checkpoint yet; `make train RUN=run` goes on"):
        evaluate.find(str(tmp_path / "run"))


def test_the_config_is_the_run_s(small_run, tmp_path):
    config = small_run / "pipeline.config"
    assert evaluate.config_of(str(small_run / "ckpt-9"), None) == config
    assert evaluate.config_of(str(small_run / "last/ckpt-100"), None) == config
    with pytest.raises(UserError, match=r"elsewhere/ckpt-1: no pipeline.config beside it; give .* --pipeline"):
        evaluate.config_of(str(tmp_path / "elsewhere/ckpt-1"), None)
    chosen = evaluate.config_of(str(small_run / "ckpt-9"), "ssdlite_mobilenet_v2_320_face")
    assert chosen.name == "ssdlite_mobilenet_v2_320_face.config"


def test_steps_and_kinds(small_run):
    shutil.copy(small_run / "ckpt-9.index", small_run / "best.index")
    shutil.copy(small_run / "ckpt-9.data-00000-of-00001", small_run / "best.data-00000-of-00001")
    cases = {"ckpt-9": (9, True), "last/ckpt-100": (100, False), "best": (9, True)}
    for name, expected in cases.items():
        prefix = str(small_run / name)
        assert (run_folder.step_of(prefix), run_folder.holds_state(prefix)) == expected
    weights = tf.train.Checkpoint(model=tf.Variable(1.0)).write(str(small_run / "mine"))
    assert run_folder.step_of(weights) is None


@pytest.mark.parametrize("arguments", [["--records", "r"], ["--records", "r", "c", "--reestimate", "-1"], ["c"]])
def test_wrong_options(arguments):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2


def test_averages(tmp_path):
    model = tf.Module()
    model.weights, model.moving_mean = tf.Variable([1.0, 2.0]), tf.Variable([5.0], trainable=False)
    averages = [tf.Variable([10.0, 20.0])]
    prefix = tf.train.Checkpoint(step=tf.Variable(3), model=model, averages=averages).write(str(tmp_path / "ckpt-3"))
    plain = tf.train.Checkpoint(step=tf.Variable(4), model=model).write(str(tmp_path / "ckpt-4"))
    model.weights.assign([0, 0])
    model.moving_mean.assign([0])
    run_folder.restore_averages(prefix, model)
    assert model.weights.numpy().tolist() == [10, 20] and model.moving_mean.numpy().tolist() == [5]
    run_folder.restore_weights(prefix, model)
    assert model.weights.numpy().tolist() == [1, 2]
    with pytest.raises(UserError, match="ckpt-4: has no averages of this model; leave out --averages"):
        run_folder.restore_averages(plain, model)


# ---- Figures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, seeing_model, monkeypatch, sample_records, label_map) -> Path:
    """A run of the SSDLite: states 100 and 200 with averages, weights of 200, and state 150 torn."""
    config = pipeline.complete(
        pipeline.load("ssdlite_mobilenet_v2_320_face"),
        records=[str(path) for path in Path(sample_records["train"]).glob("*.tfrecord")],
        label_map=label_map,
        batch_size=4,
    )
    run = tmp_path / "runs/run"
    run_folder.write_config(run, pipeline.text(config))
    averages = [tf.Variable(variable * 0.9) for variable in seeing_model.trainable_variables]
    bias = next(v for v in seeing_model.variables if v.name.endswith("ClassHead_0/ClassPredictor/bias:0"))
    for step in (100, 150, 200):
        bias.assign_add(tf.fill(bias.shape, 0.01 * step))
        state = tf.train.Checkpoint(step=tf.Variable(step, dtype=tf.int64), model=seeing_model, averages=averages)
        state.write(str(run / f"ckpt-{step}"))
    run_folder.save_weights(run / run_folder.LAST, seeing_model, 200)
    torn = run / "ckpt-150.data-00000-of-00001"
    torn.write_bytes(torn.read_bytes()[:100_000])
    monkeypatch.setattr(detection_model, "build", lambda *_, **__: seeing_model)  # once is enough for all tests
    return run


@pytest.mark.slow
def test_a_run_with_a_torn_checkpoint(run, sample_records, tmp_path, capsys):
    records = ["--records", sample_records["validation"]]
    assert evaluate.main([*records, str(run), "--json", "--metric", "AR"]) == 1
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [(row["step"], row["weights"]) for row in rows] == [(100, "last step"), (200, "last step"), (200, "for use")]
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert f"error: {run}/ckpt-150: " in err
    # The state of step 200 and the weights for use are the same here, and the earlier of equal ones is the best.
    values = [row["AR"] for row in rows]
    assert values[1] == values[2] and min(values) > 0
    assert [row["best"] for row in rows] == [index == values.index(max(values)) for index in range(3)]

    # The figures are those of the detections file of the same checkpoint.
    found = tmp_path / "found.jsonl"
    assert detect.main(["--run", str(run), "--weights", f"{run}/ckpt-100", *records, "--output", str(found)]) == 0
    assert evaluate_detections.main([*records, "--detections", str(found), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {name: rows[0][name] for name in figures["coco"]} == pytest.approx(figures["coco"], abs=1e-4)
    assert (rows[0]["images"], rows[0]["faces"]) == (figures["images"], figures["faces"])


@pytest.mark.slow
def test_averages_with_measured_statistics(run, seeing_model, sample_records, capsys):
    arguments = ["--records", sample_records["validation"], f"{run}/ckpt-100", "--averages", "--reestimate", "1"]
    assert evaluate.main(arguments) == 0
    header, row, _, footer = capsys.readouterr().out.splitlines()
    assert header.split() == ["step", "checkpoint", "weights", "AP", "AP50", "small", "medium", "large", "AR"]
    assert row.split()[:3] == ["100", f"{run}/ckpt-100", "averages"] and row.endswith("best AP50")
    assert footer == "on 15 images with 61 faces"
    # The model still has what was evaluated: averaged weights, and none of the statistics that were saved.
    saved = tf.train.load_checkpoint(f"{run}/ckpt-100")
    names = saved.get_variable_to_shape_map()
    averages = [saved.get_tensor(f"averages/{i}/.ATTRIBUTES/VARIABLE_VALUE") for i in range(3)]
    for variable, average in zip(seeing_model.trainable_variables, averages, strict=False):
        assert (variable.numpy() == average).all()
    before = {saved.get_tensor(name).tobytes() for name in names if "moving_mean/" in name}
    now = [variable.numpy().tobytes() for variable in seeing_model.variables if "moving_mean" in variable.name]
    assert len(now) == 76 and not before & set(now)


@pytest.mark.slow
def test_while_the_head_warmed_up_only_its_statistics_are_measured(run, seeing_model, sample_records):
    config = pipeline.load(run / run_folder.CONFIG, ["trainer.head_only_steps=150"])
    run_folder.write_config(run, pipeline.text(config))

    def kept(*steps: int) -> int:
        """Batch norm layers that still have the statistics of the last checkpoint after all were evaluated."""
        prefixes = [f"{run}/ckpt-{step}" for step in steps]
        arguments = ["--records", sample_records["validation"], *prefixes, "--reestimate", "1"]
        assert evaluate.main(arguments) == 0
        saved = tf.train.load_checkpoint(prefixes[-1])
        names = [name for name in saved.get_variable_to_shape_map() if "moving_mean/" in name]
        before = {saved.get_tensor(name).tobytes() for name in names}
        now = [variable.numpy().tobytes() for variable in seeing_model.variables if "moving_mean" in variable.name]
        return sum(value in before for value in now)

    assert kept(100, 200) == 0
    assert 40 < kept(100) < 76  # those of the backbone


def test_nothing_that_can_be_evaluated(run, capsys):
    with pytest.raises(UserError, match="there is no checkpoint that could be evaluated"):
        evaluate.main(["--records", "nowhere", f"{run}/ckpt-100", f"{run}/ckpt-7"])
    assert [line.split(": ")[:2] for line in capsys.readouterr().err.splitlines() if line.startswith("error")] == [
        ["error", f"{run}/ckpt-7"],
        ["error", "nowhere"],
    ]


def test_reestimation_without_training_records():
    config = pipeline.load("ssdlite_mobilenet_v2_320_face")
    with pytest.raises(UserError, match="give --train-records"):
        evaluate.training_config(config, None, None)
