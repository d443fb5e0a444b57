"""The figures of evaluation.evaluate as tables for people."""

from evaluation.wider_face_lists import BY_HEIGHT, SETTINGS

COCO_MEANINGS = {
    "AP": "mean over IoU .50 to .95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "AP_small": "faces below 32 x 32 pixels",
    "AP_medium": "up to 96 x 96",
    "AP_large": "above",
    "AR": "best recall, mean over IoU .50 to .95",
    "AR_small": "",
    "AR_medium": "",
    "AR_large": "",
}
OPEN_IMAGES_MEANINGS = {
    "V2": "detections in a group are left out",
    "Challenge": "a group is to be found like a face",
}
POINT = "  score     precision  recall     F1"
FEW_IMAGES = 30


def as_text(figures: dict) -> str:
    """All tables, one below the other; lines of at most 120 characters."""
    blocks = [_head(figures)]
    if "coco" in figures:
        blocks.append(_coco(figures))
    if "wider_face" in figures:
        blocks.append(_wider_face(figures["wider_face"]))
    if "open_images" in figures:
        blocks.append(_open_images(figures["open_images"]))
    blocks += [_points(figures), _thresholds(figures), _errors(figures["errors"]), _subsets(figures)]
    blocks.append(_calibration(figures["calibration"]))
    if figures["median_ms"] is not None:
        blocks.append([f"{figures['median_ms']:.1f} ms an image from decoded image to boxes (median)"])
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def _head(figures: dict) -> list[str]:
    lines = [
        f"{figures['images']:,} images, {figures['faces']:,} faces (and {figures['not_counted']:,} not counted), "
        f"{figures['detections']:,} detections"
    ]
    if figures["images"] < FEW_IMAGES:
        lines.append(f"with fewer than {FEW_IMAGES} images the intervals are not to be relied on")
    return lines


def _coco(figures: dict) -> list[str]:
    cut = f", which leaves out {figures['cut']:,}" if figures["cut"] else ""
    lines = [f"COCO metrics, at most {figures['max_detections']} detections an image{cut}"]
    for name, value in figures["coco"].items():
        interval = _interval(figures["AP50_interval"]) if name == "AP50" else ""
        lines.append(f"  {name:<12}{_ratio(value)}   {COCO_MEANINGS[name]}{interval}")
    return lines


def _wider_face(found: dict) -> list[str]:
    if found["faces_from"] == BY_HEIGHT:
        source = "faces by height, which differs a little from the official lists (--wider-lists)"
    else:
        source = "the official lists of faces"
    lines = [f"WIDER FACE's protocol, AP at IoU .50; {source}"]
    for name, value in found["AP"].items():
        above = f", above {SETTINGS[name]} px" if found["faces_from"] == BY_HEIGHT else ""
        faces = f"{found['faces'][name]:,} faces{above}"
        lines.append(f"  {name:<12}{_ratio(value)}   {faces}{_interval(found['intervals'][name])}")
    return lines


def _open_images(found: dict) -> list[str]:
    lines = [f"Open Images' protocol, AP at IoU .50; {found['groups']:,} groups"]
    for name, value in found["AP50"].items():
        lines.append(f"  {name:<12}{_ratio(value)}   {OPEN_IMAGES_MEANINGS[name]}")
    return lines


def _points(figures: dict) -> list[str]:
    lines = ["At IoU .50, detections from this score on", POINT]
    rows = [(point, "") for point in figures["at_score"]]
    rows += [(figures["best_f1"], "best F1")] if figures["best_f1"] else []
    for point, remark in rows:
        lines.append(f"  {point['score']:.4f}    {_point(point)}   {remark}")
        intervals = point.get("intervals") or {}
        if any(intervals.values()):
            ranges = "  ".join(_range(intervals[name]) for name in ("precision", "recall", "f1"))
            lines.append(f"   95 %:   {ranges}")
    return lines


def _thresholds(figures: dict) -> list[str]:
    lines = ["For a precision on data like this, cut at", "  precision   score      and then recall    F1"]
    for point in figures["thresholds"]:
        wanted = f"  {point['wanted_precision']:<9.4g}"
        if point["score"] is None:
            lines.append(f"{wanted}   no score gives it")
        else:
            lines.append(
                f"{wanted}   {point['score']:<8.6g}   {_ratio(point['recall'])}             {_ratio(point['f1'])}"
            )
    return lines


def _errors(errors: dict) -> list[str]:
    lines = [f"What goes wrong from score {errors['score']:.4f} on"]
    for title, key in (("false alarms", "false_alarms"), ("missed faces", "missed")):
        total = sum(errors[key].values())
        lines.append(f"  {title:<24}{total:>8,}")
        for name, count in errors[key].items():
            lines.append(f"    {name:<22}{count:>8,}   {f'{count / total:4.0%}' if total else '   -'}")
    lines.append(f"  {'left out of the count':<24}{errors['left_out']:>8,}   on faces that need not be found")
    return lines


def _subsets(figures: dict) -> list[str]:
    if not figures["subsets"]:
        return []
    lines = [
        f"By kind of face; recall from score {figures['errors']['score']:.4f} on",
        "                                  faces    missed    recall    AP50",
    ]
    last = None
    for subset in figures["subsets"]:
        by = subset["by"] if subset["by"] != last else ""
        last = subset["by"]
        lines.append(
            f"  {by:<14}{subset['kind']:<14}{subset['faces']:>9,}{subset['missed']:>10,}    {_ratio(subset['recall'])}"
            f"    {_ratio(subset['AP50'])}"
        )
    return lines


def _calibration(found: dict) -> list[str]:
    if found["expected_error"] is None:
        return []
    lines = [
        f"Calibration: expected error {found['expected_error']:.4f}",
        "  scores       detections   mean score   share that are faces",
    ]
    for each in found["bins"]:
        if each["detections"]:
            mean, share = _ratio(each["mean_score"]), _ratio(each["share_true"])
            lines.append(f"  {each['from']:.1f} to {each['to']:.1f}{each['detections']:>13,}   {mean}       {share}")
    return lines


def _point(point: dict) -> str:
    return "     ".join(_ratio(point[name]) for name in ("precision", "recall", "f1"))


def _ratio(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.4f}"


def _interval(interval: list[float] | None) -> str:
    return "" if interval is None else f" (95 %: {interval[0]:.3f} to {interval[1]:.3f})"


def _range(interval: list[float] | None) -> str:
    return (
        "    -    " if interval is None else "-".join(f"{value:.2f}".removeprefix("0") for value in interval).center(9)
    )
