"""Small charts as SVG, for a page that is read on a phone, on paper, in the light and in the dark.

Colours and fonts are the page's (STYLE): a series is of class s0, s1, ... Text stays text, so that it can be read aloud
and searched, and a chart takes a few kilobytes, where matplotlib's takes fifty and knows one background. Each chart is
as wide as a phone and grows with the page.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 400  # of the chart's own units, about the pixels of a phone
COLOURS = 8  # of STYLE; a ninth series has the first one's again, with another dash
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 12, 40
_DASHES = ("", "7 3", "2 3", "9 3 2 3")

STYLE = """
:root { --s0: #0067b8; --s1: #c8510a; --s2: #007a55; --s3: #a8368f; --s4: #7a6a00; --s5: #4a4f9c; --s6: #b3203a;
  --s7: #2f7f8f }
@media screen and (prefers-color-scheme: dark) { :root { --s0: #5db4ff; --s1: #ff9b57; --s2: #3ecf9b; --s3: #f08bd8;
  --s4: #e0cd4e; --s5: #a6abff; --s6: #ff7d90; --s7: #7bd6e6 } }
.s0 { --c: var(--s0) } .s1 { --c: var(--s1) } .s2 { --c: var(--s2) } .s3 { --c: var(--s3) }
.s4 { --c: var(--s4) } .s5 { --c: var(--s5) } .s6 { --c: var(--s6) } .s7 { --c: var(--s7) }
svg.chart { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif; fill: currentColor }
svg.chart .grid { stroke: var(--line); stroke-width: 1; fill: none }
svg.chart .curve { stroke: var(--c); stroke-width: 2; fill: none; stroke-linejoin: round }
svg.chart .mark { fill: var(--c); stroke: var(--paper); stroke-width: 1 }
svg.chart .reach { stroke: var(--c); stroke-width: 2 }
svg.chart .bar { fill: var(--c); stroke: var(--paper); stroke-width: .5 }
svg.chart .faint { fill: var(--faint) }
.k0 { --c: #8a94a0 } .k1 { --c: #d9a400 } .k2 { --c: #17958b } .k3 { --c: #8456c4 }
@media screen and (prefers-color-scheme: dark) { .k0 { --c: #98a3af } .k1 { --c: #f0c23c } .k2 { --c: #3cbdb2 }
  .k3 { --c: #b08af0 } }
ul.legend { list-style: none; margin: .4em 0 .8em; padding: 0; display: flex; flex-wrap: wrap; gap: .1em 1em;
  font-size: .85em }
ul.legend li::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .35em;
  border-radius: 2px; background: var(--c); print-color-adjust: exact; -webkit-print-color-adjust: exact }
"""


@dataclass(frozen=True)
class Axis:
    """What a direction of a chart means.

    Attributes:
        label: name and unit.
        low, high: the values at its ends.
        log: distances are ratios.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def place(self, value: float) -> float:
        """In 0..1 from the low end to the high one; what is beyond is put at the end."""
        low, high, value = (math.log10(each) if self.log else each for each in (self.low, self.high, max(value, 1e-9)))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Round values to write at the axis, about five."""
        if self.log:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(tens) < 5 else (1,)
            values = [step * 10.0**ten for ten in tens for step in steps]
            return [value for value in values if self.low <= value <= self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(by for by in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (by * step) <= 5)
        count = math.floor((self.high - self.low) / step + 1e-9)
        return [self.low + i * step for i in range(count + 1)]

    @classmethod
    def around(cls, label: str, values: Sequence[float], log: bool = False) -> "Axis":
        """From the values that it has to show."""
        values = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
        if log:
            return cls(label, min(values) / 1.6, max(values) * 1.6, log=True)
        return cls(label, 0.0, max(values) * 1.05 or 1.0)


def series_class(index: int) -> str:
    """The class of a series, which says its colour."""
    return f"s{index % COLOURS}"


def part_class(index: int) -> str:
    """The class of a part of a bar, whose colours are none of the series'."""
    return f"k{index % 4}"


def legend(names: Sequence[str], class_of: Callable[[int], str] = series_class) -> str:
    """The names of the series, or of the parts of bars, with their colours, as HTML."""
    items = (f'<li class="{class_of(i)}">{escape(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def lines(
    title: str,
    x: Axis,
    y: Axis,
    curves: Sequence[Sequence[tuple[float, float]]],
    marks: Sequence[tuple[float, float] | None] = (),
    diagonal: bool = False,
) -> str:
    """A line for each series; and a dot on it where `marks` has one.

    Args:
        title: read aloud in place of the picture.
        x, y: the axes.
        curves: points (x, y) of each series, in the order in which they are connected.
        marks: a point for each series, or None.
        diagonal: draws where x and y are equal.
    """
    frame = _Frame(x, y, 300)
    parts = frame.grid()
    if diagonal:
        parts.append(f'<path class="grid" stroke-dasharray="3 3" d="{frame.path([(0, 0), (1, 1)])}"/>')
    for i, points in enumerate(curves):
        if points:
            dash = _DASHES[i // COLOURS % len(_DASHES)] if i >= COLOURS else ""
            style = f' stroke-dasharray="{dash}"' if dash else ""
            parts.append(f'<path class="curve {series_class(i)}"{style} d="{frame.path(points)}"/>')
    for i, point in enumerate(marks):
        if point is not None:
            parts.append(f'<circle class="mark {series_class(i)}" r="5" {frame.at("c", *point)}/>')
    return _svg(title, frame.height, parts)


def scatter(title: str, x: Axis, y: Axis, points: Sequence[tuple[str, float, float] | None]) -> str:
    """A dot with its name for each series."""
    frame = _Frame(x, y, 300)
    parts = frame.grid()
    taken = []  # (left, right, y) of the names so far, so that none is written over another
    for i, point in enumerate(points):
        if point is None:
            continue
        name, px, py = point[0], frame.x(point[1]), frame.y(point[2])
        name = name if len(name) <= 28 else f"{name[:27]}…"
        to_left = px > _LEFT + 0.55 * (WIDTH - _LEFT - _RIGHT)
        width = 6.2 * len(name)
        left = px - 9 - width if to_left else px + 9
        at = py + 4
        for _ in range(20):
            if not any(left < end and left + width > start and abs(at - other) < 12 for start, end, other in taken):
                break
            at += 12 if py < frame.height / 2 else -12
        taken.append((left, left + width, at))
        parts.append(f'<circle class="mark {series_class(i)}" r="6" cx="{px:.1f}" cy="{py:.1f}"/>')
        anchor = "end" if to_left else "start"
        parts.append(
            f'<text x="{px - 9 if to_left else px + 9:.1f}" y="{at:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    return _svg(title, frame.height, parts)


def ranges(
    title: str,
    x: Axis,
    rows: Sequence[tuple[str, str, Sequence[tuple[float, Sequence[float] | None] | None]]],
) -> str:
    """Rows of a dot for each series, with its interval as a line.

    Args:
        title: as above.
        x: of the values.
        rows: (name, note, values): (value, (low, high) or None) for each series, None for a series without a value.
    """
    step = 9
    heights = [22 + step * max(1, len(values)) for _, _, values in rows]
    height = _TOP + sum(heights) + _BOTTOM
    frame = _Frame(x, Axis(""), height, left=10)
    parts = frame.grid(horizontal=False)
    top = float(_TOP)
    for (name, note, values), room in zip(rows, heights, strict=True):
        parts.append(
            f'<text x="10" y="{top + 11:.1f}">{escape(name)} <tspan class="faint">{escape(note)}</tspan></text>'
        )
        for i, value in enumerate(values):
            if value is None:
                continue
            at, colour = top + 20 + step * i, series_class(i)
            if value[1] is not None:
                low, high = (frame.x(end) for end in value[1])
                parts.append(f'<path class="reach {colour}" d="M{low:.1f} {at:.1f}H{high:.1f}"/>')
            parts.append(f'<circle class="mark {colour}" r="4" cx="{frame.x(value[0]):.1f}" cy="{at:.1f}"/>')
        top += room
    return _svg(title, height, parts)


def stacked(title: str, label: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar for each row, of parts of the classes of part_class: numbers of one unit."""
    x = Axis.around(label, [sum(parts) for _, parts in rows])
    height = _TOP + 36 * len(rows) + _BOTTOM
    frame = _Frame(x, Axis(""), height, left=10)
    parts = frame.grid(horizontal=False)
    for row, (name, values) in enumerate(rows):
        top, sum_so_far = _TOP + 36 * row, 0.0
        parts.append(f'<text x="10" y="{top + 11}">{escape(name)} <tspan class="faint">{sum(values):,g}</tspan></text>')
        for i, value in enumerate(values):
            left, right = frame.x(sum_so_far), frame.x(sum_so_far + value)
            sum_so_far += value
            if value:
                parts.append(
                    f'<rect class="bar {part_class(i)}" x="{left:.1f}" y="{top + 16}" width="{right - left:.1f}" '
                    f'height="14"/>'
                )
    return _svg(title, height, parts)


def thinned(xs: Sequence[float], ys: Sequence[float], most: int = 300) -> list[tuple[float, float]]:
    """Of a long curve the points that can be told apart in a chart: `most` of them at most, the ends included."""
    count = len(xs)
    if count <= most:
        chosen = range(count)
    else:
        # Where the curve turns there are more points: as many for each stretch of its length.
        length, lengths = 0.0, [0.0]
        for i in range(1, count):
            length += abs(xs[i] - xs[i - 1]) + abs(ys[i] - ys[i - 1])
            lengths.append(length)
        chosen, wanted = [0], length / (most - 2) if length else 1.0
        for i in range(1, count - 1):
            if lengths[i] - lengths[chosen[-1]] >= wanted:
                chosen.append(i)
        chosen.append(count - 1)
    return [(float(xs[i]), float(ys[i])) for i in chosen]


def number(value: float) -> str:
    """A tick: 0.2, 50, 2,000."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


class _Frame:
    """The area between the axes."""

    def __init__(self, x: Axis, y: Axis, height: int, left: int = _LEFT):
        self.axes, self.height, self.left = (x, y), height, left

    def x(self, value: float) -> float:
        return self.left + self.axes[0].place(value) * (WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - self.axes[1].place(value) * (self.height - _TOP - _BOTTOM)

    def at(self, prefix: str, x: float, y: float) -> str:
        return f'{prefix}x="{self.x(x):.1f}" {prefix}y="{self.y(y):.1f}"'

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)

    def grid(self, horizontal: bool = True) -> list[str]:
        (x, y), bottom = self.axes, self.height - _BOTTOM
        parts = []
        for value in x.ticks():
            at = self.x(value)
            parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{number(value)}</text>')
        for value in y.ticks() if horizontal else ():
            at = self.y(value)
            parts.append(f'<path class="grid" d="M{self.left} {at:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{self.left - 5}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>')
        middle = (self.left + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle">{escape(x.label)}</text>')
        if horizontal:
            centre = (_TOP + bottom) / 2
            parts.append(
                f'<text x="11" y="{centre}" text-anchor="middle" transform="rotate(-90 11 {centre})">'
                f"{escape(y.label)}</text>"
            )
        return parts


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
