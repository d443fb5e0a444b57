"""The exported step against TensorFlow's on the same batches, and what cannot be exported."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from tests.training import tiny_detector
from training import checkpoints, export_step, run_folder, run_step, step_file, step_state, train
from training.od_api import model as detection_model
from training.od_api import pipeline, to_jax

pytestmark = pytest.mark.filterwarnings("ignore")

NO_DROPOUT = "model.ssd.box_predictor.convolutional_box_predictor.use_dropout=false"
STEPS = 20
BOXES = 12


@pytest.fixture(scope="module", autouse=True)
def tiny():
    tiny_detector.register()


@pytest.fixture
def tiny_config(tmp_path) -> Path:
    path = tmp_path / "tiny.config"
    path.write_text(tiny_detector.CONFIG)
    return path


def batches(count: int, batch_size: int, side: int) -> list[dict]:
    """Batches of noise with faces that are bright rectangles: 0 to 9 in an image, some of them without weight."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        images = random.integers(0, 160, (batch_size, side, side, 3)).astype(np.float32)
        boxes = np.zeros((batch_size, BOXES, 4), np.float32)
        weights = np.zeros((batch_size, BOXES), np.float32)
        counts = random.integers(0, 10, batch_size)
        for image, box, weight, faces in zip(images, boxes, weights, counts, strict=True):
            first = random.uniform(0, 0.7, (faces, 2))
            box[:faces] = np.concatenate([first, first + random.uniform(0.1, 0.3, (faces, 2))], 1)
            weight[:faces] = random.random(faces) < 0.8
            for y_min, x_min, y_max, x_max in np.rint(box[:faces] * side).astype(int):
                image[y_min:y_max, x_min:x_max] += 90
        made.append({"images": images, "boxes": boxes, "weights": weights, "counts": counts})
    return made


def of_tensorflow(config, model, given: list[dict]) -> tuple[list[dict], dict, dict]:
    """The losses of each of TensorFlow's steps, and the variables and averages behind the last, by name."""
    from training.od_api import inputs, optimizer
    from training.steps import Averages, Trained, TrainStep

    detection_model.set_training(True)
    side = given[0]["images"].shape[1]
    size = len(given[0]["images"])

    def batch(one):
        features = {
            inputs.IMAGE: model._feature_extractor.preprocess(tf.constant(one["images"])),
            inputs.TRUE_SHAPE: tf.constant([[side, side, 3]] * size, tf.int32),
        }
        classes = np.arange(BOXES) < one["counts"][:, None]
        labels = {
            inputs.BOXES: tf.constant(one["boxes"]),
            inputs.CLASSES: tf.constant(classes[..., None], tf.float32),
            inputs.WEIGHTS: tf.constant(one["weights"]),
            inputs.COUNTS: tf.constant(one["counts"], tf.int32),
        }
        return features, labels

    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    optimise, _ = optimizer.build(config, step, model.trainable_variables)
    averages = Averages(model.trainable_variables, optimizer.average_decay(config))
    train_step = TrainStep(
        tf.distribute.get_strategy(),
        Trained(model, model.trainable_variables, optimise, averages, step),
        tf.nest.map_structure(tf.TensorSpec.from_tensor, batch(given[0])),
        batch_size=size,
        clip=config.train_config.gradient_clipping_by_norm,
        accumulate=1,
        seed=0,
    )
    losses = [train_step(iter([batch(one)])) for one in given]
    variables = to_jax.names(model)
    names = {variable.ref(): name for name, variable in variables.items()}
    averaged = zip(averages.variables, averages.values, strict=True)
    return (
        losses,
        {name: variable.numpy() for name, variable in variables.items()},
        {names[variable.ref()]: value.numpy() for variable, value in averaged},
    )


def of_the_export(contents: step_file.StepFile, given: list[dict]) -> tuple[list[dict], dict]:
    """The losses of each step of the file, and the state behind the last."""
    import jax

    step = jax.jit(jax.export.deserialize(bytearray(contents.step)).call)
    schedule = np.array(contents.description.schedule(None), np.float32)
    state, losses = contents.state, []
    for one in given:
        classes = (np.arange(BOXES) < one["counts"][:, None]).astype(np.float32)[..., None]
        state, made = step(state, schedule, one["images"], one["boxes"], classes, one["weights"])
        losses.append({name: float(value) for name, value in made.items()})
    return losses, jax.tree.map(np.asarray, state)


