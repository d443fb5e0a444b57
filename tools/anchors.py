"""Anchors of SSD and Faster R-CNN as the OD API builds them, in pixels of the model's input, and their IoU with boxes.

Source: object_detection/anchor_generators, and for the sizes of the feature maps object_detection/models. Every layer
is a grid of cells, and each cell holds the same shapes around its centre. That is why the best IoU of a box is found
without trying all anchors, see `shape_ious`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tools.pipeline_config import Pipeline

# Types of feature extractors, without the "_keras" of the TensorFlow 2 ones. The layers of others are not known here.
_SSD = re.compile(r"ssd_mobilenet_v[12]")
_SSD_RESNET = re.compile(r"ssd_resnet(50|101|152)_v1_fpn")
_SSD_PYRAMID = re.compile(r"ssd_(mobilenet_v[12]_fpn|efficientnet-b[0-7]_bifpn)")
_FASTER_RCNN = re.compile(r"faster_rcnn_(resnet(50|101|152)|inception_resnet_v2)")
_FASTER_RCNN_PYRAMID = re.compile(r"faster_rcnn_resnet(50|101|152)_fpn")
_KNOWN = {
    "ssd": "ssd_mobilenet_v1, ssd_mobilenet_v2, their _fpn, ssd_resnet50_v1_fpn, ssd_efficientnet-b0_bifpn and so on",
    "faster_rcnn": "faster_rcnn_resnet50, its _fpn, faster_rcnn_inception_resnet_v2 and so on",
}
_PYRAMID_MULTIPLE = 32  # to which the Faster R-CNN pyramids pad their input, whatever the config


@dataclass(frozen=True, eq=False)
class Grid:
    """The anchors of one layer: every shape at every cell.

    Attributes:
        rows, columns: of cells.
        stride: (y, x), pixels from one cell's centre to the next.
        offset: (y, x) of the first cell's centre in pixels.
        shapes: (K, 2) float64, height and width in pixels.
    """

    rows: int
    columns: int
    stride: tuple[float, float]
    offset: tuple[float, float]
    shapes: np.ndarray

    def __len__(self) -> int:
        return self.rows * self.columns * len(self.shapes)


def build(pipeline: Pipeline, width: int, height: int, *, fixed: bool = True) -> list[Grid]:
    """The layers of a model, finest first.

    Args:
        pipeline: its config.
        width, height: of the model's input in pixels, padding included.
        fixed: whether the input has this size for all images. Where it has not, the OD API centres the cells of
            multiscale_anchor_generator; where it has, it does so only for sizes that are multiples of the stride.

    Raises:
        UserError: the feature extractor is not known here, or has another number of layers than the anchor generator.
    """
    maps = feature_maps(pipeline, width, height)
    generator = pipeline.anchor_generator
    match generator.DESCRIPTOR.name:
        case "SsdAnchorGenerator":
            layers = _ssd_layers(generator, maps, width, height)
        case "MultiscaleAnchorGenerator":
            always = pipeline.architecture == "faster_rcnn" or not fixed
            layers = _multiscale_layers(generator, (height, width), always)
        case "FlexibleGridAnchorGenerator":
            layers = [
                (
                    (grid.height_stride, grid.width_stride),
                    (grid.height_offset, grid.width_offset),
                    _shapes(grid.base_sizes, grid.aspect_ratios, (1, 1)),
                )
                for grid in generator.anchor_grid
            ]
        case _:  # GridAnchorGenerator
            ratios, scales = _each_with_each(generator.aspect_ratios, generator.scales)
            shapes = _shapes(scales, ratios, (generator.height, generator.width))
            stride = generator.height_stride, generator.width_stride
            layers = [(stride, (generator.height_offset, generator.width_offset), shapes)]
    if len(layers) != len(maps):
        raise pipeline.error(
            "anchor_generator" if pipeline.architecture == "ssd" else "first_stage_anchor_generator",
            f"is for {len(layers)} layers, but {pipeline.feature_extractor.type} has {len(maps)}",
        )
    return [Grid(*size, *layer) for size, layer in zip(maps, layers, strict=True)]


def feature_maps(pipeline: Pipeline, width: int, height: int) -> list[tuple[int, int]]:
    """(rows, columns) of each feature map that has anchors, finest first. Raises UserError as `build`."""
    extractor, name = pipeline.feature_extractor, pipeline.feature_extractor.type.removesuffix("_keras")
    multiple = 1
    if pipeline.architecture == "ssd":
        multiple = max(1, extractor.pad_to_multiple)
        if _SSD.fullmatch(name):
            strides = [2**level for level in range(4, 4 + extractor.num_layers)]
        elif _SSD_RESNET.fullmatch(name):
            strides = [8, 16, 32, 64, 128]  # whatever fpn says: these classes do not pass its levels on
        elif _SSD_PYRAMID.fullmatch(name):
            pyramid = extractor.bifpn if name.endswith("bifpn") else extractor.fpn
            strides = [2**level for level in range(pyramid.min_level, pyramid.max_level + 1)]
        else:
            strides = []
    elif _FASTER_RCNN.fullmatch(name):
        strides = [extractor.first_stage_features_stride]
    elif _FASTER_RCNN_PYRAMID.fullmatch(name):
        multiple = _PYRAMID_MULTIPLE
        first, last = (extractor.fpn.min_level, extractor.fpn.max_level) if extractor.HasField("fpn") else (2, 6)
        strides = [2**level for level in range(first, last + 1)]
    else:
        strides = []
    if not strides or min(strides) < 1:
        raise pipeline.error(
            "feature_extractor",
            f"the layers of {extractor.type!r} are not known here; known are {_KNOWN[pipeline.architecture]}",
        )
    padded = [-(-side // multiple) * multiple for side in (height, width)]
    # All strided convolutions round up.
    return [tuple(-(-side // stride) for side in padded) for stride in strides]


def xyxy(grids: Sequence[Grid]) -> np.ndarray:
    """(A, 4) float64 anchors in the OD API's order: by layer, row, column, shape."""
    boxes = [np.zeros((0, 4))]
    for grid in grids:
        y, x = (centres[..., None] for centres in np.meshgrid(*_centres(grid), indexing="ij"))
        height, width = grid.shapes.T
        sides = np.broadcast_arrays(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        boxes.append(np.stack(sides, axis=-1).reshape(-1, 4))
    return np.concatenate(boxes)


def count(grids: Sequence[Grid], window: tuple[int, int], outside: str = "keep") -> list[np.ndarray]:
    """For each grid the number of anchors of each of its shapes, (K,) int64; see `shape_ious` for the arguments."""
    counts = []
    for grid in grids:
        inside = [
            [last - first + 1 for first, last in (_cells(*axis, outside) for axis in _axes(grid, shape, window))]
            for shape in grid.shapes
        ]
        counts.append(np.array(inside, np.int64).reshape(-1, 2).prod(axis=1))
    return counts


def shape_ious(
    grids: Sequence[Grid], boxes: np.ndarray, window: tuple[int, int], outside: str = "keep"
) -> Iterator[np.ndarray]:
    """For each shape of each grid in turn: each box's best IoU with an anchor of this shape, (N,) float64.

    The same as the maximum over all anchors, without trying them all. For one shape the IoU with a box only grows with
    their overlap, the overlap is the product of those along x and y, and each of these only falls with the distance of
    the centres. So the best anchor is that of the nearest row and the nearest column.

    Where anchors are clipped, their size differs, and four more rows (and columns) can be the best: of the anchors that
    are cut at the lower end the two whose upper end lies nearest to the box's on either side, as before that end the
    overlap grows faster than the anchor and behind it only the anchor grows; and likewise at the upper end.

    Args:
        grids: from `build`.
        boxes: (N, 4) xyxy in pixels of the input, inside of it, none of them empty.
        window: (width, height) of the input.
        outside: what becomes of anchors that cross the edge of the input, Pipeline.outside.
    """
    for grid in grids:
        for shape in grid.shapes:
            yield _best_of_shape(grid, shape, boxes, window, outside)


def centred_iou(shape: Sequence[float], boxes: np.ndarray) -> np.ndarray:
    """(N,) IoU of boxes (N, 4) xyxy with anchors of a (height, width) that stand exactly on their centres."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    overlap = np.minimum(height, shape[0]) * np.minimum(width, shape[1])
    return overlap / (height * width + shape[0] * shape[1] - overlap)


@dataclass(frozen=True, eq=False)
class Matches:
    """How boxes and the anchors of an input overlap.

    Attributes:
        best: (N,) IoU of each box with its best anchor.
        centred: (N,) the same if anchors of all shapes stood on each box's centre.
        best_for: (K,) for how many boxes the best anchor is of each shape, of all layers in a row; the first shape
            where some are as good.
        reached: (K,) how many boxes have an anchor of each shape that reaches the threshold.
        layer_reached: (layers,) how many have one of any shape of each layer.
    """

    best: np.ndarray
    centred: np.ndarray
    best_for: np.ndarray
    reached: np.ndarray
    layer_reached: np.ndarray


def match(grids: Sequence[Grid], boxes: np.ndarray, window: tuple[int, int], outside: str, threshold: float) -> Matches:
    """Compares boxes with anchors; the arguments are those of `shape_ious`, and the IoU to reach."""
    shapes = [(layer, shape) for layer, grid in enumerate(grids) for shape in grid.shapes]
    best, shape_of_best, centred = np.zeros(len(boxes)), np.full(len(boxes), -1), np.zeros(len(boxes))
    reached, in_layer = np.zeros(len(shapes), np.int64), np.zeros((len(grids), len(boxes)), bool)
    ious = shape_ious(grids, boxes, window, outside)
    for index, ((layer, shape), iou) in enumerate(zip(shapes, ious, strict=True)):
        better = iou > best
        best[better], shape_of_best[better] = iou[better], index
        enough = iou >= threshold
        reached[index] = enough.sum()
        in_layer[layer] |= enough
        centred = np.maximum(centred, centred_iou(shape, boxes))
    best_for = np.bincount(shape_of_best[shape_of_best >= 0], minlength=len(shapes))
    return Matches(best, centred, best_for, reached, in_layer.sum(axis=1))


def _best_of_shape(
    grid: Grid, shape: np.ndarray, boxes: np.ndarray, window: tuple[int, int], outside: str
) -> np.ndarray:
    overlaps, lengths = [], []
    for axis, (centres, size, edge) in enumerate(_axes(grid, shape, window)):
        low, high = boxes[:, 1 - axis], boxes[:, 3 - axis]
        first, last = _cells(centres, size, edge, outside)
        if last < first:
            return np.zeros(len(boxes))
        near = [np.rint(((low + high) / 2 - grid.offset[axis]) / grid.stride[axis])]
        if outside == "clip":
            for end, half in ((high, size / 2), (low, -size / 2)):
                before = np.floor((end - half - grid.offset[axis]) / grid.stride[axis])
                near += [before, before + 1]
        centre = centres[np.clip(np.stack(near, axis=1), first, last).astype(np.intp)]  # (N, candidates)
        start, stop = centre - size / 2, centre + size / 2
        if outside == "clip":
            start, stop = np.clip(start, 0, edge), np.clip(stop, 0, edge)
        overlaps.append(np.maximum(np.minimum(stop, high[:, None]) - np.maximum(start, low[:, None]), 0))
        lengths.append(stop - start)
    overlap, area = (along_y[:, :, None] * along_x[:, None, :] for along_y, along_x in (overlaps, lengths))
    box_area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None, None]
    return (overlap / (area + box_area - overlap)).max(axis=(1, 2))


def _axes(grid: Grid, shape: np.ndarray, window: tuple[int, int]) -> Iterator[tuple[np.ndarray, float, int]]:
    """For y and x: the centres of the cells, the anchor's size, the window's size."""
    return zip(_centres(grid), shape, window[::-1], strict=True)


def _centres(grid: Grid) -> list[np.ndarray]:
    """[(rows,) y, (columns,) x]."""
    cells = (grid.rows, grid.columns)
    return [grid.offset[axis] + grid.stride[axis] * np.arange(cells[axis], dtype=np.float64) for axis in (0, 1)]


def _cells(centres: np.ndarray, size: float, edge: int, outside: str) -> tuple[int, int]:
    """The first and the last cell along an axis whose anchors are there; the last comes before the first for none."""
    if outside != "drop":
        return 0, len(centres) - 1
    inside = np.flatnonzero((centres - size / 2 >= 0) & (centres + size / 2 <= edge))
    return (int(inside[0]), int(inside[-1])) if len(inside) else (0, -1)


def _ssd_layers(generator, maps: list[tuple[int, int]], width: int, height: int) -> list[tuple]:
    """multiple_grid_anchor_generator.py: sizes are fractions of the input's short side."""
    layers = generator.num_layers
    scales = list(generator.scales)
    if not scales:
        step = (generator.max_scale - generator.min_scale) / (layers - 1)
        scales = [generator.min_scale + step * layer for layer in range(layers)]
    scales.append(1.0)
    short = min(width, height)
    base = generator.base_anchor_height * short, generator.base_anchor_width * short
    found = []
    for layer in range(layers):
        if layer == 0 and generator.reduce_boxes_in_lowest_layer:
            specs = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            specs = [(scales[layer], ratio) for ratio in generator.aspect_ratios]
            if generator.interpolated_scale_aspect_ratio > 0:
                between = math.sqrt(scales[layer] * scales[layer + 1])
                specs.append((between, generator.interpolated_scale_aspect_ratio))
        if generator.height_stride:
            stride = generator.height_stride[layer], generator.width_stride[layer]
        else:
            rows, columns = maps[layer] if layer < len(maps) else (1, 1)
            stride = height / rows, width / columns
        offset = stride[0] / 2, stride[1] / 2
        if generator.height_offset:
            offset = generator.height_offset[layer], generator.width_offset[layer]
        found.append((stride, offset, _shapes(*zip(*specs, strict=True), base)))
    return found


def _multiscale_layers(generator, input_size: tuple[int, int], always_centred: bool) -> list[tuple]:
    """multiscale_grid_anchor_generator.py: sizes are multiples of the stride. input_size: (height, width)."""
    octave = [2 ** (i / generator.scales_per_octave) for i in range(generator.scales_per_octave)]
    ratios, scales = _each_with_each(generator.aspect_ratios, octave)
    found = []
    for level in range(generator.min_level, generator.max_level + 1):
        stride = 2**level
        base = stride * generator.anchor_scale
        offset = tuple(stride / 2 if always_centred or side % stride == 0 or side == 1 else 0.0 for side in input_size)
        found.append(((stride, stride), offset, _shapes(scales, ratios, (base, base))))
    return found


def _each_with_each(slow: Sequence[float], fast: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Each of the one with each of the other: (len(slow) * len(fast),) twice, the second changing fastest."""
    return np.repeat(slow, len(fast)), np.tile(fast, len(slow))


def _shapes(scales: Sequence[float], ratios: Sequence[float], base: tuple[float, float]) -> np.ndarray:
    """(K, 2) heights and widths: scales (K,) of the base (height, width), with ratios (K,) of width to height."""
    roots, scales = np.sqrt(np.asarray(ratios, np.float64)), np.asarray(scales, np.float64)
    return np.stack([scales / roots * base[0], scales * roots * base[1]], axis=1)
