"""What a frozen detection graph was exported with, as far as it shows: input size, suppression, epsilon."""

from dataclasses import dataclass, fields

import numpy as np

from export.graph_variables import Graph, Layer

_SUPPRESSION = "NonMaxSuppression"


@dataclass(frozen=True)
class Settings:
    """None: the graph does not tell.

    Attributes:
        size: (height, width) in pixels that every photograph is stretched to.
        iou_threshold, score_threshold, max_detections: of non-maximum suppression.
        epsilon: of batch norm; None also where layers differ.
    """

    size: tuple[int, int] | None = None
    iou_threshold: float | None = None
    score_threshold: float | None = None
    max_detections: int | None = None
    epsilon: float | None = None

    def __str__(self) -> str:
        parts = [f"input stretched to {self.size[1]} x {self.size[0]}" if self.size else "input not of one size"]
        if self.iou_threshold is None:
            parts.append("no non-maximum suppression to be seen")
        else:
            parts.append(
                f"non-maximum suppression from IoU {self.iou_threshold:g}, of scores from {self.score_threshold or 0:g}"
                + (f", {self.max_detections} boxes at most" if self.max_detections else "")
            )
        if self.epsilon:
            parts.append(f"epsilon {self.epsilon:g}")
        return "; ".join(parts)


def read(graph: Graph, layers: list[Layer]) -> Settings:
    """The settings of a graph with these layers."""
    sizes = set()
    for node in graph.graph_def.node:
        if node.op.startswith("Resize") and len(node.input) == 2:
            size = _number(graph, node.input[1])
            sizes.add(None if size is None or size.size != 2 else tuple(int(side) for side in size.ravel()))
    suppression = {}
    for node in graph.graph_def.node:
        if node.op.startswith(_SUPPRESSION):
            values = [_number(graph, source) for source in node.input[2:5]] + [None] * 3
            most, iou, score = (None if value is None or value.size != 1 else value.item() for value in values[:3])
            if iou is None and "iou_threshold" in node.attr:
                iou = node.attr["iou_threshold"].f
            suppression = {"max_detections": most, "iou_threshold": _short(iou), "score_threshold": _short(score)}
            break
    epsilons = {_short(layer.norm.epsilon) for layer in layers if layer.norm}
    return Settings(
        size=sizes.pop() if len(sizes) == 1 else None,
        epsilon=epsilons.pop() if len(epsilons) == 1 else None,
        **suppression,
    )


def differences(graph: Settings, pipeline: Settings) -> list[str]:
    """What the two are known to differ in, as phrases."""
    names = {"size": "input size", "epsilon": "batch norm epsilon"}
    return [
        f"{names.get(field.name, field.name)} {_shown(theirs)} in the graph, {_shown(ours)} in the pipeline"
        for field in fields(Settings)
        if (theirs := getattr(graph, field.name)) is not None and theirs != (ours := getattr(pipeline, field.name))
    ]


def _number(graph: Graph, tensor: str) -> np.ndarray | None:
    """The value of a constant, or of the one constant that something else is cut to (its Minimum)."""
    if constant := graph.constant(tensor):
        return graph.value(constant)
    node = graph.nodes[tensor.partition(":")[0]]
    if node.op == "Minimum":
        return next((graph.value(found) for source in node.input if (found := graph.constant(source))), None)
    return None


def _short(value: float | None) -> float | None:
    """A float32 as it was written down."""
    return None if value is None else float(np.format_float_positional(np.float32(value)))


def _shown(value) -> str:
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    return "not fixed" if value is None else f"{value:g}"
