"""Errors and traps of a pipeline config: each is found, with its line; and the command that says so."""

import pytest
from google.protobuf import text_format

from detect_faces.errors import UserError, run_command
from tools import label_map, tfrecord_file
from training import config as command
from training.od_api import config_check, config_traps, pipeline, unread_fields

SSDLITE = "ssdlite_mobilenet_v2_320_face"
PYRAMIDS = ("ssdlite_mobilenet_v2_fpn_320_face", "ssdlite_mobilenet_v2_fpn_640_face")
FASTER_RCNN = "faster_rcnn_inception_resnet_v2_atrous_oid_face"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A function that changes one piece of a config's text, and gives the path; that is where the test runs, too."""
    monkeypatch.chdir(tmp_path)

    def edit(old: str, new: str, name: str = SSDLITE):
        text = pipeline.find(name).read_text()
        assert old in text
        if "[face_detector.trainer]" in new:  # in place of the one that is there
            text = text[: text.index("[face_detector.trainer]")]
        path = tmp_path / "mine.config"
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


def line(path, text: str) -> int:
    """The number of the first line that holds `text`."""
    return next(number for number, each in enumerate(path.read_text().splitlines(), 1) if text in each)


def found(path, *changes) -> list[config_check.Finding]:
    return config_check.findings(pipeline.load(path, changes), path, changes)


@pytest.mark.parametrize("name", [SSDLITE, *PYRAMIDS, FASTER_RCNN])
def test_the_project_s_configs_have_nothing_to_say(name):
    assert config_check.check(pipeline.load(name), name) == []


def test_giou_of_boxes_that_cannot_be_moved_to_another_anchor():
    giou = "model.ssd.loss.localization_loss={ weighted_giou {} }"
    coder = "model.ssd.box_coder={ mean_stddev_box_coder {} }"
    assert found(pipeline.find(SSDLITE), giou) == []
    (finding,) = found(pipeline.find(SSDLITE), giou, coder)
    assert finding.level == "error" and "weighted_giou: needs a faster_rcnn_box_coder" in str(finding)


ERRORS = [
    # what is changed, into what; in the line of what; the field, and what is said of it
    ("num_classes: 1", "num_classes: 0", "num_classes: 0", "model.ssd.num_classes: is 0; it has to be 1"),
    ('"ssd_mobilenet_v2_keras"', '"ssd_mobilenet_v2"', "ssd_mobilenet_v2", "type: .*give ssd_mobilenet_v2_keras"),
    ('"ssd_mobilenet_v2_keras"', '"ssd_mobilnet_keras"', "ssd_mobilnet", "type: there is no .*did you mean ssd_mobil"),
    ('type: "ssd_mobilenet_v2_keras"', "", "feature_extractor {", "feature_extractor.type: is missing; there are"),
    ("iou_similarity {}", "", "similarity_calculator", "similarity_calculator: is missing"),
    ("localization_loss { weighted_smooth_l1 {} }", "", " loss {", "model.ssd.loss: cannot be built: Empty loss"),
    (
        "iou_threshold: 0.45",
        "iou_threshold: 2",
        "post_processing {",
        "post_processing: cannot be built: .*iou_threshold",
    ),
    ("batch_size: 24", "batch_size: 0", "batch_size: 0", "train_config.batch_size: is 0; it has to be 1"),
    ("num_steps: 2000", "", "train_config {", "train_config.num_steps: is missing"),
    ("by_norm: 10.0", "by_norm: -1", "by_norm: -1", "gradient_clipping_by_norm: has to be 0"),
    ("warmup_steps: 60", "warmup_steps: 6000", "cosine_decay_learning_rate {", "total_steps must be larger"),
    ("warmup_learning_rate: 0.0001", "warmup_learning_rate: 1", "cosine_decay_learning_rate {", "base must be larger"),
    ("base: 0.001", "base: nan", "base: nan", "cosine_decay_learning_rate.learning_rate_base: has to be 0 or more"),
    ("moving_average_decay: 0.995", "moving_average_decay: 1", "average_decay: 1", "has to be from 0 to below 1"),
    ("random_horizontal_flip {}", "", "options {  }", r"options\[0\]: is missing \(Unknown preprocessing step"),
    (
        "tf_record_input_reader {}",
        "tf_record_input_reader {} num_keypoints: 5",
        "num_keypoints",
        "train_input_reader.num_keypoints: records of faces have b",
    ),
    (
        "tf_record_input_reader {}",
        "tf_record_input_reader {} load_instance_masks: true",
        "load_instance",
        "load_instance_masks: records of faces have boxes",
    ),
    (
        "tf_record_input_reader {}",
        "external_input_reader {}",
        "external_input",
        "external_input_reader: cannot be read",
    ),
    ("max_number_of_boxes: 2000", "max_number_of_boxes: 0", "boxes: 0", "max_number_of_boxes: has to be 1 or more"),
    ("num_steps: 2000", 'num_steps: 9 fine_tune_checkpoint: "a/b"', "a/b", "fine_tune_checkpoint: a/b: no checkpoint"),
    (
        "num_steps: 2000",
        'num_steps: 9 fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"',
        "PATH_TO",
        "fine_tune_checkpoint: is a placeholder still",
    ),
    ("reader {}", 'reader {} label_map_path: "m.pbtxt"', "m.pbtxt", "label_map_path: m.pbtxt: No such file"),
    ("reader {}", 'reader { input_path: "t@2" }', "t@2", r"input_path\[0\]: t@2: 0 of the 2 shards are there"),
    ("reader {}", 'reader { input_path: ["t-*"] }', "t-*", r"input_path\[0\]: t-\*: no TFRecord file there"),
    ("model {", "[face_detector.trainer] { metric: 'AP5' } model {", "'AP5'", "trainer.metric: .*did you mean AP"),
    (
        "model {",
        "[face_detector.trainer] { save_every: 0 } model {",
        "save",
        "trainer.save_every: is 0; it has to be 1",
    ),
    (
        "model {",
        "[face_detector.trainer] { start { class_from: 'person' } } model {",
        "start {",
        r"trainer.start\[0\].checkpoint: is missing",
    ),
    (
        "model {",
        "[face_detector.trainer] { start { checkpoint: 'a' reinitialise: '(' } } model {",
        "start {",
        r"trainer.start\[0\].reinitialise\[0\]: '\(' is not a regular expression",
    ),
    ("model {", "[face_detector.trainer] { accumulate: 0 } model {", "accum", "trainer.accumulate: is 0"),
    (
        "model {",
        "[face_detector.trainer] { smallest_face: nan } model {",
        "smallest_face",
        "smallest_face: has to be 0",
    ),
    ("model {", "[face_detector.trainer] { face_crop { share: 2 } } model {", "share: 2", "share: is 2; a share is"),
    (
        "model {",
        "[face_detector.trainer] { face_crop { min_size: 0 } } model {",
        "min_size: 0",
        "min_size: has to be ab",
    ),
    ("model {", "[face_detector.trainer] { face_crop { max_size: 5 } } model {", "max_size: 5", "5, below min_size 12"),
    (
        "model {",
        "[face_detector.trainer] { face_crop { max_zoom: 0 } } model {",
        "max_zoom: 0",
        "max_zoom: has to be ab",
    ),
]


