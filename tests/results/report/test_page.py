"""The HTML page, read by a parser: what it holds, what it must never hold, and its colors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.report.run import page
from kd_lightning.results.report.run.run_report import write_report
from tests.results.report.conftest import METRICS

Results = dict[str, Any]
Write = Callable[..., Path]
HOSTILE = "<script>alert(1)</script><img src=http://x onerror=alert(2)>\"'&amp;</title></style></svg>"
FIGURE_FILES = {f"figures/{name}.{suffix}" for name in ("curves", "terms") for suffix in ("svg", "pdf")}
VOID = ("meta", "br", "img")


class Page(HTMLParser):
    """Elements with their attributes, texts by the innermost element, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[str]:
        return [text for element, text in self.texts if element == tag]


@pytest.fixture
def read(write_run: Write) -> Callable[..., Page]:
    return lambda *args, **files: Page(write_report(write_run(*args, **files)).read_text(encoding="utf-8"))


def test_the_verdict_comes_first_then_table_charts_and_evidence(results: Results, read: Callable[..., Page]) -> None:
    found = read(results, config__yaml="seed: 0", environment__json='{"torch": "2.13"}')
    assert found.open == []
    assert found.all("p")[0] == results["verdict"]
    tags = [tag for tag, _ in found.elements]
    assert tags.index("table") < tags.index("svg") < tags.index("dl")
    assert found.all("h2") == [
        "Learning curves of all stages on one axis",
        "Training loss terms of the distilled student",
        "What the verdict rests on",
        "Repeat it",
    ]
    assert found.all("td")[:3] == ["29.00", "30.00", "688,000"]  # the gap closed is blank
    assert found.all("code") == ["kd run temperature=2", "seed: 0", "torch: 2.13"]
    assert len([tag for tag, _ in found.elements if tag == "svg"]) == 4  # two charts, wide and narrow


def test_the_first_sentence_of_a_verdict_stands_alone(results: Results, read: Callable[..., Page]) -> None:
    results["verdict"] = "Better: 97.38% against 84.91%. This is one seed: seed=0,1,2 with -m shows more."
    found = read(results)
    assert found.all("p")[0] == "Better: 97.38% against 84.91%."
    assert "This is one seed: seed=0,1,2 with -m shows more." in found.all("p")


def test_ids_are_unique_and_every_name_is_found(results: Results, read: Callable[..., Page]) -> None:
    elements = read(results).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids)) == 12
    named = [(a["aria-labelledby"] or "").split() for _, a in elements if "aria-labelledby" in a]
    clipped = {(a["clip-path"] or "")[5:-1] for _, a in elements if "clip-path" in a}
    assert {name for names in named for name in names} | clipped <= set(ids)
    region = next(a for _, a in elements if a.get("role") == "region")
    assert (region["tabindex"], region["aria-label"]) == ("0", "Models of this run")
    assert {a["scope"] for tag, a in elements if tag == "th"} == {"col", "row"}


def test_hostile_text_stays_text(results: Results, read: Callable[..., Page]) -> None:
    results |= {"verdict": HOSTILE, "task": HOSTILE, "command": HOSTILE, "data_fingerprint": HOSTILE}
    results |= {"metric": HOSTILE}
    results["interval"]["method"] = results["models"]["teacher"]["store_key"] = HOSTILE
    rows = f'1,val,"{HOSTILE.replace(chr(34), chr(34) * 2)}",3\n1,train,"<script>",3\n'
    found = read(results, {"distill": rows}, config__yaml=HOSTILE, overrides__txt=HOSTILE, environment__json=HOSTILE)
    assert found.open == []
    assert {tag for tag, _ in found.elements}.isdisjoint({"script", "img", "iframe", "link"})
    assert {a["href"] for tag, a in found.elements if tag == "a"} <= FIGURE_FILES
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert found.all("p")[0] == HOSTILE
    assert found.all("text").count(f"validation {HOSTILE}") == 2


def test_a_hostile_label_stays_text(results_of_six: Results, read: Callable[..., Page]) -> None:
    models = results_of_six["models"]
    models['"><script>'] = models.pop("born_again")
    found = read(results_of_six, METRICS | {"again": "50,val,perplexity,37\n"})
    assert found.open == []
    assert {tag for tag, _ in found.elements}.isdisjoint({"script", "b"})
    assert found.all("th")[-1] == "<b>born</b> \\x1b[31magain"
    assert found.all("text").count("<b>born</b> \\x1b[31magain") == 2  # in the legend, wide and narrow


def test_earlier_records_give_the_same_page(results: Results, results_now: Results, write_run: Write) -> None:
    folder = write_run(results)
    pages = []
    for found in (results, results_now):
        (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
        write_report(folder)
        pages.append(
            {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".html", ".md", ".svg")}
        )
    assert pages[0] == pages[1]


def test_the_page_fetches_nothing(results: Results, read: Callable[..., Page]) -> None:
    found = read(results)
    assert not [a for _, a in found.elements if {"src", "srcset", "data", "action"} & a.keys()]
    assert {tag for tag, a in found.elements if "href" in a} == {"a"}  # followed by a click alone
    assert "url(" not in found.all("style")[0]
    assert "@import" not in found.all("style")[0]
    policy = next(a["content"] for tag, a in found.elements if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_missing_pieces_leave_a_page_that_says_so(results: Results, read: Callable[..., Page]) -> None:
    results["models"] = {"baseline": {"val": float("nan"), "test": None}, "pretrained": None}
    for key in ("interval", "gap_closed", "command", "verdict", "task", "teacher_unchanged"):
        del results[key]
    found = read(results, {"baseline": ""})
    assert found.all("h1") == ["Distillation report: a run"]
    assert found.all("h2") == ["What the verdict rests on", "Repeat it"]
    assert "metrics/baseline.csv holds no values." in found.all("dd")
    assert "not finite" in found.all("td")


def test_writing_twice_gives_the_same_files_and_leaves_nothing_else(results: Results, write_run: Write) -> None:
    folder = write_run(results)
    first = write_report(folder).read_bytes()
    assert write_report(folder) == folder / "report.html"
    assert (folder / "report.html").read_bytes() == first
    assert sorted(p.name for p in folder.iterdir()) == [
        "figures",
        "metrics",
        "report.html",
        "report.md",
        "results.json",
    ]
    assert not list(folder.rglob("*.part"))


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_contrast_in_both_modes(block: int) -> None:
    css = (Path(page.__file__).parents[1] / "page.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--(\w+): (#\w{6});", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[block]))
    for ground in ("paper", "panel"):
        assert all(contrast(colors[name], colors[ground]) >= 4.5 for name in ("ink", "soft", "accent"))
    assert all(contrast(colors[f"s{style}"], colors["paper"]) >= 4.5 for style in range(8))
