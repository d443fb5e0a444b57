"""--set: values of every kind, in every place, and what is said of wrong ones."""

import argparse

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from training.od_api import overrides, pipeline
from training.od_api.trainer_settings import TRAINER

SSDLITE = "ssdlite_mobilenet_v2_320_face"
NMS = "model.ssd.post_processing.batch_non_max_suppression"
COSINE = "train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate"
OPTIONS = "train_config.data_augmentation_options"
GRID = "model.ssd.anchor_generator.flexible_grid_anchor_generator.anchor_grid"


@pytest.fixture(scope="module")
def config():
    return pipeline.load(SSDLITE)


def value(message, path: str):
    """What stands in a field, by Python's own syntax."""
    return eval(f"message.{path}", {"message": message})


@pytest.mark.parametrize(
    "path, text, expected",
    [
        ("train_config.batch_size", "16", 16),
        ("train_config.batch_size", " 0x10 ", 16),
        (f"{NMS}.iou_threshold", "0.5", 0.5),
        (f"{NMS}.iou_threshold", "1", 1),
        (f"{COSINE}.learning_rate_base", "5e-4", pytest.approx(5e-4)),
        ("train_input_reader.shuffle", "false", False),
        ("train_config.fine_tune_checkpoint", "a/b c.ckpt", "a/b c.ckpt"),
        ("train_config.fine_tune_checkpoint", '"quoted"', "quoted"),
        ("train_config.fine_tune_checkpoint", "'it''s'", "its"),
        ("train_config.fine_tune_checkpoint", 'back\\slash "x" = y', 'back\\slash "x" = y'),
        ("train_config.fine_tune_checkpoint", '""', ""),
        ("model.ssd.post_processing.score_converter", "SOFTMAX", 2),
        (f"{OPTIONS}[0].random_horizontal_flip.probability", "0.25", 0.25),
        (f"{GRID}[0].base_sizes", "[12, 17, 24]", [12, 17, 24]),
        (f"{GRID}[0].base_sizes", "[]", []),
        (f"{GRID}[0].base_sizes", "5", [5]),
        (f"{GRID}[2].base_sizes[1]", "5", [114, 5, 144, 162, 182, 204]),
        ("eval_config.metrics_set", '["a", "b"]', ["a", "b"]),
        ("eval_config.metrics_set", "pascal", ["pascal"]),
        ("eval_config.metrics_set[0]", "pascal", ["pascal"]),
        ("eval_config.super_categories", '{ key: "a" value: "b" }', {"a": "b"}),
        ("train_input_reader.tf_record_input_reader.input_path", "train-?????-of-00010", ["train-?????-of-00010"]),
    ],
)
def test_values(config, path, text, expected):
    before = pipeline.text(config)
    changed = overrides.apply(config, [f"{path}={text}"])
    found = value(changed, path.rpartition("[")[0] if path.endswith("]") else path)
    if isinstance(expected, list):
        found = list(found)
    assert found == expected
    assert pipeline.text(config) == before


def test_nothing_else_changes(config):
    changed = overrides.apply(config, ["train_config.batch_size=16"])
    changed.train_config.batch_size = config.train_config.batch_size
    assert changed == config


def test_a_message_replaces_what_was_there(config):
    changed = overrides.apply(config, ["model.ssd.anchor_generator={ ssd_anchor_generator { num_layers: 2 } }"])
    assert text_format.MessageToString(changed.model.ssd.anchor_generator, as_one_line=True) == (
        "ssd_anchor_generator { num_layers: 2 }"
    )
    changed = overrides.apply(config, [f"{COSINE}={{ total_steps: 5 }}"])
    schedule = changed.train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    assert [field.name for field, _ in schedule.ListFields()] == ["total_steps"]


def test_elements_of_a_repeated_message(config):
    count = len(config.train_config.data_augmentation_options)
    changed = overrides.apply(config, [f"{OPTIONS}[1]={{ random_vertical_flip {{}} }}"])
    assert len(changed.train_config.data_augmentation_options) == count
    assert changed.train_config.data_augmentation_options[1].HasField("random_vertical_flip")
    changed = overrides.apply(config, [f"{OPTIONS}[0]="])
    assert (
        list(changed.train_config.data_augmentation_options) == list(config.train_config.data_augmentation_options)[1:]
    )
    changed = overrides.apply(config, [f"{OPTIONS}=[{{ random_vertical_flip {{}} }}, {{ random_rotation90 {{}} }}]"])
    assert [step.WhichOneof("preprocessing_step") for step in changed.train_config.data_augmentation_options] == [
        "random_vertical_flip",
        "random_rotation90",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "train_config.gradient_clipping_by_norm",
        "model.ssd.loss",
        OPTIONS,
        f"{COSINE}.warmup_steps",
        "eval_input_reader",
    ],
)
def test_nothing_clears(config, path):
    parent, _, name = path.rpartition(".")
    is_set = {field.name for field, _ in (value(config, parent) if parent else config).ListFields()}
    assert name in is_set
    changed = overrides.apply(config, [f"{path}="])
    left = {field.name for field, _ in (value(changed, parent) if parent else changed).ListFields()}
    assert left == is_set - {name}


def test_the_trainer_s_own_settings(config):
    changed = overrides.apply(config, ["trainer.patience=3", "trainer.metric=AP", "trainer.face_crop.share=0.5"])
    found = changed.Extensions[TRAINER]
    assert (found.patience, found.metric, found.face_crop.share) == (3, "AP", 0.5)
    changed = overrides.apply(changed, ["trainer={ seed: 5 face_crop {} }"])
    assert pipeline.text(changed).endswith("[face_detector.trainer] {\n  face_crop {\n  }\n  seed: 5\n}\n")
    assert not overrides.apply(changed, ["trainer="]).HasExtension(TRAINER)
    assert not overrides.apply(changed, ["trainer.face_crop="]).Extensions[TRAINER].HasField("face_crop")


