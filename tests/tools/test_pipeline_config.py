"""pipeline.config without the OD API: what is read, and what is refused with which line."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools import pipeline_config

SSD = """# a comment with { and "
model {
  ssd {
    num_classes: 1
    image_resizer { fixed_shape_resizer { height: 300 width: 400 } }
    feature_extractor { type: "ssd_{mobilenet}" conv_hyperparams { made_up { of: NOTHING } } }
    matcher { argmax_matcher { matched_threshold: 0.25 unmatched_threshold: 0.125 } }
    anchor_generator {
      ssd_anchor_generator: <
        aspect_ratios: [1.0, 2.0]; aspect_ratios: 0.5
      >
    }
  }
}
train_config { batch_size: 24 some_new_field { x: [1, 2] y: -inf } }
"""
FASTER_RCNN = """model { faster_rcnn {
    image_resizer { keep_aspect_ratio_resizer {} }
    feature_extractor { type: "faster_rcnn_resnet50_keras" }
    first_stage_anchor_generator { grid_anchor_generator { scales: 1 aspect_ratios: 1 } }
} }
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text):
        path = tmp_path / "mine.config"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return pipeline_config.read(path)

    return write_and_read


def test_the_project_s_own():
    ssd = pipeline_config.read("ssdlite_mobilenet_v2_320_face")
    assert ssd.architecture == "ssd" and ssd.outside == "keep"
    assert (ssd.matched_threshold, ssd.force_match) == (pytest.approx(0.4), True)
    resizer = ssd.image_resizer
    assert (resizer.min_dimension, resizer.max_dimension, resizer.pad_to_max_dimension) == (320, 320, True)
    assert ssd.feature_extractor.type == "ssd_mobilenet_v2_keras"
    assert [grid.height_stride for grid in ssd.anchor_generator.anchor_grid] == [16, 32, 64, 107, 160, 320]
    two_stages = pipeline_config.read("faster_rcnn_inception_resnet_v2_atrous_oid_face.config")
    assert two_stages.architecture == "faster_rcnn" and two_stages.outside == "drop"
    assert (two_stages.matched_threshold, two_stages.force_match) == (0.7, True)
    assert not two_stages.image_resizer.pad_to_max_dimension
    assert list(two_stages.anchor_generator.scales) == [0.25, 0.5, 1, 2]
    by_path = pipeline_config.read(pipeline_config.PIPELINES / "ssdlite_mobilenet_v2_320_face.config")
    assert by_path.anchor_generator == ssd.anchor_generator


def test_values_defaults_and_what_is_passed_over(read):
    pipeline = read("\ufeff" + SSD.replace("\n", "\r\n"))
    assert list(pipeline.anchor_generator.aspect_ratios) == [1, 2, 0.5]
    assert pipeline.anchor_generator.num_layers == 6 and pipeline.anchor_generator.reduce_boxes_in_lowest_layer
    assert pipeline.anchor_generator.min_scale == pytest.approx(0.2)
    assert (pipeline.image_resizer.height, pipeline.image_resizer.width) == (300, 400)
    assert (pipeline.matched_threshold, pipeline.force_match) == (0.25, False)
    assert pipeline.feature_extractor.num_layers == 6


def test_matcher_without_threshold(read):
    pipeline = read(SSD.replace("matched_threshold: 0.25", "ignore_thresholds: true force_match_for_each_row: true"))
    assert pipeline.matched_threshold is None and pipeline.force_match


def test_what_faster_rcnn_does_with_anchors_at_the_edge(read):
    assert read(FASTER_RCNN).outside == "drop"
    assert read(FASTER_RCNN.replace("image_resizer", "clip_anchors_to_image: true image_resizer")).outside == "clip"


@pytest.mark.parametrize("name", ["", "ssdlite", "pipelines", "no/such.config"])
def test_an_unknown_pipeline_gets_the_known_ones(name):
    with pytest.raises(UserError, match=r"no such pipeline; .*ssdlite_mobilenet_v2_320_face") as caught:
        pipeline_config.read(name)
    assert "\n" not in str(caught.value)


GENERATOR = re.search(r"ssd_anchor_generator: <.*?>", SSD, re.DOTALL).group()
MULTISCALE = "multiscale_anchor_generator { aspect_ratios: 1 "
FLEXIBLE = "flexible_grid_anchor_generator { anchor_grid { base_sizes: 16 "