def largest_difference(some: dict, others: dict) -> float:
    """Of the norm of each array, the largest over all."""
    assert some.keys() == others.keys()
    return max(
        float(np.linalg.norm(some[name] - others[name]) / max(np.linalg.norm(others[name]), 1e-3)) for name in some
    )


@pytest.fixture(scope="module")
def tiny_step(tmp_path_factory) -> Path:
    """The tiny detector's step for the CPU, of 8 steps of 4 images, as the command writes it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.config").write_text(tiny_detector.CONFIG)
    arguments = ["--pipeline", str(folder / "tiny.config"), "--set", NO_DROPOUT, "--checkpoint", "none"]
    assert export_step.main([*arguments, "--platforms", "cpu,cuda", "--output", str(folder / "step.zip")]) == 0
    return folder / "step.zip"


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["weighted_smooth_l1", "weighted_giou"])
def test_twenty_steps_are_those_of_tensorflow(tiny_config, loss):
    """Losses to 2e-5 of their value, weights, batch norm and averages to 2e-4 of their norm.

    Seen on a CPU: 1.5e-6 and 1.2e-5.
    """
    config = pipeline.complete(
        pipeline.load(tiny_config, [NO_DROPOUT, f"model.ssd.loss.localization_loss={{ {loss} {{}} }}"]),
        records=[],
        label_map="",
        steps=STEPS,
        batch_size=3,
    )
    tf.keras.utils.set_random_seed(0)
    model = detection_model.build(config, training=True)
    contents = export_step.exported(config, model, platforms=["cpu"], boxes=BOXES)
    given = batches(STEPS, batch_size=3, side=64)
    losses, state = of_the_export(contents, given)
    expected, variables, averages = of_tensorflow(config, model, given)
    for found, true in zip(losses, expected, strict=True):
        assert found.keys() == {*true, "learning_rate"}
        for name, value in true.items():
            assert found[name] == pytest.approx(value, rel=2e-5), name
    assert largest_difference(contents.state["variables"], variables) > 0.1  # they have moved
    assert largest_difference(state["variables"], variables) < 2e-4
    assert largest_difference(state["averages"], averages) < 2e-4


# ---- The way there and back ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_go_out_and_come_back(tiny_step, tmp_path, sample_records, label_map, capsys):
    records, weights, run = sample_records["train"], tmp_path / "w.npz", tmp_path / "run"
    assert run_step.main([str(tiny_step), "--records", records, "--output", str(weights)]) == 0
    taking = ["import", str(weights), "--records", records, "--label-map", str(label_map)]
    capsys.readouterr()
    assert checkpoints.main([*taking, "--output", str(run)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == run_folder.weights_path(run) == str(run / "last/ckpt-8")
    assert "batch norm of 3 layers measured on 2 batches" in err
    # The averages are what is used, and with them go statistics that were measured, not those that moved along.
    state, _ = step_state.load(weights, step_state.WEIGHTS)
    config = pipeline.load(run / "pipeline.config")
    model = detection_model.build(config, training=False)
    run_folder.restore_weights(out.strip(), model)
    found = {name: variable.numpy() for name, variable in to_jax.names(model).items()}
    for name, average in state["averages"].items():
        assert np.array_equal(found[name], average)
    statistics = [name for name in found if name.endswith("moving_mean")]
    assert len(statistics) == 3
    assert not any(np.array_equal(found[name], state["variables"][name]) for name in statistics)
    # Training goes on from there, and evaluation takes it, as any other.
    further = ["--pipeline", str(run / "pipeline.config"), "--records", records, "--label-map", str(label_map)]
    options = [*further, "--checkpoint", out.strip(), "--run", str(tmp_path / "further"), "--steps", "2"]
    assert train.main([*options, "--validation", sample_records["validation"]]) == 0
    assert "100.0%  restored" in capsys.readouterr().err
    assert tf.train.latest_checkpoint(str(tmp_path / "further/last"))
    # and nothing is written over
    with pytest.raises(UserError, match="there is a run here already"):
        checkpoints.main([*taking, "--output", str(run)])
    other = [*taking, "--output", str(tmp_path / "other"), "--set", "model.ssd.num_classes=2"]
    with pytest.raises(
        UserError, match=r"weights of another model: .* is \[.*\] in the pipeline's and \[.*num_classes"
    ):
        checkpoints.main(other)
    assert not (tmp_path / "other").exists()


def test_weights_that_are_none(tmp_path, capsys):
    (tmp_path / "w.npz").write_bytes(b"PK nothing")
    for path, match in ((tmp_path / "w.npz", "damaged, or not written by"), (tmp_path / "absent.npz", "No such file")):
        with pytest.raises(UserError, match=match):
            checkpoints.main(["import", str(path), "--records", "none", "--output", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_what_the_file_says_of_itself(tiny_step):
    contents = step_file.read(tiny_step)
    described = contents.description
    assert described.platforms == ["cpu", "cuda"]
    assert (described.batch_size, described.height, described.width, described.boxes) == (4, 64, 64, 120)
    assert {one["name"]: one["shape"] for one in described.inputs} == {
        "schedule": [2],
        "images": [4, 64, 64, 3],
        "boxes": [4, 120, 4],
        "classes": [4, 120, 1],
        "weights": [4, 120],
    }
    assert described.normalisation == [-1, 1] and described.compute == "float32"
    assert described.face_crop == {"share": pytest.approx(0.8), "min_size": 8, "max_size": 40, "max_zoom": 2.5}
    assert [one["name"] for one in described.augmentation] == ["random_horizontal_flip", "random_adjust_brightness"]
    assert contents.anchors.shape == (160, 4)  # two in each of 8 x 8 and 4 x 4 cells
    assert described.versions["jax"] and described.versions["tensorflow"]
    assert pipeline.parse(contents.pipeline, tiny_step).model.ssd.num_classes == 1


# ---- What cannot be exported -----------------------------------------------------------------------------------------

OPTIMIZER = "train_config.optimizer"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (["trainer.accumulate=2"], r"trainer\.accumulate is not exported; give a larger --batch"),
        (["trainer.head_only_steps=5"], r"trainer\.head_only_steps is not exported"),
        (
            [OPTIMIZER + "={ momentum_optimizer { learning_rate { constant_learning_rate {} } } }"],
            r"optimizer\.momentum_optimizer is not exported; give adam",
        ),
        (
            [OPTIMIZER + ".adam_optimizer.learning_rate={ manual_step_learning_rate { schedule { step: 1 } } }"],
            r"learning_rate\.manual_step_learning_rate is not exported",
        ),
        (
            ["train_config.data_augmentation_options[1]={ ssd_random_crop {} }"],
            r"data_augmentation_options\[1\]\.ssd_random_crop is not exported; leave it out",
        ),
        (
            ["model.ssd.loss.classification_loss={ weighted_sigmoid {} }", "model.ssd.loss.hard_example_miner={}"],
            r"hard_example_miner is not exported",
        ),
        (
            ["model.ssd.image_resizer={ keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 128 } }"],
            r"keep_aspect_ratio_resizer gives images of several sizes",
        ),
        ([], r"the model draws at random \(RandomUniform\), which is not exported; set use_dropout: false"),
    ],
)
def test_configs_that_are_refused_by_name(tiny_config, tmp_path, changes, match):
    sets = [part for change in changes for part in ("--set", change)]
    arguments = ["--pipeline", str(tiny_config), *sets, "--checkpoint", "none", "--output", str(tmp_path / "step.zip")]
    with pytest.raises(UserError, match=match) as raised:
        export_step.main(arguments)
    assert "\n" not in str(raised.value) and not (tmp_path / "step.zip").exists()


def test_faster_rcnn_is_refused(tmp_path):
    arguments = ["--pipeline", "faster_rcnn_inception_resnet_v2_atrous_oid_face", "--checkpoint", "none"]
    with pytest.raises(UserError, match=r"model\.faster_rcnn is not exported: its shapes change with each image"):
        export_step.main([*arguments, "--output", str(tmp_path / "step.zip")])


@pytest.mark.parametrize("more", [["--platforms", "gpu"], ["--batch", "0"], ["--boxes", "0"]])
def test_options_that_make_no_sense(tmp_path, more):
    with pytest.raises(SystemExit) as ended:
        export_step.main(["--pipeline", "p", "--checkpoint", "none", "--output", str(tmp_path / "s.zip"), *more])
    assert ended.value.code == 2
