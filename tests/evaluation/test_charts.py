"""Charts are whole SVG, whatever they are given, and nothing in them lies outside."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import charts
from evaluation.charts import Axis

HOSTILE = '"><script>alert(1)</script>&\x01'
RATIOS = st.floats(0, 1)


def checked(svg: str) -> ElementTree.Element:
    """The chart as XML; coordinates that are drawn to lie within it."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for name, most in (("cx", width), ("cy", height), ("x", width), ("y", height)):
            assert 0 <= float(element.get(name, 0)) <= most
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", element.get("d", ""))]
        assert all(-0.01 <= number <= max(width, height) for number in numbers)
    return root


@given(st.lists(st.lists(st.tuples(RATIOS, RATIOS), max_size=5), max_size=10))
def test_lines(curves):
    marks = [curve[0] if curve else None for curve in curves]
    root = checked(charts.lines("title", Axis("x"), Axis("y"), curves, marks, diagonal=True))
    assert sum(element.get("class", "").startswith("curve") for element in root.iter()) == sum(map(bool, curves))


@given(st.lists(st.tuples(st.text(max_size=40), st.floats(0.001, 1e5), RATIOS), min_size=1, max_size=9))
def test_scatter(points):
    axis = Axis.around("ms", [point[1] for point in points], log=True)
    points = [(name.encode("ascii", "ignore").decode().replace("\x00", ""), x, y) for name, x, y in points]
    points = [(re.sub(r"[\x00-\x1f]", "", name), x, y) for name, x, y in points]
    svg = charts.scatter("title", axis, Axis("AP50"), points)
    assert svg.count("<circle") == len(points)
    ElementTree.fromstring(svg)


def test_ranges_and_bars():
    rows = [("small", "3 faces", [(0.2, (0.1, 0.4)), None]), ("large", "1 face", [(1.0, None), (0.0, (0.0, 0.0))])]
    root = checked(charts.ranges("title", Axis("AP50"), rows))
    assert sum(element.tag.endswith("circle") for element in root.iter()) == 3
    root = checked(charts.stacked("title", "faces", [("ours", [3, 0, 1]), ("theirs", [0, 0, 0])]))
    widths = [float(element.get("width")) for element in root.iter() if element.tag.endswith("rect")]
    assert len(widths) == 2 and widths[0] == pytest.approx(3 * widths[1], abs=0.2)


def test_texts_are_escaped():
    axis = Axis(HOSTILE)
    pages = [
        charts.lines(HOSTILE, axis, axis, [[(0, 0), (1, 1)]]),
        charts.scatter(HOSTILE, axis, axis, [(HOSTILE, 0.5, 0.5)]),
        charts.ranges(HOSTILE, axis, [(HOSTILE, HOSTILE, [(0.5, None)])]),
        charts.stacked(HOSTILE, HOSTILE, [(HOSTILE, [1])]),
        charts.legend([HOSTILE]),
    ]
    assert not any("<script" in page for page in pages)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(""), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis("", 0, 7), [0, 2, 4, 6]),
        (Axis("", 0, 0.03), [0, 0.01, 0.02, 0.03]),
        (Axis("", 3, 300, log=True), [5, 10, 20, 50, 100, 200]),
        (Axis("", 0.5, 50000, log=True), [1, 10, 100, 1000, 10000]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


@given(st.lists(st.floats(0, 1e6), max_size=4), st.booleans())
def test_an_axis_has_room_for_its_values(values, log):
    axis = Axis.around("", values, log)
    assert axis.low < axis.high and axis.ticks() is not None
    assert all(0 <= axis.place(value) <= 1 for value in values)


def test_a_long_curve_is_thinned_where_it_is_straight():
    recall = np.linspace(0, 1, 5000)
    precision = np.where(recall < 0.9, 1 - 0.1 * recall, 0.5)
    thin = charts.thinned(recall, precision, 100)
    assert len(thin) <= 101 and thin[0] == (0, 1) and thin[-1] == (1, 0.5)
    at = [min(thin, key=lambda point: abs(point[0] - r)) for r in (0.25, 0.5, 0.85)]
    assert [y for _, y in at] == pytest.approx([0.975, 0.95, 0.915], abs=0.01)
    assert charts.thinned([], []) == [] and charts.thinned([0.5], [0.5]) == [(0.5, 0.5)]