def test_in_their_order(config):
    changed = overrides.apply(config, ["train_config.batch_size=1", "train_config.batch_size=2"])
    assert changed.train_config.batch_size == 2


def test_clearing_what_is_absent_makes_no_messages(config):
    changed = overrides.apply(config, ["model.ssd.loss.hard_example_miner.iou_threshold="])
    assert changed == config


@pytest.mark.parametrize(
    "override, message",
    [
        ("train_config.batch_size", "give FIELD=VALUE"),
        ("=3", "'' is no field"),
        ("train_config..batch_size=3", "'' is no field"),
        ("train_config[x].batch_size=3", r"'train_config\[x\]' is no field"),
        ("train_config.bach_size=16", r"TrainConfig has no field 'bach_size'; did you mean batch_size\?"),
        ("trian_config.batch_size=16", "no field 'trian_config'; did you mean train_config"),
        ("treiner.patience=16", "no field 'treiner'; did you mean trainer"),
        ("trainer.pacience=16", "Trainer has no field 'pacience'; did you mean patience"),
        ("model.ssd.xyzzy=1", "Ssd has no field 'xyzzy'; there are num_classes, "),
        ("train_config.batch_size=many", "batch_size takes a whole number, 0 or more, not many"),
        ("train_config.batch_size=-1", "batch_size takes a whole number, 0 or more, not -1"),
        ("train_config.batch_size=1.5", "batch_size takes a whole number, 0 or more, not 1.5"),
        ("train_config.batch_size=[1]", "batch_size takes a whole number"),
        ("train_config.batch_size=1 num_steps: 3", "give one value"),
        ("train_config.batch_size=1 batch_size: 3", "batch_size is there already"),
        (f"{NMS}.iou_threshold=low", "iou_threshold takes a number, not low"),
        ("train_input_reader.shuffle=yes", "shuffle takes true or false, not yes"),
        (
            "model.ssd.post_processing.score_converter=SOFTMX",
            r"takes one of IDENTITY, SIGMOID, SOFTMAX, not SOFTMX; did you mean SOFTMAX",
        ),
        ("model.ssd=3", "ssd takes { ... }, a Ssd, not 3"),
        ("model.ssd={", "Expected"),
        ("model.ssd={ num_clases: 1 }", "Ssd has no field 'num_clases'; did you mean num_classes"),
        ("train_config.batch_size.x=3", "train_config.batch_size has no fields in it: it takes a whole number"),
        ("train_config.batch_size[0]=3", r"train_config.batch_size has no elements .*; give batch_size without \[0\]"),
        (f"{OPTIONS}.random_horizontal_flip.probability=1", r"is repeated; say which of them, such as .*\[0\]"),
        (
            f"{OPTIONS}[99].random_horizontal_flip.probability=1",
            r"no element \[99\]: there are \d+, the last is \[\d\]",
        ),
        ("train_config.freeze_variables[0]=x", r"no element \[0\]: there are none"),
        ("eval_config.metrics_set=[a, b]", "text in quotes, not a"),
        ('eval_config.metrics_set[0]="a" metrics_set: "b"', "is one element, so takes one value"),
        ("eval_config.super_categories[0]=x", "has no elements with numbers"),
        (
            "model.faster_rcnn.num_classes=1",
            "the config has ssd in place of faster_rcnn; model={ faster_rcnn { ... } }",
        ),
        (
            "train_config.optimizer.adam_optimizer.learning_rate.constant_learning_rate.learning_rate=1",
            "has cosine_decay_learning_rate in place of constant_.*learning_rate={ constant_learning_rate",
        ),
    ],
)
def test_refused(config, override, message):
    pattern = message.replace("{ ... }", r"\{ \.\.\. \}").replace("={ ", r"=\{ ")
    with pytest.raises(UserError, match=pattern) as caught:
        overrides.apply(config, [override])
    assert str(caught.value).startswith(f"--set {override}: ") and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(
    path=st.sampled_from(
        ["train_config.batch_size", "trainer.metric", "model.ssd", f"{OPTIONS}[0]", NMS, "eval_config"]
    ),
    text=st.text(st.sampled_from("{}[]<>:;,\"'#\\-0a1. \n=_"), max_size=12),
)
def test_any_value_is_taken_or_refused_in_one_line(config, path, text):
    try:
        overrides.apply(config, [f"{path}={text}"])
    except UserError as error:
        assert "\n" not in str(error)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_text_needs_no_quotes(config, text):
    """As it is typed, but for space around it, and where it begins with a quote."""
    text = text.strip()
    if text and not text.startswith(("'", '"')):
        changed = overrides.apply(config, [f"train_config.fine_tune_checkpoint={text}"])
        assert changed.train_config.fine_tune_checkpoint == text


def test_load_applies_them(tmp_path):
    assert pipeline.load(SSDLITE, ["train_config.batch_size=3"]).train_config.batch_size == 3
    path = tmp_path / "half.config"
    path.write_text("model { ssd {} }")
    assert pipeline.load(path, ["train_config.optimizer={ adam_optimizer {} }"]).model.HasField("ssd")
    with pytest.raises(UserError, match=r"half\.config: .*needs a model and an optimizer"):
        pipeline.load(path)


def test_the_option():
    parser = argparse.ArgumentParser()
    overrides.add_option(parser)
    assert parser.parse_args([]).overrides == []
    assert parser.parse_args(["--set", "a=1", "--set", "b=[1, 2]"]).overrides == ["a=1", "b=[1, 2]"]
