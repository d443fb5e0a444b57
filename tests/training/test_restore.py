"""Starting weights: what is restored from a checkpoint, what starts anew, and checkpoints that are refused."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from detect_faces.errors import UserError
from training import restore
from training.restore_plan import RestorePlan, outline


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


CLASSES = "BoxPredictor_0__ClassPredictor__biases"


def planned(variables, prefix, *reinitialise, maps=(), **options) -> RestorePlan:
    """The plan for a network that is called the same in both worlds."""
    named = {variable.name.removesuffix(":0"): variable for variable in variables}
    return restore.plan(named, prefix, restore.by_name(prefix, maps), reinitialise, **options)


def names(parts) -> list[str]:
    return [part.name for part in parts]


def test_all_is_restored(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    plan = planned(variables, prefix)
    assert len(plan.restored) == 3
    assert not any((plan.by_class, plan.reinitialised, plan.refused, plan.unused))
    restore.restore(plan)
    assert [variable.numpy().tolist() for variable in variables] == [[5, 6], [[7]], [8]]
    assert str(plan).splitlines() == [
        f"what of {prefix} goes into the model:",
        "  variables  parameters",
        "          3           4  100.0%  restored",
    ]


def test_class_predictors_of_other_classes_start_anew_only_where_a_pattern_says_so(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [1, 2, 3]}, more=[1, 2, 3])
    refused = planned(variables, prefix)
    with pytest.raises(UserError, match=r"1 of 3 variables cannot be restored, such as BoxPredictor_0/ClassPredictor"):
        restore.restore(refused)
    assert variables[0].numpy().tolist() == [1, 2]
    assert "!         1           1   25.0%  initial values, which nothing allows: of another shape there" in str(
        refused
    )

    plan = planned(variables, prefix, ".*/ClassPredictor/.*", "two")
    restore.restore(plan)
    assert variables[2].numpy().tolist() == [0]
    assert variables[1].numpy().tolist() == [[7]]  # a pattern permits, it does not demand
    assert str(plan).splitlines()[2:] == [
        "          2           3   75.0%  restored",
        "-         1           1   25.0%  initial values, as --reinitialise allows: of another shape there",
        "+         1           3          of the checkpoint, not used",
        "- BoxPredictor_0/ClassPredictor/biases  [1], in the checkpoint [3]",
        "+ more  [3]",
    ]


def test_a_pattern_has_to_fit_a_whole_name(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]])
    with pytest.raises(UserError, match="--reinitialise ClassPredictor: fits the whole name of no variable"):
        planned(variables, prefix, "ClassPredictor")


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
    plan = planned(variables, prefix)
    assert plan.unused == {}
    restore.restore(plan)
    assert variables[0].numpy().tolist() == [50, 60]
    assert variables[1].numpy().tolist() == [[7]]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, r"2 of 3 variables cannot be restored, such as one \(\[2\], not in the checkpoint\)"),
        ({"one": [5, 6]}, r"1 of 3 variables cannot be restored, such as two \(\[1, 1\], not in the checkpoint\)"),
        (
            {"one": [5, 6, 7], "two": [[7]]},
            r"1 of 3 variables .* such as one \(\[2\], in the checkpoint \[3\]\)",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(variables, checkpoint, values, message):
    prefix = checkpoint(other=[1], **values)
    plan = planned(variables, prefix, ".*ClassPredictor.*")
    with pytest.raises(
        UserError, match=f"model.ckpt: a checkpoint of another model: {message}; --class-from"
    ) as caught:
        restore.restore(plan)
    assert "\n" not in str(caught.value)
    assert variables[0].numpy().tolist() == [1, 2]


# ---- Other names in the checkpoint


def test_names_are_mapped_by_their_beginning(variables, checkpoint):
    prefix = checkpoint(net__one=[5, 6], net__two=[[7]], head=[8], one=[0, 0])
    maps = [("net/", ""), ("h.ad", "BoxPredictor_0/ClassPredictor/biases"), ("one", "old")]
    plan = planned(variables, prefix, maps=maps)
    assert list(plan.unused) == ["old"]
    restore.restore(plan)
    assert [variable.numpy().tolist() for variable in variables] == [[5, 6], [[7]], [8]]


def test_the_first_map_that_fits_counts_and_may_use_groups(checkpoint):
    prefix = checkpoint(block1__w=[1], block2__w=[1])
    names = restore.by_name(prefix, [("block1", "first"), (r"block(\d)", r"stage/\1")])
    assert {name: stored.key for name, stored in names.items()} == {"first/w": "block1/w", "stage/2/w": "block2/w"}


def test_a_mapped_average_stands_in_for_what_it_averages(checkpoint):
    prefix = checkpoint(net__w=[1], net__w__ExponentialMovingAverage=[2])
    names = restore.by_name(prefix, [("net/", "")])
    assert {name: stored.key for name, stored in names.items()} == {"w": "net/w/ExponentialMovingAverage"}


@pytest.mark.parametrize(
    "maps, message",
    [
        ([("wo", "")], "--map wo= fits no name in it; it has such as one"),
        ([("tw", "tw"), ("two", "x")], "--map two=x fits no name"),
        ([("one|two", "x")], "--map makes x of one and of two"),
    ],
)
def test_maps_that_cannot_be_meant(checkpoint, maps, message):
    prefix = checkpoint(one=[5, 6], two=[[7]])
    with pytest.raises(UserError, match=message):
        restore.by_name(prefix, maps)


# ---- Damage


@pytest.mark.parametrize("name", ["", "none/model.ckpt", "model.ckpt.data-00000-of-00001"])
def test_no_checkpoint_there(tmp_path, variables, checkpoint, name):
    checkpoint(one=[1, 2])
    with pytest.raises(UserError, match="no checkpoint here; `make checkpoint`"):
        planned(variables, tmp_path / name)


def test_the_index_file_will_do_for_the_prefix(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    restore.restore(planned(variables, f"{prefix}.index"))
    assert variables[1].numpy().tolist() == [[7]]


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 1, 8, -9, -1])
def test_a_torn_file_is_refused(variables, checkpoint, part, kept):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    path = Path(f"{prefix}.{part}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model.ckpt: .*get (it|the checkpoint) again") as caught:
        restore.restore(planned(variables, prefix))
    assert "\n" not in str(caught.value)


def test_a_missing_data_file_is_refused(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"get (it|the checkpoint) again"):
        restore.restore(planned(variables, prefix))


def test_every_flipped_byte_of_the_values_is_noticed(variables, checkpoint):
    prefix = checkpoint(one=[5, 6], two=[[7]], **{CLASSES: [8]})
    path = Path(f"{prefix}.data-00000-of-00001")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=r"get (it|the checkpoint) again"):
            restore.restore(planned(variables, prefix))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(variables, checkpoint, value):
    prefix = checkpoint(one=[5, value], two=[[7]], **{CLASSES: [8]})
    with pytest.raises(UserError, match="one holds values that are not finite"):
        restore.restore(planned(variables, prefix))


def test_what_is_saved_is_restored(variables, tmp_path):
    prefix = tmp_path / "new/folder/model.ckpt"
    restore.save_tf1({variable.name.removesuffix(":0"): variable.numpy() for variable in variables}, prefix)
    before = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(variable * 0 - 1)
    restore.restore(planned(variables, prefix))
    for variable, value in zip(variables, before, strict=True):
        assert np.array_equal(variable, value)


def test_object_based_checkpoints_are_told_apart(tmp_path, checkpoint):
    assert not restore.is_object_based(checkpoint(one=[1]))
    assert restore.is_object_based(tf.train.Checkpoint(one=tf.Variable(1.0)).save(str(tmp_path / "ckpt")))


# ---- The table


def test_many_names_become_a_few_lines_and_none_is_lost():
    values = [(f"net/block_{n}/{leaf}", "[3]", 3) for n in range(30) for leaf in ("w", "b")]
    values += [("net/stem", "[7]", 7), ("head/a/w", "[1]", 1)]
    lines = outline("-", reversed(values))
    assert lines == ["- head/a/w  [1]", "- net/...  61 variables, 187 parameters"]


@pytest.mark.parametrize("count, lines", [(0, 0), (1, 1), (16, 16), (17, 1)])
def test_as_many_lines_as_there_is_room_for(count, lines):
    said = outline("+", [(f"scope/w{n:02}", "[2]", 2) for n in range(count)])
    assert len(said) == lines
    if count == 17:
        assert said == ["+ scope/...  17 variables, 34 parameters"]
    elif count:
        assert said[0] == "+ scope/w00  [2]"


# ---- TF2 checkpoints, by place


def network(*layers) -> tf.keras.Model:
    """Dense layers of 3 units: named, or numbered by Keras where the name is None."""
    made = [tf.keras.layers.Dense(units, name=name) for name, units in layers]
    return tf.keras.Sequential([tf.keras.layers.InputLayer(3), *made])


@pytest.fixture
def saved(tmp_path):
    """A function that saves a network with random weights, as a run does in the midst of training; gives the prefix."""

    def save(model) -> str:
        random = np.random.default_rng(0)
        model.set_weights([random.random(value.shape) for value in model.get_weights()])
        step, averages = tf.Variable(3), [tf.Variable(variable * 0) for variable in model.variables]
        return tf.train.Checkpoint(model=model, step=step, averages=averages).save(str(tmp_path / "ckpt"))

    return save


def placed(model, prefix, *reinitialise, maps=()) -> RestorePlan:
    variables = {variable.name.removesuffix(":0"): variable for variable in model.variables}
    return restore.plan(variables, prefix, restore.by_place(prefix, model, maps), reinitialise)


def test_layers_without_a_name_are_found_by_their_place(saved):
    old = network((None, 3), ("head", 2))
    prefix = saved(old)
    new = network((None, 3), ("head", 2))
    assert old.variables[0].name != new.variables[0].name
    plan = placed(new, prefix)
    assert (len(plan.restored), plan.unused) == (4, {})
    restore.restore(plan)
    for variable, value in zip(new.variables, old.variables, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_another_head_has_to_be_allowed(saved):
    prefix = saved(network((None, 3), ("head", 2)))
    new = network((None, 3), ("head", 5))
    with pytest.raises(
        UserError, match=r"2 of 4 variables cannot be restored, such as head/bias \(\[5\], in the .* \[2\]"
    ):
        restore.restore(placed(new, prefix))
    plan = placed(new, prefix, "head/.*")
    restore.restore(plan)
    assert names(plan.reinitialised) == ["head/bias", "head/kernel"]


def test_named_layers_in_other_places_are_found_by_their_names(saved):
    old, new = network(("one", 3), ("two", 3), ("three", 3)), network(("two", 3), ("one", 3))
    prefix = saved(old)
    plan = placed(new, prefix)
    assert list(plan.unused) == ["three/kernel", "three/bias"]
    restore.restore(plan)
    np.testing.assert_array_equal(new.get_layer("one").kernel, old.get_layer("one").kernel)
    np.testing.assert_array_equal(new.get_layer("two").kernel, old.get_layer("two").kernel)


def test_a_number_is_no_name_unless_a_map_says_so(saved):
    old, new = network(("other", 3), ("dense_900", 3)), network(("dense_900", 3))
    prefix = saved(old)
    plan = placed(new, prefix, "dense_900/.*")
    assert plan.restored == [] and len(plan.unused) == 4
    assert all(key.startswith(("model/", "other/")) for key in plan.unused)
    restore.restore(placed(new, prefix, maps=[("dense_900/", "dense_900/")]))
    np.testing.assert_array_equal(new.get_layer("dense_900").kernel, old.get_layer("dense_900").kernel)