@pytest.mark.parametrize("old, new, where, message", ERRORS)
def test_errors(edited, old, new, where, message):
    path = edited(old, new)
    config = pipeline.load(path)
    with pytest.raises(UserError, match=f"mine.config, line {line(path, where)}: .*{message}") as caught:
        config_check.check(config, path)
    assert "\n" not in str(caught.value) and "more:" not in str(caught.value)


def test_errors_of_faster_rcnn(edited):
    path = edited('"faster_rcnn_inception_resnet_v2_keras"', '"faster_rcnn_inception_resnet_v2"', FASTER_RCNN)
    with pytest.raises(UserError, match="give faster_rcnn_inception_resnet_v2_keras"):
        config_check.check(pipeline.load(path), path)
    path = edited("min_dimension: 600", "min_dimension: 2000", FASTER_RCNN)
    with pytest.raises(UserError, match=r"model\.faster_rcnn\.image_resizer: cannot be built: .*min_dimension"):
        config_check.check(pipeline.load(path), path)


def test_a_model_of_another_kind(edited, tmp_path):
    path = tmp_path / "center.config"
    path.write_text("\nmodel { center_net { num_classes: 1 } }\ntrain_config { optimizer { adam_optimizer {} } }")
    (only,) = found(path)
    assert str(only) == f"{path}, line 2: model: center_net cannot be trained here; give ssd or faster_rcnn"


def test_several_errors_are_counted(edited):
    path = edited("batch_size: 24\n  num_steps: 2000", "batch_size: 0")
    with pytest.raises(UserError, match=r"batch_size: is 0.* \(and 1 more: python -m training.config .*mine.config\)"):
        config_check.check(pipeline.load(path), path)


def test_paths_that_are_there(edited, tmp_path):
    for index in range(2):
        (tmp_path / f"t-0000{index}-of-00002.tfrecord").write_bytes(tfrecord_file.frame(b""))
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    label_map.write(tmp_path / "m.pbtxt", {"face": 1})
    both = 'input_path: ["t@2", "t-?????-of-00002.tfrecord"]'
    path = edited("tf_record_input_reader {}", f'tf_record_input_reader {{ {both} }} label_map_path: "m.pbtxt"')
    path.write_text(path.read_text().replace("num_steps", 'fine_tune_checkpoint: "model.ckpt" num_steps'))
    assert config_check.check(pipeline.load(path), path) == []


