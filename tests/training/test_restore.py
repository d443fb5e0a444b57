"""Starting weights: what is restored from a checkpoint, what starts anew, and checkpoints that are refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from training import restore
from training.od_api import tf1_names


@pytest.fixture
def checkpoint(tmp_path):
    """A function that writes a TF1 checkpoint of {name: value} and gives its prefix."""

    def write(**values) -> str:
        prefix = str(tmp_path / "model.ckpt")
        restore.save_tf1({name.replace("__", "/"): np.float32(value) for name, value in values.items()}, prefix)
        return prefix

    return write


@pytest.fixture
def variables():
    """Two variables of a network, and a class predictor."""
    return [
        tf.Variable([1.0, 2.0], name="one"),
        tf.Variable([[3.0]], name="two"),
        tf.Variable([0.0], name="BoxPredictor_0/ClassPredictor/biases"),
    ]


def same(name: str) -> str:
    """The naming of a network that is called the same in both worlds."""
    return name.removesuffix(":0")


CLASSES = "BoxPredictor_0__ClassPredictor__biases"


def test_all_is_restored(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    planned = restore.plan(variables, prefix, same)
    assert (len(planned.restored), planned.reinitialised, planned.unused, planned.share) == (3, [], [], 1.0)
    restore.restore(planned, prefix)
    assert [variable.numpy().tolist() for variable in variables] == [[5, 6], [[7]], [8]]
    assert str(planned) == "restored 3 of 3 variables (100.0% of the parameters)"


def test_class_predictors_of_other_classes_start_anew(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [1, 2, 3]}, more=[1])
    planned = restore.plan(variables, prefix, same)
    restore.restore(planned, prefix)
    assert variables[2].numpy().tolist() == [0]
    assert planned.share == 3 / 4
    assert planned.unused == ["more"]
    assert str(planned).splitlines() == [
        "restored 2 of 3 variables (75.0% of the parameters)",
        "  re-initialised: BoxPredictor_0/ClassPredictor/biases (shape [1], in the checkpoint [3])",
        "  not used: 1 of the checkpoint's, such as more",
    ]


def test_what_an_optimizer_left_is_passed_over_and_averages_are_preferred(variables, checkpoint):
    prefix = checkpoint(
        **{CLASSES: [8]},
        one=[5, 6],
        one__Momentum=[0, 0],
        one__ExponentialMovingAverage=[50, 60],
        two=[[7]],
        two__Adam=[[0]],
        two__Adam_1=[[0]],
        two__RMSProp=[[0]],
        global_step=100,
    )
    planned = restore.plan(variables, prefix, same)
    assert planned.unused == []
    restore.restore(planned, prefix)
    assert variables[0].numpy().tolist() == [50, 60]
    assert variables[1].numpy().tolist() == [[7]]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, r"2 of 3 variables cannot be restored, such as one \(not in the checkpoint\)"),
        ({"one": [5, 6], CLASSES: [8]}, r"1 of 3 variables cannot be restored, such as two \(not in the checkpoint\)"),
        (
            {"one": [5, 6, 7], "two": [[7]], CLASSES: [8]},
            r"1 of 3 variables .* such as one \(shape \[2\], in the checkpoint \[3\]\)",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(variables, checkpoint, values, message):
    prefix = checkpoint(other=[1], **values)
    with pytest.raises(UserError, match=f"model.ckpt: a checkpoint of another model: .*({message})"):
        restore.plan(variables, prefix, same)
    assert variables[0].numpy().tolist() == [1, 2]


@pytest.mark.parametrize("name", ["", "none/model.ckpt", "model.ckpt.data-00000-of-00001"])
def test_no_checkpoint_there(tmp_path, variables, checkpoint, name):
    checkpoint(one=[1, 2])
    with pytest.raises(UserError, match="no checkpoint here; `make checkpoint`"):
        restore.plan(variables, tmp_path / name, same)


def test_the_index_file_will_do_for_the_prefix(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    planned = restore.plan(variables, f"{prefix}.index", same)
    assert planned.share == 1


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 1, 8, -9, -1])
def test_a_torn_file_is_refused(variables, checkpoint, part, kept):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    path = Path(f"{prefix}.{part}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model.ckpt: .*get (it|the checkpoint) again") as caught:
        restore.restore(restore.plan(variables, prefix, same), prefix)
    assert "\n" not in str(caught.value)


def test_a_missing_data_file_is_refused(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"get (it|the checkpoint) again"):
        restore.restore(restore.plan(variables, prefix, same), prefix)


def test_every_flipped_byte_of_the_values_is_noticed(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    path = Path(f"{prefix}.data-00000-of-00001")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=r"get (it|the checkpoint) again"):
            restore.restore(restore.plan(variables, prefix, same), prefix)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(variables, checkpoint, value):
    prefix = checkpoint(one=[5, value], two=[[7]], **{CLASSES: [8]})
    with pytest.raises(UserError, match="one holds values that are not finite"):
        restore.restore(restore.plan(variables, prefix, same), prefix)


def test_what_is_saved_is_restored(variables, tmp_path):
    prefix = tmp_path / "new/folder/model.ckpt"
    restore.save_tf1({same(variable.name): variable.numpy() for variable in variables}, prefix)
    before = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(variable * 0 - 1)
    restore.restore(restore.plan(variables, prefix, same), prefix)
    for variable, value in zip(variables, before, strict=True):
        assert np.array_equal(variable, value)


@pytest.mark.filterwarnings("ignore:.*set_learning_phase")
def test_the_plan_for_a_checkpoint_of_91_classes(face_model, tmp_path):
    """COCO's 90 classes and the background, as the zoo's SSDLite-MobileNetV2 has them."""
    values = {}
    for variable in face_model.variables:
        name, value = tf1_names.ssdlite_mobilenet_v2(variable.name), variable.numpy()
        if re.fullmatch(r"BoxPredictor_\d/ClassPredictor/(weights|biases)", name):
            value = np.repeat(value, 91 // 2 + 1, axis=-1)[..., : value.shape[-1] // 2 * 91]
        values[name] = value + np.float32(1)
    prefix = tmp_path / "coco.ckpt"
    restore.save_tf1(values, prefix)
    planned = restore.plan(face_model.variables, prefix, tf1_names.ssdlite_mobilenet_v2)
    assert len(planned.restored) == 392
    assert sorted(name for name, _ in planned.reinitialised) == sorted(
        f"BoxPredictor_{layer}/ClassPredictor/{what}" for layer in range(6) for what in ("weights", "biases")
    )
    assert planned.unused == []
    before = {variable.ref(): variable.numpy() for variable in face_model.variables}
    restore.restore(planned, prefix)
    changed = [variable for variable in face_model.variables if not np.array_equal(variable, before[variable.ref()])]
    assert len(changed) == 392


@pytest.mark.filterwarnings("ignore:.*set_learning_phase")
def test_the_coco_checkpoint(face_model, coco_checkpoint):
    planned = restore.plan(face_model.variables, coco_checkpoint, tf1_names.ssdlite_mobilenet_v2)
    assert (len(planned.restored), len(planned.reinitialised), planned.unused) == (392, 12, [])
    assert planned.share == pytest.approx(0.989, abs=0.001)
    assert not restore.is_object_based(coco_checkpoint)
    restore.restore(planned, coco_checkpoint)
    for variable in face_model.variables:
        assert np.all(np.isfinite(variable))


def test_object_based_checkpoints_are_told_apart(tmp_path, checkpoint):
    assert not restore.is_object_based(checkpoint(one=[1]))
    assert restore.is_object_based(tf.train.Checkpoint(one=tf.Variable(1.0)).save(str(tmp_path / "ckpt")))
