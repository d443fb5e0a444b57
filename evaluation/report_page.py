"""The comparison as one HTML page: pictures and charts inside, no scripts, nothing loaded from elsewhere.

Whatever comes from files, options and models (names of images and detectors, settings) is escaped.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from evaluation import charts
from evaluation.charts import Axis
from evaluation.comparison import verdict
from evaluation.error_kinds import FALSE_ALARMS, MISSES
from evaluation.pictures import Picture
from evaluation.report_style import STYLE
from evaluation.report_table import COLUMNS, Cell, cells

FEW_DETECTIONS = 10  # in a bin of scores: too few to draw the share of faces among them

_BEST = ' class="best"'
_SUBSETS = {  # headings, and what the numbers of their kinds are
    "size": "by height of the face",
    "blur": "by blur",
    "occlusion": "by occlusion",
    "pose": "by pose",
    "illumination": "by illumination",
    "expression": "by expression",
    "occluded": "by whether it is occluded",
    "truncated": "by whether it is cut off",
    "depiction": "by whether it is a depiction",
    "inside": "by whether it is seen from inside",
    "difficult": "by whether it is difficult",
}


def page(
    title: str,
    figures: dict,
    different: Sequence[tuple[Picture, Picture]],
    misses: Sequence[Picture],
    false_alarms: Sequence[Picture],
) -> bytes:
    """The page, in UTF-8.

    Args:
        title: of the page.
        figures: of evaluation.comparison, with "measured": pairs of a name and a text, how they were.
        different, misses, false_alarms: the pictures of evaluation.pictures.
    """
    detectors = figures["detectors"]
    names = [each["name"] for each in detectors]
    ours = names[0]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        # Belt and braces: texts are escaped, and this page may not run or load anything.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(_about(figures))}</p>',
        f'<p class="verdict">{escape(verdict(figures))}</p>',
        "</header>",
        "<main>",
        *_section("All figures", _table(figures)),
        *_section("Accuracy", _charts([_precision_recall(detectors), _speed(detectors)], names)),
        *_section("Which faces are found", _subsets(detectors, names)),
        *_section("What goes wrong", _errors(detectors, names)),
        *_section(f"From which score on to believe {ours}", _thresholds(detectors, names)),
        *_section("Where they differ most", _different(different, figures)),
        *_section(f"The largest faces that {ours} misses", _pictures(misses, "It misses none.", "missed face")),
        *_section(
            f"The surest false alarms of {ours}",
            _pictures(false_alarms, "It has none.", "false alarm"),
        ),
        *_section("How it was measured", _measured(figures)),
        "</main>",
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts).encode("utf-8", "backslashreplace")  # file names need not be UTF-8


def _about(figures: dict) -> str:
    text = f"{figures['images']:,} images with {figures['faces']:,} faces"
    if figures["not_counted"]:
        text += f" (and {figures['not_counted']:,} boxes that are not counted)"
    if figures["images_without_faces"]:
        text += f", {figures['images_without_faces']:,} images without"
    count = len(figures["detectors"])
    return f"{text}; {count} detector{'' if count == 1 else 's'}, all on the same images"


def _section(heading: str, parts: Iterable[str]) -> list[str]:
    parts = list(parts)
    return ["<section>", f"<h2>{escape(heading)}</h2>", *parts, "</section>"] if parts else []


def _table(figures: dict) -> list[str]:
    rows = [cells(each) for each in figures["detectors"]]
    parts = []
    for group in dict.fromkeys(column.group for column in COLUMNS):
        used = [
            i
            for i, column in enumerate(COLUMNS)
            if column.group == group and any(row[i].value is not None for row in rows)
        ]
        if not used:
            continue
        head = "".join(f'<th scope="col">{escape(COLUMNS[i].name)}</th>' for i in used)
        body = []
        for number, (detector, row) in enumerate(zip(figures["detectors"], rows, strict=True)):
            name = f'<th scope="row" class="{charts.series_class(number)}">{escape(detector["name"])}</th>'
            body.append(f"<tr>{name}{''.join(_cell(i, row, rows) for i in used)}</tr>")
        table = (
            f'<table><thead><tr><th scope="col">detector</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
        )
        meanings = " ".join(f"{COLUMNS[i].name}: {COLUMNS[i].meaning}." for i in used if COLUMNS[i].meaning)
        parts += [f"<h3>{escape(group)}</h3>", _scrolling(group, table), f'<p class="note">{escape(meanings)}</p>']
    return [*parts, '<p class="note">Small: 95 % intervals over images. Shaded: the best of each column.</p>']


def _cell(column: int, row: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> str:
    values = [other[column].value for other in rows if other[column].value is not None]
    best = COLUMNS[column].best
    shaded = best and len(values) > 1 and row[column].value == best(values)
    note = f"<small>{escape(row[column].note)}</small>" if row[column].note else ""
    return f"<td{_BEST if shaded else ''}>{escape(row[column].text)}{note}</td>"


def _scrolling(label: str, table: str) -> str:
    """A table that is moved sideways by itself where the page is narrow, by keyboard too."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">{table}</div>'