@pytest.mark.parametrize(
    "classes, message",
    [
        ({"face": 1, "mask": 2}, "model.ssd.num_classes: is 1, but m.pbtxt has 2; they have to be the same"),
        ({"face": 3}, "train_input_reader.label_map_path: m.pbtxt has the id 3; ids go from 1 to num_classes, 1"),
    ],
)
def test_the_label_map_has_as_many_classes(edited, tmp_path, classes, message):
    label_map.write(tmp_path / "m.pbtxt", classes)
    path = edited("reader {}", 'reader {} label_map_path: "m.pbtxt"')
    (only,) = found(path)
    assert message in str(only)
    # said once, however many readers have it
    if "num_classes: is" in message:
        (only,) = found(path, "eval_input_reader[0].label_map_path=m.pbtxt")


def test_a_change_of_the_command_line_is_named_instead_of_a_line(edited):
    path = edited("", "")
    changes = ["train_config.batch_size=0", "trainer={ metric: 'x' }", "model.ssd.loss.classification_loss={}"]
    places = {finding.field: finding.place for finding in found(path, *changes)}
    assert places == {
        "train_config.batch_size": "--set train_config.batch_size",
        "trainer.metric": "--set trainer",
        "model.ssd.loss": "--set model.ssd.loss.classification_loss",
    }


TRAPS = [
    (
        "override_base_feature_extractor_hyperparams: true",
        "",
        "feature_extractor {",
        "override_base_feature_extractor_hyperparams: is not true",
    ),
    ("encode_background_as_zeros: true", "", "weighted_sigmoid_focal", "without encode_background_as_zeros"),
    (
        "classification_loss { weighted_sigmoid_focal { alpha: 0.25 gamma: 2.0 } }",
        "classification_loss { weighted_sigmoid {} } hard_example_miner { max_negatives_per_positive: 3 }",
        "max_negatives_per_positive: 3",
        "max_negatives_per_positive: without min_negatives_per_image",
    ),
    ("per_class: 400", "per_class: 50", "per_class: 50", "max_detections_per_class: is 50"),
    ("max_detections_per_class: 400", "", "batch_non_max_suppression", "max_detections_per_class: is 100"),
    ("score_threshold: 0.01", "score_threshold: 0.3", "score_threshold: 0.3", "score_threshold: is 0.3"),
    ("max_number_of_boxes: 2000", "", "train_input_reader {", "train_input_reader.max_number_of_boxes: is 100"),
    (
        "num_steps",
        "max_number_of_boxes: 500 num_steps",
        "boxes: 500",
        "train_config.max_number_of_boxes: is read nowhe",
    ),
    ("decay: 0.97 epsilon", "decay: 0.9997 epsilon", "decay: 0.9997", "extractor.*: after 2000 steps 55% .*give 0.997"),
    ("total_steps: 2000", "total_steps: 500", "total_steps: 500", "the learning rate is 0 from step 500 on"),
    ("pad_to_max_dimension: true", "", "keep_aspect_ratio_resizer", "cannot form a batch of 24"),
    (
        "random_horizontal_flip {}",
        "random_square_crop_by_scale {}",
        "random_square_crop",
        r"options\[0\].*merely touches",
    ),
    ("num_steps", "bias_grad_multiplier: 2 num_steps", "grad", "train_config.bias_grad_multiplier: has no effect here"),
    ("num_steps", "add_regularization_loss: false num_steps", "add_reg", "regularizers count"),
    ("model {", "graph_rewriter { quantization {} }\nmodel {", "graph_rew", "graph_rewriter: has no effect"),
    ("reader {}", "reader {} shuffle: false", "shuffle", "train_input_reader.shuffle: has no effect here: each pass"),
    ("reader {}", "reader {} num_readers: 8", "num_readers", "train_input_reader.num_readers: has no effect here: rec"),
    (
        "reader {}",
        "reader {} sample_1_of_n_examples: 10",
        "sample_1",
        "sample_1_of_n_examples: .*all records are taken",
    ),
    (
        "num_steps",
        "replicas_to_aggregate: 8 num_steps",
        "replicas",
        "train_config.replicas_to_aggregate: has no effect",
    ),
]


@pytest.mark.parametrize("old, new, where, message", TRAPS)
def test_traps_are_warnings(edited, old, new, where, message):
    path = edited(old, new)
    (warning,) = config_check.check(pipeline.load(path), path)
    assert "\n" not in warning
    with pytest.raises(UserError, match=f"mine.config, line {line(path, where)}: .*{message}"):
        raise UserError(warning)


