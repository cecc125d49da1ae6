"""Figures in files of their own: every style written out, nothing left that needs the page, PDFs that are the same bytes."""

from __future__ import annotations

import importlib.metadata
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kd_lightning.errors import CheckpointWriteError, KDError
from kd_lightning.results.report.figures import NO_PDF, Figure, can_write_pdf, draw_pdf, write_figures
from kd_lightning.results.report.standalone import chart_rules, light_colors, line_entry, standalone_svg
from kd_lightning.results.report.sweep.report import write_sweep_report
from tests.results.report.sweep_sample import write_grid, write_students

SVG = "{http://www.w3.org/2000/svg}"
needs_fpdf = pytest.mark.skipif(not can_write_pdf(), reason="fpdf2 is not installed")
PAGE_SVG = (
    '<svg class="chart wide" viewBox="0 0 200 100" role="img" aria-labelledby="a b"><title id="a">T</title>'
    '<desc id="b">D</desc><polyline class="line job s1 chosen" data-jobs="1" points="1,2 3,4"><title>hint</title>'
    '</polyline><text class="halo end" x="5" y="5">k &lt; 3</text></svg>'
)


def test_styles_are_written_out_and_the_page_is_not_needed() -> None:
    root = ET.fromstring(standalone_svg(PAGE_SVG))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    # .line.chosen comes after .line.job and .line.s1, as in a browser.
    assert (line.get("stroke"), line.get("stroke-width"), line.get("stroke-dasharray")) == ("#c44e00", "3.6", "none")
    assert line.get("fill") == "none"
    names = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in names if name in ("class", "role", "style") or name.startswith(("data-", "aria-"))}
    paper = root.find(f"{SVG}rect")
    assert paper is not None
    assert (paper.get("fill"), paper.get("width")) == ("#ffffff", root.get("width"))


def test_an_outline_is_a_text_below_the_letters() -> None:
    outline, letters = ET.fromstring(standalone_svg(PAGE_SVG)).findall(f"{SVG}text")
    assert (outline.get("stroke"), outline.get("fill"), outline.text) == ("#ffffff", "#ffffff", "k < 3")
    assert (letters.get("stroke"), letters.get("fill"), letters.text) == (None, "#1a1d21", "k < 3")


def test_the_legend_lies_below_the_chart_and_wraps() -> None:
    plain = ET.fromstring(standalone_svg(PAGE_SVG))
    entries = [line_entry("line s1", "a name of some length"), line_entry("line s2", "another one")]
    root = ET.fromstring(standalone_svg(PAGE_SVG, entries))
    assert float(root.get("height", "")) == float(plain.get("height", "")) + 2 * 20 + 8
    marks = list(root.iter(f"{SVG}path"))
    assert [mark.get("stroke") for mark in marks] == ["#c44e00", "#00795a"]


def test_every_rule_of_the_charts_resolves() -> None:
    colors = light_colors()
    used = {
        name
        for rule in chart_rules()
        for value in rule.declarations.values()
        for name in re.findall(r"--[\w-]+", value)
    }
    assert used - {"--color", "--on-color"} <= set(colors)
    assert len(chart_rules()) > 60


@pytest.mark.parametrize("write", [write_grid, write_students])
def test_a_page_has_its_figures_beside_it(tmp_path: Path, write: object) -> None:
    write(tmp_path)  # type: ignore[operator]
    page = write_sweep_report([tmp_path], tmp_path).read_text(encoding="utf-8")
    linked = set(re.findall(r'href="figures/([^"]+)"', page))
    assert linked == {path.name for path in (tmp_path / "figures").iterdir()}
    expected = {"gains", "heat", "curves", "parallel"} | ({"tradeoff0"} if write is write_students else set())
    assert {Path(name).stem for name in linked} == expected
    for path in (tmp_path / "figures").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        root = ET.fromstring(text)
        assert "var(" not in text
        assert not root.findall(f".//{SVG}text[@class]")
        assert {element.get("fill") for element in root.iter(f"{SVG}text")} <= {*light_colors().values(), "#14171b"}


@needs_fpdf
def test_a_pdf_is_one_page_with_text_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    svg = standalone_svg(PAGE_SVG.replace("k &lt; 3", "− ★ 5 ± 1 … 漢"))  # noqa: RUF001
    first = draw_pdf(svg)
    assert first.startswith(b"%PDF")
    assert first.count(b"/Type /Page\n") == 1
    assert draw_pdf(svg) == first
    figure = Figure("x", PAGE_SVG)
    write_figures([figure], tmp_path)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["x.pdf", "x.svg"]


def test_without_fpdf2_the_page_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    page = write_sweep_report([write_grid(tmp_path)], tmp_path).read_text(encoding="utf-8")
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".svg"}
    assert "pip install &#x27;kd-lightning[figures]&#x27;" in page or NO_PDF in page
    assert ".pdf" not in page


def test_control_characters_in_names_do_no_harm() -> None:
    root = ET.fromstring(standalone_svg(PAGE_SVG.replace("k &lt; 3", "a\x01b\ud800")))
    assert root.findall(f"{SVG}text")[-1].text == "ab"


def test_a_file_named_figures_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointWriteError, match=f"cannot write {tmp_path}/figures: "):
        write_figures([Figure("x", PAGE_SVG)], tmp_path)
    assert (tmp_path / "figures").read_text(encoding="utf-8") == "mine"


def test_a_figures_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    page = tmp_path / "page"
    page.mkdir()
    (page / "figures").symlink_to(elsewhere)
    with pytest.raises(KDError, match="is a link"):
        write_figures([Figure("x", PAGE_SVG)], page)
    assert not list(elsewhere.iterdir())
    (page / "figures").unlink()
    write_figures([Figure("x", PAGE_SVG)], page)  # positive control: without the link it writes
    assert (page / "figures" / "x.svg").is_file()