def _charts(figures: Iterable[str | None], names: Sequence[str]) -> list[str]:
    figures = [each for each in figures if each]
    return [charts.legend(names), f'<div class="charts">{"".join(figures)}</div>'] if figures else []


def _figure(heading: str, chart: str, caption: str = "") -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h3>{escape(heading)}</h3>{chart}{below}</figure>"


def _precision_recall(detectors: Sequence[dict]) -> str:
    marks = []
    for each in detectors:
        at = each["in_use"]
        marks.append(None if at["precision"] is None or at["recall"] is None else (at["recall"], at["precision"]))
    said = ", ".join(f"{each['name']} AP50 {_ratio(each['coco']['AP50'])}" for each in detectors)
    chart = charts.lines(
        f"Precision against recall at IoU .50: {said}",
        Axis("recall: share of the faces that are found"),
        Axis("precision"),
        [each["curve"] for each in detectors],
        marks,
    )
    return _figure("Precision and recall", chart, "IoU .50. The dot is the score from which on each is used.")


def _speed(detectors: Sequence[dict]) -> str | None:
    times = [each["median_ms"] for each in detectors if each["median_ms"]]
    if not times:
        return None
    top = max([each["coco"]["AP50"] or 0 for each in detectors] + [0.1])
    points = [
        (each["name"], each["median_ms"], each["coco"]["AP50"] or 0) if each["median_ms"] else None
        for each in detectors
    ]
    said = ", ".join(f"{p[0]} {p[1]:.1f} ms, AP50 {p[2]:.3f}" for p in points if p)
    chart = charts.scatter(
        f"AP50 against milliseconds an image: {said}",
        Axis.around("milliseconds an image (median)", times, log=True),
        Axis("AP50", 0.0, min(1.0, 1.15 * top)),
        points,
    )
    return _figure("Speed and accuracy", chart, "Up and to the left is better.")


def _subsets(detectors: Sequence[dict], names: Sequence[str]) -> list[str]:
    found = []
    for by, heading in _SUBSETS.items():
        rows = {}  # {kind: (faces, [subset of each detector])}
        for i, each in enumerate(detectors):
            for subset in (subset for subset in each["subsets"] if subset["by"] == by):
                rows.setdefault(subset["kind"], (subset["faces"], [None] * len(detectors)))[1][i] = subset
        if rows:
            found += [_ranges(f"AP50 {heading}", "AP50", rows), _ranges(f"Recall {heading}", "recall", rows)]
            found[-1] = found[-1].removesuffix("</figure>") + _kinds_table(by, rows, names) + "</figure>"
    note = (
        "Recall of each detector from the score of its best F1 on. AP50 of a kind counts all false alarms against it, "
        "so that it is low where the kind is rare: compare detectors by AP50, and kinds by recall."
    )
    return [*_charts(found, names), f'<p class="note">{escape(note)}</p>'] if found else []


def _ranges(heading: str, figure: str, rows: dict) -> str:
    dots = [
        (kind, f"{faces:,} faces", [each and (each[figure] or 0.0, None) for each in row])
        for kind, (faces, row) in rows.items()
    ]
    return _figure(heading, charts.ranges(heading, Axis(figure), dots))


def _kinds_table(by: str, rows: dict, names: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("faces", *names))
    body = "".join(
        f'<tr><th scope="row" class="plain">{escape(kind)}</th><td>{faces:,}</td>'
        + "".join(f"<td>{_pair(each)}</td>" for each in row)
        + "</tr>"
        for kind, (faces, row) in rows.items()
    )
    table = f'<table><thead><tr><th scope="col">{escape(by)}</th>{head}</tr></thead><tbody>{body}</tbody></table>'
    label = f"AP50 and, small, recall, by {by}"
    return f"<details><summary>As a table</summary>{_scrolling(label, table)}</details>"


def _pair(subset: dict | None) -> str:
    return "-" if subset is None else f"{_ratio(subset['AP50'])}<small>{_ratio(subset['recall'])}</small>"


def _errors(detectors: Sequence[dict], names: Sequence[str]) -> list[str]:
    figures = []
    for heading, key, kinds, unit in (
        ("Missed faces", "missed", MISSES, "faces"),
        ("False alarms", "false_alarms", FALSE_ALARMS, "detections"),
    ):
        rows = [(each["name"], [each["errors"][key][kind] for kind in kinds]) for each in detectors]
        if not any(sum(values) for _, values in rows):
            continue
        said = "; ".join(
            f"{name}: " + ", ".join(f"{value} {kind}" for kind, value in zip(kinds, values, strict=True))
            for name, values in rows
        )
        figures.append(
            _figure(heading, charts.stacked(f"{heading}: {said}", unit, rows) + charts.legend(kinds, charts.part_class))
        )
    note = (
        "Each detector from the score of its best F1 on. Score too low: it is found below that score. Taken by a "
        "neighbour: the detection on it has found another face. Badly localised: a detection overlaps it, by an IoU "
        "under .50. Duplicate: another detection has found that face already."
    )
    if not figures:
        return [f"<p>{escape(', '.join(names))}: no mistake at all.</p>"]
    return [f'<div class="charts">{"".join(figures)}</div>', f'<p class="note">{escape(note)}</p>']


