"""A chart of the page as an SVG file of its own: the styles of charts.css are written into its elements.

So it looks the same in a browser, in a drawing program and in a paper, on white; classes and variables would need the page.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kd_lightning.results.report.charts.svg import LETTER_WIDTH, ROW

FONT = {"font-family": "Helvetica, Arial, sans-serif", "font-size": "13"}
PAGE_ONLY = ("pointer-events", "paint-order")
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class LegendEntry(NamedTuple):
    """What a mark means. ``kind`` are its CSS classes; ``path`` is drawn around 0, 0."""

    kind: str
    path: str
    label: str


@dataclass(frozen=True)
class Rule:
    """One selector of charts.css with its declarations."""

    tag: str
    classes: frozenset[str]
    declarations: dict[str, str]

    def matches(self, element: ET.Element) -> bool:
        return self.tag in ("", element.tag) and self.classes <= set(element.get("class", "").split())


def line_entry(kind: str, label: str) -> LegendEntry:
    """A legend entry that shows a piece of a line."""
    return LegendEntry(kind, "M-16 0h32", label)


def standalone_svg(svg: str, legend: Sequence[LegendEntry] = ()) -> str:
    """The file's text.

    Args:
        svg: The chart as the page holds it.
        legend: What the page writes below the chart; drawn at the foot of the file.
    """
    root = ET.fromstring(NOT_XML.sub("", svg))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    drawn = list(root)
    rows = add_legend(root, legend, width, height)
    height += ROW * rows + (8 if rows else 0)
    for element in list(root.iter()):
        write_style(element)
    for parent in list(root.iter()):
        split_outlines(parent)
    for element in root.iter():
        for name in [
            name for name in element.attrib if name.startswith(("data-", "aria-")) or name in ("class", "role")
        ]:
            del element.attrib[name]
    for parent in [element for element in root.iter() if element is not root]:
        for hint in parent.findall("title"):
            parent.remove(hint)
    size = {
        "viewBox": f"-8 -4 {width + 16:g} {height + 12:g}",
        "width": f"{width + 16:g}",
        "height": f"{height + 12:g}",
    }
    root.attrib = {"xmlns": "http://www.w3.org/2000/svg", **size, **FONT}
    paper = {"x": "-8", "y": "-4", "width": size["width"], "height": size["height"], "fill": "#ffffff"}
    root.insert(len([element for element in drawn if element.tag in ("title", "desc")]), ET.Element("rect", paper))
    return ET.tostring(root, encoding="unicode") + "\n"


def add_legend(root: ET.Element, legend: Sequence[LegendEntry], width: float, top: float) -> int:
    """Draw the legend below the chart; how many rows it took."""
    left, row = 0.0, 0
    for entry in legend:
        size = 56 + LETTER_WIDTH * len(entry.label)
        if left and left + size > width:
            left, row = 0.0, row + 1
        middle = top + 14 + ROW * row
        place = f"translate({left + 18:g} {middle:g})"
        group = ET.SubElement(root, "g", {"transform": place})
        ET.SubElement(group, "path", {"class": entry.kind, "d": entry.path})
        ET.SubElement(root, "text", {"x": f"{left + 42:g}", "y": f"{middle + 4.5:g}"}).text = NOT_XML.sub(
            "", entry.label
        )
        left += size
    return row + 1 if legend else 0


def write_style(element: ET.Element) -> None:
    """Presentation attributes for what charts.css says of the element."""
    own: dict[str, str] = {}
    for rule in chart_rules():
        if rule.matches(element):
            own |= rule.declarations
    for name, value in own.items():
        if not name.startswith("--") and name not in PAGE_ONLY:
            element.set(name, resolve_css_value(value, own))


def split_outlines(parent: ET.Element) -> None:
    """Outlined letters as two texts, the outline first: most programs do not know ``paint-order``."""
    for place, element in reversed(list(enumerate(parent))):
        if element.tag == "text" and "stroke" in element.attrib:
            outline = ET.Element("text", element.attrib | {"fill": element.get("stroke", "")})
            outline.text = element.text
            parent.insert(place, outline)
            for name in ("stroke", "stroke-width", "stroke-linejoin"):
                del element.attrib[name]


def resolve_css_value(value: str, own: dict[str, str]) -> str:
    """A value without variables and without ``px``."""
    while found := re.fullmatch(r"var\((--[\w-]+)\)", value):
        value = own.get(found[1]) or light_colors()[found[1]]
    return value.removesuffix("px")


@cache
def chart_rules() -> tuple[Rule, ...]:
    """The rules of charts.css in the order in which a browser applies them: the more classes, the later."""
    rules = []
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", read_css("charts.css")):
        pairs = [line.partition(":") for line in body.split(";") if line.strip()]
        declarations = {name.strip(): value.strip() for name, _, value in pairs}
        for selector in selectors.split(","):
            tag, *classes = selector.strip().split(".")
            rules.append(Rule(tag, frozenset(classes), declarations))
    return tuple(sorted(rules, key=lambda rule: (len(rule.classes), bool(rule.tag))))


@cache
def light_colors() -> dict[str, str]:
    """The variables of the light page: those of the first ``:root`` of each style sheet."""
    found: dict[str, str] = {}
    for name in ("page.css", "sweep.css"):
        first = re.search(r":root \{(.*?)\}", read_css(name), re.S)
        assert first is not None
        found |= dict(re.findall(r"(--[\w-]+): ([^;]+);", first[1]))
    return found


def read_css(name: str) -> str:
    """A style sheet beside this file, without its comments."""
    return re.sub(r"/\*.*?\*/", "", Path(__file__).with_name(name).read_text(encoding="utf-8"), flags=re.S)
