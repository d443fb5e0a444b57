"""The table of a comparison: its columns, and as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.comparison import verdict


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        group: the table that it is in, where there is no room for one.
        name: its heading.
        meaning: half a sentence; empty where the name says it.
        best: which of its values is the best one; None where none is.
    """

    group: str
    name: str
    meaning: str = ""
    best: Callable[[Sequence[float]], float] | None = None


@dataclass(frozen=True)
class Cell:
    """A value, as it is shown, and what is said in small type below it; a value of None is not known."""

    value: float | None
    text: str
    note: str = ""


ACCURACY, COST = "How well faces are found", "What that takes"
COLUMNS = (
    Column(ACCURACY, "AP50", "average precision at IoU .50", max),
    Column(ACCURACY, "AP", "mean over IoU .50 to .95", max),
    Column(ACCURACY, "easy", "WIDER FACE's protocol, and so medium and hard", max),
    Column(ACCURACY, "medium", "", max),
    Column(ACCURACY, "hard", "", max),
    Column(ACCURACY, "score from", "as it is used, with precision and recall at IoU .50 from there on"),
    Column(ACCURACY, "precision", "", max),
    Column(ACCURACY, "recall", "", max),
    Column(ACCURACY, "best F1", "at the score that turns out best on these images", max),
    Column(ACCURACY, "at score"),
    Column(COST, "median ms", "from decoded image to boxes", min),
    Column(COST, "p95 ms", "", min),
    Column(COST, "start, ms", "from starting a process to its first result", min),
    Column(COST, "peak MiB", "of that process, Python and OpenCV included", min),
    Column(COST, "model MB", "on disk", min),
)


def cells(detector: dict) -> list[Cell]:
    """The row of a detector of compare.json, a cell for each of COLUMNS."""
    use, best, coco = detector["in_use"], detector["best_f1"] or {}, detector["coco"]
    wider = detector["wider_face"] or {}
    start = detector.get("start_up") or {}
    size = detector.get("model_bytes")
    intervals = use["intervals"]
    return [
        _ratio(coco["AP50"], detector["AP50_interval"]),
        _ratio(coco["AP"]),
        *(_ratio(wider.get(name)) for name in ("easy", "medium", "hard")),
        _ratio(use["score"]),
        _ratio(use["precision"], intervals["precision"]),
        _ratio(use["recall"], intervals["recall"]),
        _ratio(best.get("f1")),
        _ratio(best.get("score")),
        _number(detector["median_ms"], "{:.1f}"),
        _number(detector["p95_ms"], "{:.1f}"),
        _number(start.get("start_ms"), "{:,.0f}"),
        _number(start.get("peak_mib"), "{:,.0f}"),
        _number(size and size / 1e6, "{:.1f}"),
    ]


def as_markdown(figures: dict) -> str:
    """The comparison as a table with aligned columns, its verdict, and how it was measured."""
    table = [cells(each) for each in figures["detectors"]]
    used = [i for i in range(len(COLUMNS)) if any(row[i].value is not None for row in table)]
    rows = [("detector", *(COLUMNS[i].name for i in used))]
    for detector, row in zip(figures["detectors"], table, strict=True):
        name = " ".join(detector["name"].replace("|", "\\|").split())
        rows.append((name, *(row[i].text + (f" ({row[i].note})" if row[i].note else "") for i in used)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])))
    lines = []
    for name, *values in rows:
        aligned = [name.ljust(widths[0]), *map(str.rjust, values, widths[1:])]
        lines.append(f"| {' | '.join(aligned)} |")
    meanings = "; ".join(f"{COLUMNS[i].name}: {COLUMNS[i].meaning}" for i in used if COLUMNS[i].meaning)
    measured = [*figures["measured"], *((each["name"], each["settings"]) for each in figures["detectors"])]
    measured += [
        (f"{each['name']} failed", f"on {len(each['failed'])} images, for which it counts as finding nothing")
        for each in figures["detectors"]
        if each["failed"]
    ]
    return "\n".join(
        [*lines, "", verdict(figures), "", f"{meanings}. In brackets: 95 % intervals over images.", ""]
        + [f"- {name}: {text}" for name, text in measured]
    )


def _ratio(value: float | None, interval: Sequence[float] | None = None) -> Cell:
    if value is None:
        return Cell(None, "-")
    return Cell(value, f"{value:.3f}", f"{interval[0]:.3f}-{interval[1]:.3f}" if interval else "")


def _number(value: float | None, form: str) -> Cell:
    return Cell(None, "-") if value is None else Cell(value, form.format(value))