def _thresholds(detectors: Sequence[dict], names: Sequence[str]) -> list[str]:
    ours = detectors[0]
    rows = [row for row in ours["thresholds"] if row["score"] is not None]
    advice = []
    for row in rows:
        advice.append(
            f'<tr><th scope="row" class="plain">{row["wanted_precision"]:.2f}</th><td>{row["score"]:g}</td>'
            f"<td>{_ratio(row['precision'])}</td><td>{_ratio(row['recall'])}</td></tr>"
        )
    parts = []
    if best := ours["best_f1"]:
        text = (
            f"On these images the best F1, {best['f1']:.3f}, is from a score of {best['score']:.3f} on: precision "
            f"{_ratio(best['precision'])}, recall {_ratio(best['recall'])}. In use it is "
            f"{ours['in_use']['score']:g}: precision {_ratio(ours['in_use']['precision'])}, recall "
            f"{_ratio(ours['in_use']['recall'])}."
        )
        parts.append(f"<p>{escape(text)}</p>")
    charts_beside = []
    if advice:
        table = (
            '<table><thead><tr><th scope="col">wanted precision</th><th scope="col">score from</th>'
            f'<th scope="col">precision</th><th scope="col">recall</th></tr></thead><tbody>{"".join(advice)}</tbody>'
            "</table>"
        )
        charts_beside.append(f"<figure><h3>Scores to cut at</h3>{_scrolling('Scores to cut at', table)}</figure>")
    curves = [
        [
            (each["mean_score"], each["share_true"])
            for each in detector["calibration"]["bins"]
            if each["detections"] >= FEW_DETECTIONS
        ]
        for detector in detectors
    ]
    if any(len(curve) > 1 for curve in curves):
        said = ", ".join(
            f"{each['name']} {_ratio(each['calibration']['expected_error'])}"
            for each in detectors
            if each["calibration"]["expected_error"] is not None
        )
        chart = charts.lines(
            f"Share of faces among the detections against their score; expected calibration error: {said}",
            Axis("score"),
            Axis("share that are faces"),
            curves,
            diagonal=True,
        )
        caption = (
            "On the dotted line a score of 0.7 means that 70 % of such detections are faces; above it the score is too "
            f"modest. Bins of fewer than {FEW_DETECTIONS} detections are left out. Expected calibration error: {said}. "
            "Scores of cascades and HOG are no probabilities."
        )
        charts_beside.append(_figure("Calibration", chart, caption))
    return parts + _charts(charts_beside, names)


_KEY = (
    '<p class="key note"><span><i class="found"></i>found</span> <span><i class="missed"></i>missed face</span> '
    '<span><i class="alarm"></i>false alarm</span></p>'
)


def _different(pairs: Sequence[tuple[Picture, Picture]], figures: dict) -> list[str]:
    if figures["rival"] is None:
        return []
    if not pairs:
        return ["<p>On every image both make as many mistakes.</p>"]
    parts = [_KEY]
    for left, right in pairs:
        both = "".join(_picture(each, f"{each.name}, boxes of {each.caption}") for each in (left, right))
        parts.append(f'<div class="pair"><p class="note">{escape(left.name)}</p>{both}</div>')
    return parts


def _pictures(pictures: Sequence[Picture], none: str, what: str) -> list[str]:
    if not pictures:
        return [f"<p>{escape(none)}</p>"]
    shown = "".join(_picture(each, f"{what} in {each.name}: {each.caption}", each.name) for each in pictures)
    return [_KEY, f'<div class="pictures">{shown}</div>']


def _picture(picture: Picture, alt: str, below: str = "") -> str:
    data = base64.b64encode(picture.jpeg).decode()
    more = f"<br>{escape(below)}" if below else ""
    return (
        f'<figure><img width="{picture.width}" height="{picture.height}" alt="{escape(alt)}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{escape(picture.caption)}{more}</figcaption></figure>'
    )


def _measured(figures: dict) -> list[str]:
    rows = [*figures["measured"], *((each["name"], each["settings"]) for each in figures["detectors"])]
    for each in figures["detectors"]:
        if each["failed"]:
            rows.append(
                (f"{each['name']} failed", f"on {len(each['failed'])} images, for which it counts as finding nothing")
            )
    return [f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in rows)}</dl>"]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
