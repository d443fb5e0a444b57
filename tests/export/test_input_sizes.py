"""Other input sizes: only where the anchors lie on the picture as they did in training."""

from pathlib import Path

import numpy as np
import pytest

from detect_faces.errors import UserError
from export import input_sizes
from tools import anchors, pipeline_config
from training.od_api import pipeline as pipelines

PYRAMID = Path("pipelines/ssdlite_mobilenet_v2_fpn_320_face.config")
SSDLITE = Path("pipelines/ssdlite_mobilenet_v2_320_face.config")


def test_a_pyramid_takes_multiples_of_its_largest_stride():
    input_sizes.check(PYRAMID, (320, 320), [320, 640, 64, 1280])
    with pytest.raises(UserError, match="--sizes 600: not a multiple of 64, the largest stride"):
        input_sizes.check(PYRAMID, (320, 320), [640, 600])


def test_cells_that_do_not_cover_the_input_are_refused():
    with pytest.raises(UserError, match=r"layer 4 of .* fits an input of 320 px only"):
        input_sizes.check(SSDLITE, (320, 320), [640])


def test_anchors_that_grow_with_the_input_are_refused(tmp_path):
    text = SSDLITE.read_text()
    start, end = text.index("    anchor_generator {"), text.index("    box_coder {")
    relative = (
        "anchor_generator { ssd_anchor_generator { num_layers: 6 min_scale: 0.2 max_scale: 0.9 aspect_ratios: 1 } }\n"
    )
    (path := tmp_path / "pipeline.config").write_text(text[:start] + relative + text[end:])
    with pytest.raises(UserError, match="--sizes 512: the anchors of layer 1"):
        input_sizes.check(path, (256, 256), [512])


def test_the_resized_pipeline_has_the_same_anchors_where_both_have_cells(tmp_path):
    resized = input_sizes.resized(pipelines.load(PYRAMID), 640)
    (path := tmp_path / "pipeline.config").write_text(pipelines.text(resized))
    own, other = pipeline_config.read(PYRAMID), pipeline_config.read(path)
    assert other.image_resizer.max_dimension == 640
    for small, large in zip(anchors.build(own, 320, 320), anchors.build(other, 640, 640), strict=True):
        boxes = [anchors.xyxy([grid]).reshape(grid.rows, grid.columns, len(grid.shapes), 4) for grid in (small, large)]
        np.testing.assert_allclose(boxes[1][: small.rows, : small.columns], boxes[0])
