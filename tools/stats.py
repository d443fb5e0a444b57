"""python -m tools.stats --records PATH [--pipeline NAME | --input-size N] [--json]

What is in a data set, and which of its faces the anchors of a pipeline can match:

    python -m tools.stats --records data/records/sample/train --pipeline ssdlite_mobilenet_v2_320_face

Counts of images, faces, classes and flags, their sizes and shapes; with --pipeline also anchor recall: the share of
faces with an anchor that overlaps them by at least the matched_threshold of the config, an IoU. A face without one
teaches the model little or nothing. It is an upper bound: in training two faces can want the same anchor, and only one
gets it. Boxes are cut to their image first, as records have them. Faces are the boxes of all classes that are not to be
ignored. Their size is the square root of their area in pixels of the model's input. No image is decoded.

Where the input's size differs from image to image, as with keep_aspect_ratio_resizer without padding, each face is
compared with the anchors of its own input; the table of layers is for the size that most faces are in.
"""

import argparse
import json
import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from tools import anchors, data_set, input_size, pipeline_config
from tools.annotations import AnnotatedImage
from tools.boxes import clip_boxes
from tools.input_size import Size
from tools.pipeline_config import Pipeline
from tools.report import Report

EDGES = (0, 4, 8, 12, 16, 24, 32, 64, 128, 256, math.inf)  # pixels, of the bins of face sizes
PERCENTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}
DEFAULT_IOU = 0.5  # where the matcher has no threshold
LOW_RECALL, WORTH_A_HINT = 0.5, 0.01  # a bin gets a hint below this recall, from this share of the faces on
_BLOCK = 1 << 17  # faces at a time