@pytest.mark.parametrize(
    "old, new, message",
    [
        (SSD, "", "no model"),
        (SSD, "model { center_net {} }", "no model"),
        (SSD, b"\xff\xfe\x00", "not text"),
        (SSD, "a picture", "line 1: not a pipeline.config"),
        ("num_classes: 1", "num_classes: 1 }", r"line \d+: not a pipeline.config"),
        ("}\ntrain_config", "train_config", "line .*: not a pipeline.config"),
        ("height: 300", "height: many", "line 5: not a pipeline.config .*many"),
        (
            "height: 300",
            "hight: 300",
            "line 5: not a pipeline.config .*FixedShapeResizer has no field 'hight'; .*height",
        ),
        ("aspect_ratios: 0.5", "\nmin_scales: 0.5", "line 11: .*SsdAnchorGenerator has no field 'min_scales'"),
        ("matched_threshold: 0.25", "threshold: 0.25", "line 7: .*ArgMaxMatcher has no field 'threshold'"),
        ("image_resizer { fixed_shape_resizer { height: 300 width: 400 } }", "", "has no image_resizer; .*identity_re"),
        ("fixed_shape_resizer { height: 300 width: 400 }", "", "ssd has no image_resizer"),
        ("height: 300", "height: 0", "line 5: image_resizer: height must be above 0, not 0"),
        (
            "fixed_shape_resizer { height: 300",
            "keep_aspect_ratio_resizer { min_dimension: 1025 } } #",
            "1025 is above 1024",
        ),
        (
            "fixed_shape_resizer { height: 300",
            "conditional_shape_resizer { condition: INVALID } } #",
            "GREATER or SMALLER",
        ),
        (
            "fixed_shape_resizer { height: 300",
            "conditional_shape_resizer { condition: X } } #",
            "line 5: not a pipeline",
        ),
        ('type: "ssd_{mobilenet}"', "", "line 6: feature_extractor: has no type"),
        (GENERATOR, "", "ssd has no anchor_generator"),
        ("aspect_ratios: [1.0, 2.0]; aspect_ratios: 0.5", "interpolated_scale_aspect_ratio: 0", "needs aspect_ratios"),
        (
            "aspect_ratios: 0.5",
            "aspect_ratios: -0.5",
            "line 9: ssd_anchor_generator: aspect_ratios must be above 0, not",
        ),
        ("aspect_ratios: 0.5", "max_scale: nan", "max_scale must be above 0, not nan"),
        ("aspect_ratios: 0.5", "num_layers: 0", "num_layers must be above 0"),
        ("aspect_ratios: 0.5", "num_layers: 1", "with one layer it needs scales"),
        ("aspect_ratios: 0.5", "scales: [0.1, 0.2]", "has 2 scales for 6 layers"),
        ("aspect_ratios: 0.5", "height_stride: [8, 16]", "has 2 height_stride and 0 width_stride for 6 layers"),
        ("aspect_ratios: 0.5", "height_offset: 8 width_offset: 8", "has 1 height_offset and 1 width_offset for 6"),
        (GENERATOR, "grid_anchor_generator { scales: 1 aspect_ratios: 1 }", "line 9: .*is for faster_rcnn only"),
        (GENERATOR, "multiscale_anchor_generator {}", "multiscale_anchor_generator: needs aspect_ratios"),
        (GENERATOR, f"{MULTISCALE} min_level: 8 }}", "levels 8 to 7 are none"),
        (GENERATOR, f"{MULTISCALE} scales_per_octave: 0 }}", "scales_per_octave must be above 0"),
        (GENERATOR, f"{MULTISCALE} normalize_coordinates: false }}", "needs normalize_coordinates: true in ssd"),
        (GENERATOR, f"{FLEXIBLE} height_stride: 8 width_stride: 8 }} }}", "anchor_grid 1 has 1 base_sizes and 0 asp"),
        (
            GENERATOR,
            f"{FLEXIBLE} aspect_ratios: 1 width_stride: 8 }} }}",
            "anchor_grid 1 needs height_stride and width",
        ),
        (GENERATOR, f"{FLEXIBLE} aspect_ratios: 0 }} }}", "aspect_ratios must be above 0"),
        ("argmax_matcher { matched_threshold: 0.25 unmatched_threshold: 0.125 }", "", "ssd has no matcher"),
        (
            "argmax_matcher { matched_threshold: 0.25 unmatched_threshold: 0.125 }",
            "bipartite_matcher {}",
            "line 7: bipartite_matcher: works in TensorFlow 1 only",
        ),
        ("0.125", "0.5", "line 7: argmax_matcher: unmatched_threshold 0.5 is above matched_threshold 0.25"),
    ],
)
def test_refused(read, old, new, message):
    assert old in SSD
    text = new if isinstance(new, bytes) else SSD.replace(old, new)
    with pytest.raises(UserError, match=message) as caught:
        read(text)
    assert "mine.config" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "new, message",
    [
        ("", "faster_rcnn has no anchor_generator"),
        ("ssd_anchor_generator { aspect_ratios: 1 }", "line 4: ssd_anchor_generator: is for ssd only"),
        ("grid_anchor_generator { scales: 1 }", "needs scales and aspect_ratios"),
        ("grid_anchor_generator { scales: 1 aspect_ratios: 1 width_stride: 0 }", "width_stride must be above 0"),
        (MULTISCALE + "}", "needs normalize_coordinates: false in faster_rcnn"),
    ],
)
def test_refused_of_faster_rcnn(read, new, message):
    with pytest.raises(UserError, match=message):
        read(FASTER_RCNN.replace("grid_anchor_generator { scales: 1 aspect_ratios: 1 }", new))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(SSD)),
    length=st.integers(0, 20),
    insert=st.text(st.sampled_from('{}<>[]:;,"#-0a_\n'), max_size=4),
)
def test_any_damage_is_read_or_refused(read, at, length, insert):
    try:
        read(SSD[:at] + insert + SSD[at + length :])
    except UserError as error:
        assert "\n" not in str(error)
