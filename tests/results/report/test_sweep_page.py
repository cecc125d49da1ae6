"""The sweep's HTML page and Markdown file, read by a parser: order, escaping, policy, size, tolerance."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lightning.results.report.run.page import read_style
from kd_lightning.results.report.sweep.report import write_sweep_report
from tests.results.report.sweep_sample import (
    COMMAND,
    results,
    write_grid,
    write_job,
    write_json,
    write_students,
    write_study,
    write_sweep,
    write_troubled,
)
from tests.results.report.test_page import HOSTILE, Page, contrast, luminance


def read(folder: Path) -> tuple[Page, str]:
    source = write_sweep_report([folder], folder).read_text(encoding="utf-8")
    return Page(source), source


def test_the_order_of_the_page(tmp_path: Path) -> None:
    page, _ = read(write_study(tmp_path))
    assert page.open == []
    assert page.all("h1") == ["Sweep report: language modeling, 30 jobs"]
    assert page.all("h2") == [
        "Gain over the student alone",
        "What the sweep shows",
        "optimizer.lr by temperature",
        "Quality against size",
        "Learning curves",
        "All parameters at once",
        "The search",
        "How it was decided",
        "Files beside this page",
        "Repeat it",
    ]
    headline = page.all("p")[0]
    assert headline.startswith("optimizer.lr=0.003981 temperature=3.4 optimizer=adam, chosen on validation from 30 ")
    assert ". " not in headline  # one sentence
    assert "30 jobs: 30 done." in page.all("p")


def test_trouble_is_on_the_page(tmp_path: Path) -> None:
    page, _ = read(write_troubled(tmp_path))
    assert page.all("p")[0].startswith("Provisional: 6 of 20 jobs are missing")
    assert "Jobs without a result" in page.all("h2")
    assert "NonFiniteLossError: the term 'kd' is NaN at step 120; lower optimizer.lr" in page.all("p")
    assert "its process is gone: killed, or the machine went down" in page.all("p")
    assert COMMAND in page.all("code")
    assert "Traceback" in page.all("summary")


def test_both_tables_have_every_row_and_its_command(tmp_path: Path) -> None:
    page, source = read(write_grid(tmp_path))
    assert source.count("<tr data-jobs=") == 18 + 6
    codes = page.all("code")
    assert "kd run temperature=2 alpha=0.9 seed=1" in codes
    assert "kd run -m temperature=2 alpha=0.9 seed=0,1,2" in codes
    heads = [attributes for tag, attributes in page.elements if tag == "th" and "aria-sort" in attributes]
    assert [a["aria-sort"] for a in heads].count("ascending") == 2


def test_jobs_link_to_their_own_reports_where_these_are(tmp_path: Path) -> None:
    write_grid(tmp_path)
    (tmp_path / "3" / "report.html").write_text("x")
    page, _ = read(tmp_path)
    links = [str(a["href"]) for tag, a in page.elements if tag == "a"]
    assert [link for link in links if link.endswith(".html")] == ["3/report.html"]
    assert all((tmp_path / link).is_file() for link in links)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    write_hostile(tmp_path)
    page, source = read(tmp_path)
    assert page.open == []
    allowed = {"script", "a"}  # our own
    assert {tag for tag, _ in page.elements}.isdisjoint({"img", "iframe", "link"} - allowed)
    assert [a for tag, a in page.elements if tag == "script"] == [{"type": "application/json", "id": "sweep-data"}, {}]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert source.count("</script>") == 2
    data = json.loads(re.findall(r'id="sweep-data">(.*?)</script>', source, re.DOTALL)[0])
    assert data["parameters"][0] == {"name": "vars.note", "levels": [HOSTILE, "b"], "level": {"0": 0, "1": 1, "2": 1}}


def write_hostile(folder: Path) -> Path:
    """A sweep whose every text is hostile."""
    write_sweep(folder, 3, command=HOSTILE)
    more = {"task": HOSTILE, "data_fingerprint": HOSTILE, "command": HOSTILE}
    write_job(folder, 0, [f"vars.note={HOSTILE}", "seed=0"], results(40.0, 0, **more))
    write_job(folder, 1, ["vars.note=b", "seed=0"], results(41.0, 0, **more))
    write_job(folder, 2, ["vars.note=b", f"seed={HOSTILE}"], state="failed", error=HOSTILE, traceback=HOSTILE)
    study = {"name": HOSTILE, "sampler": HOSTILE, "storage": HOSTILE, "dashboard": HOSTILE}
    write_json(folder / "study.json", {**study, "importances": {HOSTILE: 0.5}})
    return folder


def test_the_policy_names_script_and_style_by_hash_and_nothing_is_fetched(tmp_path: Path) -> None:
    page, source = read(write_students(tmp_path))
    policy = next(a["content"] or "" for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    script = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)[0]
    style = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)[0]
    assert "unsafe" not in policy
    for kind, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [a for _, a in page.elements if {"src", "srcset", "data", "action", "style"} & a.keys()]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|https?:", script)


def test_ids_are_unique_and_named(tmp_path: Path) -> None:
    page, _ = read(write_students(tmp_path))
    ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {name for _, a in page.elements for name in (a.get("aria-labelledby") or "").split()}
    assert named <= set(ids)
    assert len(named) == 14  # seven charts, title and description each


def test_two_hundred_jobs_stay_below_two_megabytes(tmp_path: Path) -> None:
    grid = {"temperature": (1, 2, 3, 4, 6), "alpha": (0.1, 0.3, 0.5, 0.7, 0.9), "optimizer.lr": (1e-4, 1e-2)}
    write_grid(tmp_path, {**grid, "seed": (0, 1, 2, 3)}, points=400)
    page = write_sweep_report([tmp_path], tmp_path)
    assert page.stat().st_size < 2_000_000
    source = page.read_text(encoding="utf-8")
    assert "Of 400 logged values, 160 at most are drawn for each line" in source
    assert source.count("<tr data-jobs=") == 250


def spoil_nothing(folder: Path) -> None:
    write_sweep(folder, 4, "running")


def spoil_all(folder: Path) -> None:
    write_sweep(folder, 2)
    write_job(folder, 0, ["a=1"], state="failed", error="x")
    write_job(folder, 1, ["a=2"], state="interrupted")


def spoil_json(folder: Path) -> None:
    write_grid(folder)
    for name in ("sweep.json", "0/job.json", "1/results.json"):
        (folder / name).write_text("{", encoding="utf-8")
    (folder / "study.json").write_text("[", encoding="utf-8")


def spoil_numbers(folder: Path) -> None:
    write_grid(folder)
    found = results(float("nan"), 0)
    found["models"]["baseline"]["val"] = found["models"]["teacher"]["latency"] = float("inf")
    found["models"]["distilled"]["megabytes"] = None
    write_json(folder / "0" / "results.json", found)
    write_json(folder / "1" / "results.json", results(1e300, 1, models={}))


def spoil_seeds(folder: Path) -> None:
    write_grid(folder, {"seed": (0, 1, 2)})


def spoil_one(folder: Path) -> None:
    write_grid(folder, {})


@pytest.mark.parametrize(
    ("spoil", "sections"),
    [
        (spoil_nothing, "Tables Shown Decided Files Repeat"),
        (spoil_all, "Tables Shown Lost Decided Files Repeat"),
        (spoil_json, "Tables Gains Shown Pairs Heat Costs Curves Parallel Lost Decided Files Repeat"),
        (spoil_numbers, "Tables Gains Shown Pairs Heat Costs Curves Parallel Lost Decided Files Repeat"),
        (spoil_seeds, "Tables Gains Shown Heat Costs Curves Decided Files Repeat"),
        (spoil_one, "Tables Gains Shown Heat Costs Curves Decided Files Repeat"),
    ],
)
def test_there_is_a_page_whatever_is_missing(tmp_path: Path, spoil: Callable[[Path], None], sections: str) -> None:
    spoil(tmp_path)
    page, source = read(tmp_path)
    assert page.open == []
    assert [a["id"] for tag, a in page.elements if tag == "section"] == sections.lower().split()
    data = re.findall(r'id="sweep-data">(.*?)</script>', source, re.DOTALL)[0]
    assert "NaN" not in data
    assert "Infinity" not in data
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Sweep report: ")
    assert (tmp_path / "results.csv").read_text(encoding="utf-8").startswith("job")


def test_writing_twice_gives_the_same_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_grid(tmp_path / "s")
    into = tmp_path / "new" / "place"
    first = write_sweep_report([tmp_path / "s"], into).read_bytes()
    assert write_sweep_report([tmp_path / "s"], into) == into / "report.html"
    assert (into / "report.html").read_bytes() == first
    tables = ["configurations.csv", "configurations.tex", "figures"]
    assert sorted(path.name for path in into.iterdir()) == [*tables, "report.html", "report.md", "results.csv"]


def test_markdown_has_the_same_tables_and_sentences(tmp_path: Path) -> None:
    folder = write_troubled(tmp_path)
    write_sweep_report([folder], folder)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "- Validation chose temperature=2 alpha=0.9: mean perplexity 35.91 over 3 seeds" in text
    assert "| ★ 9 | 35.68 | 36.68 | +6.32 | done | 2 | 0.9 | 0 | 43.00 |" in text
    assert "| 2 | 38.71 | ★ 35.91 |" in text
    assert "- job 3, failed: NonFiniteLossError: the term 'kd' is NaN at step 120; lower optimizer.lr" in text
    assert f"```bash\n{COMMAND}\n```" in text
    assert "- **Test**: Measured once for each model" in text


def test_markdown_shows_hostile_text_as_it_is(tmp_path: Path) -> None:
    write_sweep_report([write_hostile(tmp_path)], tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"```bash.*?```", "", text, flags=re.DOTALL)
    assert "<script" not in outside
    assert "<img" not in outside


# -- colors ----------------------------------------------------------------------------------------------------------


def colors(block: int) -> dict[str, str]:
    """Variables of the light (0) or dark (1) mode."""
    found: dict[str, str] = {}
    for name in ("page.css", "sweep.css"):
        css = read_style(name)
        found |= dict(re.findall(r"--([\w-]+): (#\w{6});", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[block]))
    return found


def inks(letter: str) -> dict[str, str]:
    """Class -> the text's color in it, as the style sheet has it."""
    css = read_style("charts.css")
    return dict(re.findall(rf"\.({letter}\d) \{{ --color: var\(--{letter}\d\); --on-color: ([^;]+); }}", css))


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("letter", ["v", "g"])
def test_numbers_are_readable_on_every_cell(block: int, letter: str) -> None:
    known = colors(block)
    found = inks(letter)
    assert sorted(found) == [f"{letter}{step}" for step in range(9)]
    for kind, ink in found.items():
        color = known[ink[6:-1]] if ink.startswith("var(") else ink
        assert contrast(color, known[kind]) >= 4.5, kind


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_scales_go_one_way_in_brightness(block: int) -> None:
    """So that they read without color: by those who see few, and on a gray printer."""
    known = colors(block)
    for letter, steps in (("v", 9), ("l", 5)):
        bright = [luminance(known[f"{letter}{step}"]) for step in range(steps)]
        assert bright == sorted(bright, reverse=block == 0)
    bright = [luminance(known[f"g{step}"]) for step in range(9)]
    away = [max, min][block == 1]
    assert away(bright) == bright[4]


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_lines_stand_out_from_the_page(block: int) -> None:
    known = colors(block)
    names = [f"l{step}" for step in range(5)] + [f"s{style}" for style in range(8)]
    assert min(contrast(known[name], known["paper"]) for name in names) >= 3
    assert min(contrast(known[name], known["paper"]) for name in ("bad", "good")) >= 4.5


def test_the_page_is_spelled_in_one_way(tmp_path: Path) -> None:
    write_grid(tmp_path)
    write_sweep_report([tmp_path], tmp_path)
    assert "olour" not in (tmp_path / "report.html").read_text(encoding="utf-8")