@dataclass(eq=False)
class Faces:
    """What is kept of the images: 48 bytes for each face, 16 for each image.

    Attributes:
        images: [width, height, faces, ignored boxes] of each, flat.
        sizes: [width, height] of each face in pixels of its image, flat.
        at_input: for each size of the model's input (None where there is no model) its faces, xyxy in pixels, flat.
        classes: boxes of each class, those to be ignored included.
        flags: the same for each value of each flag.
    """

    images: array = field(default_factory=lambda: array("I"))
    sizes: array = field(default_factory=lambda: array("d"))
    at_input: dict[Size | None, array] = field(default_factory=dict)
    classes: Counter = field(default_factory=Counter)
    flags: dict[str, Counter] = field(default_factory=dict)

    def add(self, image: AnnotatedImage, resizer: Message | None, *, by_input: bool) -> None:
        """Takes an image whose boxes are cut to it. by_input: keep the faces of different input sizes apart."""
        counted = image.xyxy[~image.ignore]
        self.images.extend((image.width, image.height, len(counted), len(image) - len(counted)))
        self.sizes.frombytes((counted[:, 2:] - counted[:, :2]).tobytes())
        self.classes.update(image.classes)
        for name, values in image.flags.items():
            self.flags.setdefault(name, Counter()).update(values.tolist())
        key = None
        if resizer is not None:
            (width, height), whole = input_size.resized(resizer, image.width, image.height)
            counted = counted * ([width / image.width, height / image.height] * 2)
            key = whole if by_input else None
        if len(counted):
            self.at_input.setdefault(key, array("d")).frombytes(counted.tobytes())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.stats", description="What is in a data set, and can a pipeline's anchors match it?"
    )
    data_set.add_options(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--pipeline", metavar="NAME", help="a config in pipelines/, or the path of a pipeline.config")
    group.add_argument(
        "--input-size", type=_side, metavar="N", help="sizes of faces in images scaled to N pixels on the long side"
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    options = parser.parse_args(arguments)

    pipeline = pipeline_config.read(options.pipeline) if options.pipeline else None
    resizer = pipeline.image_resizer if pipeline else None
    if options.input_size:
        resizer = input_size.letterbox(options.input_size)
    if pipeline:
        anchors.build(pipeline, 320, 320)  # what is wrong with the config comes before the images are read
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    stream, faces = data_set.load(options, report), Faces()
    for image in tqdm(stream, total=len(stream), unit="image", disable=None):
        faces.add(clip_boxes(image, report), resizer, by_input=pipeline is not None)
    if not faces.images:
        raise UserError("there is not one good image to look at")
    found = figures(faces, report, resizer, pipeline)
    print(json.dumps(found) if options.json else as_text(found))
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def figures(faces: Faces, report: Report, resizer: Message | None, pipeline: Pipeline | None) -> dict:
    """All that is reported, as for JSON. Shares and IoU are fractions; what has no value is None."""
    images = np.frombuffer(faces.images, np.uint32).reshape(-1, 4)
    sizes = np.frombuffer(faces.sizes).reshape(-1, 2)
    inputs = {key: np.frombuffer(boxes).reshape(-1, 4) for key, boxes in faces.at_input.items()}
    at_input = np.concatenate([np.zeros((0, 2)), *(boxes[:, 2:] - boxes[:, :2] for boxes in inputs.values())])
    size = np.sqrt(at_input.prod(axis=1))
    without, ignored = images[:, 2] == 0, images[:, 3]
    distributions = {
        "faces_per_image": distribution(images[:, 2]),
        "image_width": distribution(images[:, 0]),
        "image_height": distribution(images[:, 1]),
        "aspect_ratio": distribution(sizes[:, 0] / sizes[:, 1]),
        "size": distribution(size),
    }
    if resizer is not None:
        distributions["aspect_ratio_at_input"] = distribution(at_input[:, 0] / at_input[:, 1])
    found = {
        "images": len(images),
        "images_without_faces": int(without.sum()),
        "images_with_ignored_boxes_only": int((without & (ignored > 0)).sum()),
        "boxes": len(sizes) + int(ignored.sum()),
        "faces": len(sizes),
        "ignored": int(ignored.sum()),
        "clipped": report.clipped,
        "dropped": dict(sorted(report.dropped.items())),
        "images_left_out": dict(sorted(report.skipped.items())),
        "problems": report.problems,
        "classes": dict(faces.classes.most_common()),
        "flags": {
            name: {str(value): values[value] for value in sorted(values)} for name, values in faces.flags.items()
        },
        "resizer": None if resizer is None else _in_one_line(resizer),
        "distributions": distributions,
        "sizes": size_bins(size),
        "anchors": None,
    }
    if pipeline:
        found["anchors"] = anchor_figures(pipeline, inputs, size, found["sizes"])
    return found


def distribution(values: np.ndarray) -> dict[str, float] | None:
    """PERCENTILES of some numbers, and their mean; None of no numbers."""
    if not len(values):
        return None
    found = np.percentile(values, list(PERCENTILES.values())).tolist()
    return {**dict(zip(PERCENTILES, found, strict=True)), "mean": float(np.mean(values))}


def size_bins(size: np.ndarray) -> list[dict]:
    """How many faces of sizes (N,) are in each bin of EDGES, the lower edge included, and the share below its upper."""
    numbers = np.histogram(size, EDGES)[0]
    total = max(1, len(size))
    return [
        {
            "from": low,
            "to": None if high == math.inf else high,
            "faces": int(number),
            "share": number / total,
            "share_below": below / total,
        }
        for low, high, number, below in zip(EDGES, EDGES[1:], numbers, numbers.cumsum(), strict=False)
    ]


def anchor_figures(
    pipeline: Pipeline, inputs: Mapping[Size, np.ndarray], size: np.ndarray, bins: Sequence[dict]
) -> dict | None:
    """Anchor recall, overall and by bin (added to `bins`), and what each layer and shape is used for.

    Args:
        inputs: the faces by input size, (n, 4) xyxy in pixels.
        size: (N,) of all faces, in the order of `inputs`.
    """
    if not inputs:
        return None
    iou = pipeline.matched_threshold
    threshold = DEFAULT_IOU if iou is None else iou
    fixed = input_size.is_fixed(pipeline.image_resizer)
    layers = {each: anchors.build(pipeline, *each, fixed=fixed) for each in inputs}
    blocks = [
        anchors.match(layers[each], boxes[at : at + _BLOCK], each, pipeline.outside, threshold)
        for each, boxes in inputs.items()
        for at in range(0, len(boxes), _BLOCK)
    ]
    best, centred = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("best", "centred"))
    counts = {each: anchors.count(grids, each, pipeline.outside) for each, grids in layers.items()}
    totals = [int(sum(map(np.sum, count))) for count in counts.values()]
    for each in bins:
        inside = (size >= each["from"]) & (size < (each["to"] or math.inf))
        each |= _recall(best[inside], centred[inside], threshold)
    commonest = max(inputs, key=lambda each: len(inputs[each]))
    found = {
        "pipeline": str(pipeline.path),
        "architecture": pipeline.architecture,
        "matched_threshold": iou,
        "iou": threshold,
        "force_match_for_each_row": pipeline.force_match,
        "outside": pipeline.outside,
        "input_sizes": len(inputs),
        "commonest_input_size": commonest,
        "anchors": sum(map(int, map(np.sum, counts[commonest]))),
        "fewest_anchors": min(totals),
        "most_anchors": max(totals),
        **_recall(best, centred, threshold),
        "layers": _layers(layers[commonest], counts, commonest, blocks),
    }
    shapes = [shape for layer in found["layers"] for shape in layer["shapes"]]
    smallest = min(shapes, key=lambda shape: shape["size"])
    found["smallest_anchor"] = {
        **{name: smallest[name] for name in ("size", "width", "height")},
        "share_below_half": float(np.mean(size < smallest["size"] / 2)),
        # IoU is at most the smaller area by the larger one.
        "unreachable_below": smallest["size"] * math.sqrt(threshold),
        "share_unreachable": float(np.mean(size < smallest["size"] * math.sqrt(threshold))),
    }
    return found


def _recall(best: np.ndarray, centred: np.ndarray, threshold: float) -> dict[str, float | None]:
    if not len(best):
        return {"recall": None, "centred_recall": None, "mean_iou": None}
    return {
        "recall": float(np.mean(best >= threshold)),
        "centred_recall": float(np.mean(centred >= threshold)),
        "mean_iou": float(best.mean()),
    }


def _layers(
    grids: Sequence[anchors.Grid],
    counts: Mapping[Size, Sequence[np.ndarray]],
    commonest: Size,
    blocks: Iterable[anchors.Matches],
) -> list[dict]:
    """Each layer and its shapes at the commonest input size, and for how many faces they are good."""
    best_for, reached, in_layer = (
        np.sum([getattr(block, name) for block in blocks], axis=0) for name in ("best_for", "reached", "layer_reached")
    )
    found, at = [], 0
    for layer, grid in enumerate(grids):
        shapes = []
        for index, (height, width) in enumerate(grid.shapes.tolist()):
            shapes.append(
                {
                    "size": math.sqrt(width * height),
                    "aspect_ratio": width / height,
                    "width": width,
                    "height": height,
                    "anchors": int(counts[commonest][layer][index]),
                    "fits": any(count[layer][index] for count in counts.values()),
                    "best_for": int(best_for[at]),
                    "reached": int(reached[at]),
                }
            )
            at += 1
        found.append(
            {
                "rows": grid.rows,
                "columns": grid.columns,
                "stride_y": grid.stride[0],
                "stride_x": grid.stride[1],
                "anchors": sum(shape["anchors"] for shape in shapes),
                "best_for": sum(shape["best_for"] for shape in shapes),
                "reached": int(in_layer[layer]),
                "shapes": shapes,
            }
        )
    return found


def as_text(found: dict) -> str:
    """The figures as tables for a terminal."""
    parts = [_counts(found), _labels(found), _distributions(found), _sizes(found)]
    if found["anchors"]:
        parts += [_anchors(found["anchors"]), *hints(found)]
    return "\n\n".join(part for part in parts if part)


def _counts(found: dict) -> str:
    rows = [
        ("images", found["images"], ""),
        (
            "  without faces",
            found["images_without_faces"],
            f"{found['images_with_ignored_boxes_only']:,} of them with boxes to ignore",
        ),
        *(("  left out", number, reason) for reason, number in found["images_left_out"].items()),
        ("boxes", found["boxes"], ""),
        ("  faces", found["faces"], ""),
        ("  to ignore", found["ignored"], "in classes and flags below, not in the rest"),
        ("  cut to the image", found["clipped"], ""),
        *(("  dropped", number, reason) for reason, number in found["dropped"].items()),
        ("problems", found["problems"], "listed above" if found["problems"] else ""),
    ]
    return _table([(name, f"{number:,}", note) for name, number, note in rows], left=(0, 2))


def _labels(found: dict) -> str:
    """The classes and flags of all boxes."""

    def row(name: str, value: str, number: int) -> tuple[str, ...]:
        return name, value, f"{number:,}", f"{number / found['boxes']:.1%}"

    rows = [("class", "", "boxes", "share"), *(row(name, "", number) for name, number in found["classes"].items())]
    if found["flags"]:
        rows.append(("flag", "value", "", ""))
    rows += [row(name, *each) for name, values in found["flags"].items() for each in values.items()]
    return _table(rows)


def _distributions(found: dict) -> str:
    where = "input" if found["resizer"] else "image"
    names = {
        "image_width": ("image width, px", 0),
        "image_height": ("image height, px", 0),
        "faces_per_image": ("faces an image", 1),
        "aspect_ratio": ("face width / height", 2),
        "aspect_ratio_at_input": ("  the same at the input", 2),
        "size": (f"face size at the {where}, px", 1),
    }
    rows = [("", *PERCENTILES, "mean")]
    for key, (name, digits) in names.items():
        if values := found["distributions"].get(key):
            rows.append((name, *(f"{value:,.{digits}f}" for value in values.values())))
    return _table(rows)


def _sizes(found: dict) -> str:
    with_anchors = found["anchors"] is not None
    rows = [("size, px", "faces", "share", "cumulative")]
    if with_anchors:
        rows[0] += ("recall", "centred", "mean IoU")
    for each in found["sizes"]:
        row = (_range(each), f"{each['faces']:,}", f"{each['share']:.1%}", f"{each['share_below']:.1%}")
        rows.append(row + (_ratios(each) if with_anchors else ()))
    if with_anchors:
        rows.append(("all", f"{found['faces']:,}", "100.0%", "", *_ratios(found["anchors"])))
    notes = [f"Face size: square root of the area in pixels of the {'input:' if found['resizer'] else 'image.'}"]
    if found["resizer"]:
        notes.append(found["resizer"])
    if with_anchors:
        iou = found["anchors"]["iou"]
        notes.append(
            f"recall: share of faces with an anchor of IoU >= {iou:.2f}; centred: the same, were there anchors"
        )
        notes.append("of all shapes on every face's centre; mean IoU: with the best anchor.")
    return "\n".join([*notes, "", _table(rows)])


def _anchors(found: dict) -> str:
    rows = [("layer", "cells", "stride", "anchors", "best for", f"IoU >= {found['iou']:.2f}", "sizes, px", "w/h")]
    for number, layer in enumerate(found["layers"], 1):
        sizes = dict.fromkeys(f"{shape['size']:.0f}" for shape in layer["shapes"])
        ratios = dict.fromkeys(f"{shape['aspect_ratio']:.2g}" for shape in layer["shapes"])
        stride = dict.fromkeys(f"{layer[name]:g}" for name in ("stride_x", "stride_y"))
        rows.append(
            (
                str(number),
                f"{layer['columns']} x {layer['rows']}",
                " x ".join(stride),
                f"{layer['anchors']:,}",
                f"{layer['best_for']:,}",
                f"{layer['reached']:,}",
                " ".join(sizes),
                " ".join(ratios),
            )
        )
    width, height = found["commonest_input_size"]
    notes = [f"{found['anchors']:,} anchors in an input of {width} x {height} px ({Path(found['pipeline']).name})."]
    if found["input_sizes"] > 1:
        fewest, most = found["fewest_anchors"], found["most_anchors"]
        notes.append(
            f"Most faces are in this one of {found['input_sizes']:,} sizes with {fewest:,} to {most:,} anchors."
        )
    if found["outside"] != "keep":
        notes.append(
            "Anchors that cross the edge of the input are left out, as in training."
            if found["outside"] == "drop"
            else "Anchors are clipped to the input, as in training."
        )
    notes.append("best for: number of faces whose best anchor is in this layer.")
    return "\n".join([*notes, "", _table(rows, left=(6, 7)), "", _matching(found)])


def _matching(found: dict) -> str:
    """What training does with faces below the threshold, and which shapes no face needs."""
    lines = []
    if found["matched_threshold"] is None:
        lines.append(f"The matcher has no threshold; IoU {found['iou']:.2f} is taken here.")
    if found["force_match_for_each_row"]:
        lines.append(
            "The matcher also gives each face its best anchor, whatever their IoU (force_match_for_each_row),\n"
            "unless that is the best anchor of another face in the image, too."
        )
    else:
        lines.append("A face without recall is background to the model (force_match_for_each_row is not set).")
    unused = []
    for number, layer in enumerate(found["layers"], 1):
        shapes = [shape for shape in layer["shapes"] if not shape["best_for"] and not shape["reached"]]
        if shapes:
            each = ", ".join(
                f"{shape['size']:.0f} px w/h {shape['aspect_ratio']:.2g}{'' if shape['fits'] else ' (none fits in)'}"
                for shape in shapes
            )
            unused.append(f"  layer {number}: {'all: ' if len(shapes) == len(layer['shapes']) else ''}{each}")
    if unused:
        lines += ["Never used, as they are the best for no face and reach that IoU with none:", *unused]
    else:
        lines.append("Every shape is used.")
    return "\n".join(lines)


def hints(found: dict) -> list[str]:
    """Why bins of sizes with many faces have a low recall, a paragraph for each reason."""
    iou, smallest = found["anchors"]["iou"], found["anchors"]["smallest_anchor"]
    low = [each for each in found["sizes"] if each["share"] >= WORTH_A_HINT and each["recall"] < LOW_RECALL]
    tiny = [each for each in low if each["to"] is not None and each["from"] < smallest["unreachable_below"]]
    rest = [each for each in low if each not in tiny]
    # Whether more faces are lost to the distance of the centres or to the shapes.
    coarse = [each for each in rest if each["centred_recall"] - each["recall"] > 1 - each["centred_recall"]]
    shapes = [each for each in rest if each not in coarse]
    paragraphs = []
    if tiny:
        paragraphs.append(
            f"Too small: faces of {_ranges(tiny)} px. The smallest anchor has {smallest['size']:.1f} px "
            f"({smallest['width']:.1f} x {smallest['height']:.1f}).\n"
            f"{smallest['share_below_half']:.1%} of the faces are below half its size, "
            f"{smallest['share_unreachable']:.1%} below {smallest['unreachable_below']:.1f} px, "
            f"where no anchor can reach IoU {iou:.2f}.\n"
            "A larger input makes the faces larger; smaller anchors need a layer with a smaller stride."
        )
    if coarse:
        paragraphs.append(
            f"Cells too far apart: faces of {_ranges(coarse)} px. There are anchors of such shapes, but not\n"
            "near enough to the faces: these sizes belong on a layer with a smaller stride."
        )
    if shapes:
        paragraphs.append(
            f"No anchors of such shapes: faces of {_ranges(shapes)} px. Look at the sizes and w/h of the anchors above."
        )
    return paragraphs


def _range(each: dict) -> str:
    return f"{each['from']}-{each['to']}" if each["to"] else f"{each['from']}+"


def _ranges(bins: Sequence[dict]) -> str:
    return ", ".join(map(_range, bins))


def _ratios(each: dict) -> tuple[str, ...]:
    values = (each[name] for name in ("recall", "centred_recall", "mean_iou"))
    return tuple("-" if value is None else f"{value:.3f}" for value in values)


def _table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Rows in columns, aligned to the right but for those of `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _in_one_line(resizer: Message) -> str:
    name = pipeline_config.field_name(resizer)
    return f"{name} {{ {text_format.MessageToString(resizer, as_one_line=True)} }}".replace("{  }", "{}")


def _side(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels from 1 to 65535")
    return value


if __name__ == "__main__":
    run_command(main)
