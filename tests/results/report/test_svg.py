"""Where the ink lies, in pixels computed by hand.

A view box of 268 x 200 leaves a plot of 200 x 100: 50 left, 18 right, 46 below, and 54 above (one row of legend).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kd_lightning.results.report.charts.chart import Chart, Point, Series
from kd_lightning.results.report.charts.svg import draw_chart


def drawing(*series: Series, boundary: int | None = None, title: str = "t") -> ET.Element:
    chart = Chart(title, "steps", "loss", series, boundary=boundary)
    return ET.fromstring(draw_chart(chart, "c", "wide", 268, 200))


def line(*points: Point, chosen: Point | None = None) -> Series:
    return Series("a", 1, points, chosen)


def places(svg: ET.Element, path: str) -> list[str]:
    return [element.attrib["points"] for element in svg.findall(path)]


def test_linear_points() -> None:
    # y axis 10 to 20, x axis 0 to 100: the middle of the data is the middle of the plot.
    svg = drawing(line((0, 10.0), (50, 15.0), (100, 20.0)))
    assert places(svg, "polyline") == ["50,154 150,104 250,54"]
    dots = [dot.attrib["transform"] for dot in svg.findall("path[@class='dot s1']")]
    assert dots[1:] == ["translate(50 154)", "translate(150 104)", "translate(250 54)"]  # the first is the legend's


def test_log_points() -> None:
    # 1 to 100 with 5% room: low = 1/1.05, high = 105; 10 is the geometric middle; 1 is ln(1.05)/ln(110.25) = 1.0% up.
    svg = drawing(line((0, 1.0), (50, 10.0), (100, 100.0)))
    assert places(svg, "polyline") == ["50,153 150,104 250,55"]
    assert svg.findall("text")[0].text == "loss, log scale"


def test_ticks_lie_on_their_values() -> None:
    svg = drawing(line((0, 10.0), (100, 20.0)))
    labels = {text.text: (text.attrib["x"], text.attrib["y"]) for text in svg.findall("text")}
    assert labels["10"] == ("43", "158.5")  # the baseline of the letters is 4.5 px below the value
    assert labels["20"] == ("43", "58.5")
    assert labels["0"] == ("50", "174")
    assert labels["50"] == ("150", "174")
    assert labels["100"] == ("250", "174")
    grid = [path.attrib["d"] for path in svg.findall("path[@class='grid']")]
    assert grid == [f"M50 {y}H250" for y in (154, 134, 114, 94, 74, 54)]


def test_the_ring_is_on_the_chosen_point() -> None:
    svg = drawing(line((0, 10.0), (50, 15.0), (100, 20.0), chosen=(50, 15.0)))
    legend, ring = svg.findall("circle")
    assert (ring.attrib["cx"], ring.attrib["cy"]) == ("150", "104")
    assert ring.findtext("title") == "a, chosen on validation: step 50, 15.00"
    assert legend.attrib["cy"] == "34"


def test_the_boundary_takes_a_row_above_the_plot() -> None:
    svg = drawing(line((0, 10.0), (100, 20.0)), boundary=25)
    assert svg.find("path[@class='boundary']").attrib["d"] == "M100 71V154"  # type: ignore[union-attr]
    assert places(svg, "polyline") == ["50,154 250,74"]


def test_a_single_point_is_a_dot_without_a_line() -> None:
    svg = drawing(line((5, 40.0)))
    assert places(svg, "polyline") == []
    assert svg.findall("path[@class='dot s1']")[1].attrib["transform"] == "translate(250 104)"


def test_long_lines_have_no_dots() -> None:
    svg = drawing(line(*((step, float(step % 7)) for step in range(100))))
    assert len(svg.findall("path[@class='dot s1']")) == 1
    assert len(places(svg, "polyline")[0].split()) == 100


def test_the_legend_names_each_label_once_and_wraps() -> None:
    svg = drawing(line((0, 1.0)), line((1, 2.0)), Series("a rather long name of a loss", 2, ((0, 1.0),)))
    labels = [(text.text, text.attrib["y"]) for text in svg.findall("text")]
    assert labels[1:3] == [("a", "38.5"), ("a rather long name of a loss", "58.5")]


def test_title_and_description_are_announced() -> None:
    svg = drawing(line((0, 1.0)), title="a < b & c")
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"] == "c-title c-desc"
    assert svg.findtext("title[@id='c-title']") == "a < b & c"
    assert svg.findtext("desc[@id='c-desc']", "").startswith("Line chart of loss against steps.")


@pytest.mark.parametrize("style", range(8))
def test_every_style_has_a_shape(style: int) -> None:
    svg = ET.fromstring(draw_chart(Chart("t", "x", "y", (Series("a", style, ((0, 1.0),)),)), "c", "narrow", 340, 300))
    assert len(svg.findall(f"path[@class='dot s{style}']")) == 2