def test_a_field_that_asks_for_what_is_done_anyway_is_no_trap(edited):
    path = edited("reader {}", "reader {} shuffle: true num_epochs: 0 sample_1_of_n_examples: 1")
    assert config_check.check(pipeline.load(path), path) == []


def test_fields_that_nothing_reads_are_fields():
    config = pipeline.load(SSDLITE)
    for message, known in (
        (config.train_input_reader, unread_fields.READER),
        (config.train_config, unread_fields.TRAIN),
    ):
        assert set(known) <= set(message.DESCRIPTOR.fields_by_name)
    model_fields = " ".join(pipeline.text(config).split())
    assert not any(
        f" {name}: " in model_fields for name in unread_fields.READER if name not in ("shuffle", "num_epochs")
    )


def test_crowds_cut_off_by_default(edited):
    """No figure stands there: the line is that of the message that lacks it."""
    path = edited("", "")
    path.write_text(
        "\n".join(row for row in path.read_text().split("\n") if "max_" not in row or "detections" not in row)
    )
    warnings = config_check.check(pipeline.load(path), path)
    at = f"{path}, line {line(path, 'batch_non_max_suppression')}: model.ssd.post_processing.batch_non_max_suppression"
    assert [warning.partition(": is")[0] for warning in warnings] == [
        f"{at}.max_detections_per_class",
        f"{at}.max_total_detections",
    ]


def test_more_samples_than_proposals(edited):
    path = edited("second_stage_batch_size: 64", "second_stage_batch_size: 400", FASTER_RCNN)
    with pytest.raises(UserError, match=r"line \d+: .*second_stage_batch_size: is 400, more than first_stage_max_pro"):
        config_check.check(pipeline.load(path), path)


def test_traps_of_faster_rcnn(edited):
    path = edited("first_stage_max_proposals: 300", "first_stage_max_proposals: 64", FASTER_RCNN)
    (warning,) = config_check.check(pipeline.load(path), path)
    assert "first_stage_max_proposals: is 64: no more faces than that can be found" in warning
    path = edited("batch_size: 1\n", "batch_size: 2\n", FASTER_RCNN)
    (warning,) = config_check.check(pipeline.load(path), path)
    assert "keep_aspect_ratio_resizer: gives images of different sizes, which cannot form a batch of 2" in warning


@pytest.mark.parametrize(
    "decay, steps, batches, said",
    [
        (0.9997, 824, 24, True),  # 0.78 of the start remains
        (0.999, 824, 24, False),  # 0.44, and measured anew
        (0.999, 824, 0, True),
        (0.97, 824, 0, False),
        (0.97, 20, 24, True),
    ],
)
def test_batch_norm_that_stays_where_it_was(decay, steps, batches, said):
    config = pipeline.load(SSDLITE, [f"train_config.num_steps={steps}", f"trainer.batch_norm_batches={batches}"])
    config.model.ssd.feature_extractor.conv_hyperparams.batch_norm.decay = decay
    fields = [field for field, _ in config_traps.traps(config)]
    assert ("model.ssd.feature_extractor.conv_hyperparams.batch_norm.decay" in fields) is said
    config.model.ssd.freeze_batchnorm = True
    assert not any("batch_norm" in field for field, _ in config_traps.traps(config))


# ---- The command --------------------------------------------------------------------------------------------------


def test_the_command_prints_a_config_that_reads_the_same(edited, capsys):
    path = edited("", "")
    changes = ["train_config.batch_size=16", "trainer.patience=3"]
    assert command.main([str(path), *(part for change in changes for part in ("--set", change))]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    read = text_format.Parse(printed.out, type(pipeline.load(path))())
    assert read.train_config.batch_size == 16
    assert "patience: 3" in printed.out and "save_every: 100" in printed.out
    path.write_text(printed.out)
    assert command.main([str(path)]) == 0
    assert capsys.readouterr().out == printed.out


def test_the_command_warns_and_goes_on(edited, capsys):
    path = edited("max_number_of_boxes: 2000", "")
    assert command.main([str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"warning: {path}, line ") and printed.err.count("\n") == 1
    assert printed.out.count("train_input_reader") == 1


def test_the_command_lists_all_errors(edited, capsys):
    path = edited("batch_size: 24\n  num_steps: 2000", "batch_size: 0")
    assert command.main([str(path), "--set", "model.ssd.num_classes=0"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [row.split(":")[0] for row in printed.err.splitlines()] == ["error"] * 3


def test_a_change_that_is_none(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: command.main([SSDLITE, "--set", "train_config.bach_size=16"]))
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "error: --set train_config.bach_size=16: TrainConfig has no field 'bach_size'; did you mean batch_size?\n"
    )
