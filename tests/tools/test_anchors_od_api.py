"""Anchors, input sizes and matching against the OD API itself: its generators, resizers, matcher and networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import anchors, input_size, pipeline_config

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SSDLITE, FASTER_RCNN = "ssdlite_mobilenet_v2_320_face", "faster_rcnn_inception_resnet_v2_atrous_oid_face"
SIZES = [(300, 300), (320, 320), (640, 640), (640, 480), (512, 328), (300, 500)]
HYPERPARAMS = """
    regularizer { l2_regularizer { weight: 0.0 } } initializer { truncated_normal_initializer {} }
    batch_norm {} activation: RELU_6
"""


@pytest.fixture(scope="module")
def tf():
    import training  # noqa: F401  sets Keras 2 before TensorFlow is imported

    od_api = pytest.importorskip("training.od_api")
    od_api.install()
    import tensorflow

    return tensorflow


@pytest.fixture
def read(tf, tmp_path):
    """A function from a config's text to (our reading of it, the OD API's)."""

    def both(text):
        from google.protobuf import text_format
        from object_detection.protos.pipeline_pb2 import TrainEvalPipelineConfig

        path = tmp_path / "pipeline.config"
        path.write_text(text)
        return pipeline_config.read(path), text_format.Parse(text, TrainEvalPipelineConfig())

    return both


def ssd(generator, extractor="", resizer="fixed_shape_resizer {}"):
    extractor = extractor or 'type: "ssd_mobilenet_v2_keras"'
    return f"""model {{ ssd {{
        image_resizer {{ {resizer} }} feature_extractor {{ {extractor} conv_hyperparams {{ {HYPERPARAMS} }} }}
        anchor_generator {{ {generator} }} matcher {{ argmax_matcher {{}} }}
    }} }}"""


def faster_rcnn(generator, extractor="", more=""):
    extractor = extractor or 'type: "faster_rcnn_resnet50_keras"'
    return f"""model {{ faster_rcnn {{
        image_resizer {{ keep_aspect_ratio_resizer {{}} }} feature_extractor {{ {extractor} }} {more}
        first_stage_anchor_generator {{ {generator} }}
    }} }}"""


RATIOS = "aspect_ratios: 1.0 aspect_ratios: 2.0 aspect_ratios: 0.5 aspect_ratios: 3.0 aspect_ratios: 0.3333"
FPN = 'type: "ssd_mobilenet_v2_fpn_keras" fpn { min_level: 3 max_level: 7 }'
SSD_GENERATORS = [
    (f"ssd_anchor_generator {{ {RATIOS} }}", ""),
    (f"ssd_anchor_generator {{ {RATIOS} reduce_boxes_in_lowest_layer: false }}", ""),
    (f"ssd_anchor_generator {{ {RATIOS} interpolated_scale_aspect_ratio: 0.8 min_scale: 0.05 max_scale: 0.7 }}", ""),
    ("ssd_anchor_generator { aspect_ratios: 0.8 interpolated_scale_aspect_ratio: 0.0 }", ""),
    ("ssd_anchor_generator { aspect_ratios: 0.8 base_anchor_height: 1.3 base_anchor_width: 0.7 }", ""),
    ("ssd_anchor_generator { scales: [0.04, 0.1, 0.2, 0.4, 0.6, 0.8] aspect_ratios: 0.8 }", ""),
    ("ssd_anchor_generator { scales: [0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 2] aspect_ratios: 1 }", ""),
    ("ssd_anchor_generator { num_layers: 1 scales: 0.1 aspect_ratios: 1 }", "num_layers: 1"),
    (
        "ssd_anchor_generator { num_layers: 2 aspect_ratios: 0.8 height_stride: [16, 30] width_stride: [16, 32] "
        "height_offset: [0, 15] width_offset: [8, -3] }",
        "num_layers: 2",
    ),
    ("ssd_anchor_generator { num_layers: 2 aspect_ratios: 1 height_stride: [9, 31] width_stride: [16, 32] }", 2),
    ("multiscale_anchor_generator { aspect_ratios: [1.0, 2.0, 0.5] }", FPN),
    ("multiscale_anchor_generator { anchor_scale: 1.7 aspect_ratios: [0.8, 1.1] scales_per_octave: 3 }", FPN),
    (
        "multiscale_anchor_generator { min_level: 4 max_level: 5 aspect_ratios: 1 }",
        FPN.replace("3", "4").replace("7", "5"),
    ),
    (
        "flexible_grid_anchor_generator { anchor_grid { base_sizes: [16, 26.5] aspect_ratios: [0.8, 2] "
        "height_stride: 16 width_stride: 15 height_offset: 3 } anchor_grid { base_sizes: 100 aspect_ratios: 1 "
        "height_stride: 32 width_stride: 32 width_offset: 16 } }",
        2,
    ),
]
GRID_GENERATORS = [
    "grid_anchor_generator { scales: [0.25, 0.5, 1] aspect_ratios: [0.5, 1, 2] }",
    "grid_anchor_generator { height: 100 width: 90 scales: [0.3, 1] aspect_ratios: 0.8 height_stride: 16 "
    "width_stride: 8 height_offset: 4 width_offset: -2 }",
]


def same_anchors(tf, ours, theirs, width, height, *, normalized, dynamic=False):
    """Compares `build` for an input with the anchors that the OD API generates for the same feature maps."""
    from object_detection.builders import anchor_generator_builder

    found = anchors.xyxy(anchors.build(ours, width, height, fixed=not dynamic))
    maps = anchors.feature_maps(ours, width, height)
    size = {"im_height": height, "im_width": width} if normalized else {}
    if dynamic:
        size = {name: tf.constant(value) for name, value in size.items()}
    boxes = anchor_generator_builder.build(theirs).generate(maps, **size)
    yxyx = np.concatenate([each.get().numpy() for each in boxes])
    if normalized:
        yxyx = yxyx * np.float32([height, width, height, width])
    assert found.shape == yxyx.shape and len(found) > 4
    np.testing.assert_allclose(found, yxyx[:, [1, 0, 3, 2]], rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("generator, extractor", SSD_GENERATORS)
def test_ssd_anchors(tf, read, generator, extractor, dynamic):
    if not isinstance(extractor, str) or extractor.startswith("num_layers"):
        layers = extractor if isinstance(extractor, str) else f"num_layers: {extractor}"
        extractor = f'type: "ssd_mobilenet_v2_keras" {layers}'
    ours, theirs = read(ssd(generator, extractor))
    for width, height in SIZES:
        same_anchors(tf, ours, theirs.model.ssd.anchor_generator, width, height, normalized=True, dynamic=dynamic)


@pytest.mark.parametrize("generator", GRID_GENERATORS)
def test_faster_rcnn_anchors(tf, read, generator):
    ours, theirs = read(faster_rcnn(generator))
    for width, height in [(1024, 600), (600, 601), (333, 1024)]:
        same_anchors(tf, ours, theirs.model.faster_rcnn.first_stage_anchor_generator, width, height, normalized=False)


def test_faster_rcnn_pyramid_anchors(tf, read):
    generator = (
        "multiscale_anchor_generator { min_level: 2 max_level: 6 aspect_ratios: 1 normalize_coordinates: false }"
    )
    ours, theirs = read(
        faster_rcnn(generator, 'type: "faster_rcnn_resnet50_fpn_keras" fpn { min_level: 2 max_level: 6 }')
    )
    for width, height in [(1024, 600), (600, 601)]:
        same_anchors(tf, ours, theirs.model.faster_rcnn.first_stage_anchor_generator, width, height, normalized=False)


@pytest.mark.parametrize("size", [(320, 320), (640, 640)])
def test_anchors_of_our_ssd(tf, read, size):
    ours, theirs = read((pipeline_config.PIPELINES / f"{SSDLITE}.config").read_text())
    same_anchors(tf, ours, theirs.model.ssd.anchor_generator, *size, normalized=True)


def test_anchors_of_our_faster_rcnn(tf, read):
    ours, theirs = read((pipeline_config.PIPELINES / f"{FASTER_RCNN}.config").read_text())
    generator = theirs.model.faster_rcnn.first_stage_anchor_generator
    same_anchors(tf, ours, generator, 1024, 600, normalized=False)
    same_anchors(tf, ours, generator, 768, 1024, normalized=False)


@pytest.mark.parametrize(
    "extractor, levels, size",
    [
        ('type: "ssd_mobilenet_v2_keras"', 6, (300, 330)),
        ('type: "ssd_mobilenet_v2_keras" use_explicit_padding: true num_layers: 4', 4, (321, 320)),
        ('type: "ssd_mobilenet_v2_keras" pad_to_multiple: 32', 6, (321, 300)),
        ('type: "ssd_mobilenet_v1_keras"', 6, (300, 330)),
        ('type: "ssd_mobilenet_v2_fpn_keras" fpn { min_level: 3 max_level: 7 }', 5, (320, 448)),
        ('type: "ssd_mobilenet_v1_fpn_keras" pad_to_multiple: 32', 5, (300, 430)),
        (
            'type: "ssd_resnet50_v1_fpn_keras" fpn { min_level: 4 max_level: 6 }',
            5,
            (320, 448),
        ),  # its levels are not used
        (
            'type: "ssd_efficientnet-b0_bifpn_keras" '
            "bifpn { min_level: 3 max_level: 6 num_iterations: 1 num_filters: 8 }",
            4,
            (320, 448),
        ),
    ],
)
def test_feature_maps_of_ssd(tf, read, extractor, levels, size):
    from object_detection.builders import model_builder

    ours, theirs = read(ssd("ssd_anchor_generator { aspect_ratios: 1 }", extractor))
    network = model_builder._build_ssd_feature_extractor(theirs.model.ssd.feature_extractor, False, False)
    height, width = size
    shapes = tf.function(network).get_concrete_function(tf.TensorSpec((1, height, width, 3))).output_shapes
    assert anchors.feature_maps(ours, width, height) == [tuple(shape[1:3]) for shape in shapes]
    assert len(shapes) == levels


@pytest.mark.parametrize(
    "extractor",
    [
        'type: "faster_rcnn_resnet50_keras"',
        f'type: "faster_rcnn_resnet50_fpn_keras" conv_hyperparams {{ {HYPERPARAMS} }}',
        'type: "faster_rcnn_resnet50_fpn_keras" fpn { min_level: 3 max_level: 5 } '
        f"conv_hyperparams {{ {HYPERPARAMS} }}",
        'type: "faster_rcnn_inception_resnet_v2_keras" first_stage_features_stride: 8',
    ],
)
def test_feature_maps_of_faster_rcnn(tf, read, extractor):
    from object_detection.builders import model_builder

    ours, theirs = read(faster_rcnn(GRID_GENERATORS[0], extractor))
    network = model_builder._build_faster_rcnn_keras_feature_extractor(theirs.model.faster_rcnn.feature_extractor, True)
    features = tf.function(network.get_proposal_feature_extractor_model())
    for height, width in [(600, 1024), (601, 610)]:
        shapes = features.get_concrete_function(tf.TensorSpec((1, height, width, 3))).output_shapes
        shapes = shapes if isinstance(shapes, list) else [shapes]
        assert anchors.feature_maps(ours, width, height) == [tuple(shape[1:3]) for shape in shapes]


@pytest.mark.parametrize(
    "resizer",
    [
        "keep_aspect_ratio_resizer { min_dimension: 320 max_dimension: 320 pad_to_max_dimension: true }",
        "keep_aspect_ratio_resizer {}",
        "keep_aspect_ratio_resizer { min_dimension: 60 max_dimension: 103 pad_to_max_dimension: true }",
        "fixed_shape_resizer { height: 30 width: 77 }",
        "identity_resizer {}",
        "conditional_shape_resizer { size_threshold: 50 }",
        "conditional_shape_resizer { condition: SMALLER size_threshold: 77 }",
        "pad_to_multiple_resizer { multiple: 32 }",
    ],
)
def test_input_sizes(tf, read, resizer):
    from object_detection.builders import image_resizer_builder

    ours, theirs = read(ssd(SSD_GENERATORS[0][0], resizer=resizer))
    resize = tf.function(
        image_resizer_builder.build(theirs.model.ssd.image_resizer),
        input_signature=[tf.TensorSpec((None, None, 3), tf.float32)],
    )
    fixed = set()

    @settings(max_examples=30)
    @given(width=st.integers(3, 130), height=st.integers(3, 130))
    def check(width, height):
        padded, shape = resize(tf.zeros((height, width, 3)))
        image, whole = input_size.resized(ours.image_resizer, width, height)
        assert (image[1], image[0]) == tuple(shape.numpy()[:2])
        assert (whole[1], whole[0]) == tuple(padded.shape[:2])
        fixed.add(whole)

    check()
    assert input_size.is_fixed(ours.image_resizer) == (len(fixed) == 1)


def test_a_face_is_matched_when_its_best_anchor_reaches_the_threshold(tf):
    """For a single face in the image, and an IoU that is not on the threshold itself."""
    from object_detection.builders import matcher_builder, region_similarity_calculator_builder
    from object_detection.core import box_list
    from object_detection.protos import matcher_pb2, region_similarity_calculator_pb2

    ours = pipeline_config.read(SSDLITE)
    grids = anchors.build(ours, 320, 320)
    config = matcher_pb2.Matcher()
    config.argmax_matcher.matched_threshold = config.argmax_matcher.unmatched_threshold = ours.matched_threshold
    matcher = matcher_builder.build(config)
    similarity = region_similarity_calculator_pb2.RegionSimilarityCalculator()
    similarity.iou_similarity.SetInParent()
    iou = region_similarity_calculator_builder.build(similarity)
    theirs = box_list.BoxList(tf.constant(anchors.xyxy(grids)[:, [1, 0, 3, 2]] / 320, tf.float32))
    rng = np.random.default_rng(3)
    centre, size = (
        rng.uniform(20, 300, (200, 2)),
        np.exp(rng.uniform(1.5, 4.5, (200, 1))) * rng.uniform(0.8, 1.2, (200, 2)),
    )
    boxes = np.clip(np.hstack([centre - size / 2, centre + size / 2]), 0, 320)
    best = np.max(list(anchors.shape_ious(grids, boxes, (320, 320))), axis=0)
    matched, exact = [], []
    for box in boxes:
        overlaps = iou.compare(box_list.BoxList(tf.constant(box[None, [1, 0, 3, 2]] / 320, tf.float32)), theirs)
        exact.append(overlaps.numpy().max())
        matched.append(matcher.match(overlaps).num_matched_columns().numpy() > 0)
    np.testing.assert_allclose(best, exact, atol=1e-5)
    assert 40 < sum(matched) < 160
    assert matched == (best >= ours.matched_threshold).tolist()


def test_region_proposals(tf):
    """The thresholds of Faster R-CNN, which are in no config, and the anchors that its training leaves out or clips."""
    from object_detection.core import box_list, box_list_ops, target_assigner

    ours = pipeline_config.read(FASTER_RCNN)
    matcher = target_assigner.create_target_assigner("FasterRCNN", "proposal")._matcher
    assert (matcher._matched_threshold, matcher._force_match_for_each_row) == (
        ours.matched_threshold,
        ours.force_match,
    )
    window = (1024, 683)
    grids = anchors.build(ours, *window)
    theirs = box_list.BoxList(tf.constant(anchors.xyxy(grids)[:, [1, 0, 3, 2]], tf.float32))
    edge = tf.constant([0, 0, window[1], window[0]], tf.float32)
    inside, _ = box_list_ops.prune_outside_window(theirs, edge)
    assert sum(map(sum, anchors.count(grids, window, "drop"))) == inside.num_boxes_static()
    clipped = box_list_ops.clip_to_window(theirs, edge, filter_nonoverlapping=False)
    rng = np.random.default_rng(5)
    corners = np.sort(rng.uniform(0, 1, (20, 2, 2)), axis=1).reshape(-1, 4) * [*window, *window]
    for outside, boxes in (("keep", theirs), ("drop", inside), ("clip", clipped)):
        exact = box_list_ops.iou(box_list.BoxList(tf.constant(corners[:, [1, 0, 3, 2]], tf.float32)), boxes).numpy()
        best = np.max(list(anchors.shape_ious(grids, corners, window, outside)), axis=0)
        np.testing.assert_allclose(best, exact.max(axis=1), atol=1e-5)


def test_the_messages_are_those_of_the_od_api(tf):
    from object_detection.protos import pipeline_pb2

    def fields(message, names):
        return {
            each.name: (each.number, each.type, each.default_value, each.is_repeated, each.has_presence)
            for each in message.fields
            if each.name in names
        }

    seen = set()

    def compare(ours, theirs):
        if ours.full_name in seen:
            return
        seen.add(ours.full_name)
        names = set(ours.fields_by_name)
        assert ours.full_name == theirs.full_name
        assert fields(ours, names) == fields(theirs, names)
        if ours.name not in pipeline_config._PARTIAL:
            assert names == set(theirs.fields_by_name)
        for name in names:
            if ours.fields_by_name[name].message_type:
                compare(ours.fields_by_name[name].message_type, theirs.fields_by_name[name].message_type)
            if enum := ours.fields_by_name[name].enum_type:
                values = theirs.fields_by_name[name].enum_type.values_by_name
                assert {v.name: v.number for v in enum.values} == {v.name: v.number for v in values.values()}

    compare(
        pipeline_config.message_class("TrainEvalPipelineConfig").DESCRIPTOR,
        pipeline_pb2.TrainEvalPipelineConfig.DESCRIPTOR,
    )
    assert len(seen) == 23
