"""Inputs of other sizes than a pipeline says: whether its network can take them.

A convolutional network runs at any size, but its boxes are right only where the anchors lie on the picture as they did
in training: of the same shapes in pixels, at cells of the same stride that cover the input to its edge.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from tools import anchors, pipeline_config
from tools.anchors import Grid
from training.od_api.pipeline import TrainEvalPipelineConfig, meta_config


def check(config_path: Path, trained: tuple[int, int], sizes: Sequence[int]) -> None:
    """Raises UserError where a network cannot take a square input of one of these sizes.

    Args:
        config_path: its pipeline.config.
        trained: (width, height) of the input that it was trained with.
        sizes: sides in pixels.
    """
    pipeline = pipeline_config.read(config_path)
    own = anchors.build(pipeline, *trained)
    coarsest = max(max(grid.stride) for grid in own)
    for size in sizes:
        others = anchors.build(pipeline, size, size)
        for layer, (grid, other) in enumerate(zip(own, others, strict=True), 1):
            if not _covers(grid, trained[1]):
                raise UserError(
                    f"--sizes {size}: layer {layer} of {config_path} has its anchors at a stride of {grid.stride[0]:g} "
                    f"px in {grid.rows} rows, which fits an input of {trained[1]} px only; leave --sizes out"
                )
            if not _covers(other, size):
                raise UserError(f"--sizes {size}: not a multiple of {coarsest:g}, the largest stride of {config_path}")
            if (other.stride, other.offset) != (grid.stride, grid.offset) or not np.allclose(other.shapes, grid.shapes):
                raise UserError(
                    f"--sizes {size}: the anchors of layer {layer} of {config_path} grow with the input; a "
                    "flexible_grid_anchor_generator or multiscale_anchor_generator keeps their pixels"
                )


def resized(pipeline: TrainEvalPipelineConfig, size: int) -> TrainEvalPipelineConfig:
    """A copy of a config for a square input of this side in pixels."""
    done = TrainEvalPipelineConfig()
    done.CopyFrom(pipeline)
    resizer = meta_config(done).image_resizer
    chosen = getattr(resizer, resizer.WhichOneof("image_resizer_oneof"))
    for name in ("min_dimension", "max_dimension") if hasattr(chosen, "min_dimension") else ("height", "width"):
        setattr(chosen, name, size)
    return done


def _covers(grid: Grid, side: int) -> bool:
    """Whether the cells, each as large as the stride, cover an input of this side exactly."""
    return all(cells * stride == side for cells, stride in zip((grid.rows, grid.columns), grid.stride, strict=True))
