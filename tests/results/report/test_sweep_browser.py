"""The sweep's page in a real browser: clicks, keys, hover, selects; no errors, no network, no foreign code.

Skipped where there is no Chromium. Every check that finds nothing has a positive control beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.heat_map import MEASURES, make_heat_map
from kd_lightning.results.report.sweep.heat_table import render_heat_table
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.report import write_sweep_report
from tests.results.report.sweep_sample import (
    results,
    write_grid,
    write_job,
    write_json,
    write_students,
    write_study,
    write_sweep,
    write_troubled,
)
from tests.results.report.test_page import Page as Parsed
from tests.support.chromium import CHROMIUM, Page, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not looked at")
HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'onfocus=window.hacked=1 `${1}`"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Written reports by name."""
    root = tmp_path_factory.mktemp("sweeps")
    folders = {
        "grid": write_grid(root / "grid"),
        "troubled": write_troubled(root / "troubled"),
        "students": write_students(root / "students"),
        "study": write_study(root / "study"),
        "accuracy": write_accuracy(root / "accuracy"),
        "hostile": write_hostile(root / "hostile"),
    }
    return {name: write_sweep_report([folder], folder) for name, folder in folders.items()}


@pytest.fixture
def quiet(browser: Page) -> Iterator[Page]:
    """The browser; afterwards the page must have complained of nothing and asked for nothing but itself."""
    yield browser
    assert browser.complaints() == []
    assert len(browser.requests()) == 1
    assert browser.requests()[0].endswith("report.html")


def write_accuracy(folder: Path) -> Path:
    """Accuracies in 64ths: their percentages end in ties (3.125), which Python rounds to even."""
    write_sweep(folder, 12)
    number = 0
    for temperature in (1, 2, 4):
        for size in ("tiny", "small"):
            for seed in (0, 1):
                value = (3 * number + 2) / 64
                found = results(value, seed, metric="accuracy", mode="max", gain_over_baseline=value - 18 / 64)
                found["models"]["distilled"]["test"] = value - 1 / 64
                words = [f"temperature={temperature}", f"student={size}", f"seed={seed}"]
                write_job(folder, number, words, found)
                number += 1
    return folder


def write_hostile(folder: Path) -> Path:
    """A sweep whose every text is hostile."""
    write_sweep(folder, 4, command=HOSTILE)
    more = {
        "task": HOSTILE,
        "metric": HOSTILE,
        "data_fingerprint": HOSTILE,
        "command": HOSTILE,
    }
    for number, (note, seed) in enumerate([(HOSTILE, 0), ("b", 0), (HOSTILE, 1)]):
        job = write_job(folder, number, [f"vars.note={note}", f"seed={seed}"], results(40.0 + number, seed, **more))
        metric = HOSTILE.replace('"', '""')
        (job / "metrics" / "distill.csv").write_text(
            f'step,split,name,value\n9,val,"{metric}",4\n19,val,"{metric}",3\n'
        )
    write_job(folder, 3, ["vars.note=b", f"seed={HOSTILE}"], state="failed", error=HOSTILE, traceback=HOSTILE)
    write_json(folder / "study.json", {"name": HOSTILE, "sampler": HOSTILE, "importances": {HOSTILE: 0.5}})
    return folder


def column(page: Page, table: str, head: str) -> list[str]:
    """Texts of the visible cells of a column."""
    return page.ask(
        f"(() => {{ const at = [...document.querySelectorAll('#{table} thead th')]"
        f".findIndex(h => h.querySelector('button')?.textContent === {json.dumps(head)});"
        f"return [...document.querySelectorAll('#{table} tbody tr:not([hidden])')].map(r => r.cells[at].textContent) }})()"
    )


def heading(page: Page, table: str, head: str) -> str:
    """Selector of a heading's button."""
    at = page.ask(
        f"[...document.querySelectorAll('#{table} thead th')]"
        f".findIndex(h => h.querySelector('button')?.textContent === {json.dumps(head)})"
    )
    return f"#{table} thead th:nth-child({at + 1}) button"


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_click_sorts_and_a_second_one_turns_it_round(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["troubled"])
    quiet.click("button[data-view=jobs]")
    button = heading(quiet, "jobs", "gain, perplexity")
    sort = f"document.querySelector({json.dumps(button)}).parentNode.getAttribute('aria-sort')"
    assert quiet.ask(sort) == "none"
    for direction, reverse in (("ascending", False), ("descending", True)):
        quiet.click(button)
        assert quiet.ask(sort) == direction
        texts = column(quiet, "jobs", "gain, perplexity")
        values = [float(text.replace("\u2212", "-")) for text in texts[:14]]
        assert values == sorted(values, reverse=reverse)
        assert texts[14:] == ["–"] * 4  # noqa: RUF001 - what is missing is last, whichever way
    assert (
        quiet.ask("document.querySelectorAll('#jobs [aria-sort=ascending], #jobs [aria-sort=descending]').length") == 1
    )
    # Rows stay whole: the command of each still names its own settings.
    rows = zip(column(quiet, "jobs", "temperature"), column(quiet, "jobs", "seed"), commands(quiet), strict=True)
    assert all(f"temperature={t} " in line and line.endswith(f"seed={s}") for t, s, line in rows if t)


def commands(page: Page) -> list[str]:
    return page.ask("[...document.querySelectorAll('#jobs tbody tr code')].map(code => code.textContent)")


def test_numbers_sort_as_numbers_and_words_as_words(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["study"])
    quiet.click(heading(quiet, "jobs", "optimizer.lr"))
    values = [float(text) for text in column(quiet, "jobs", "optimizer.lr")]
    assert values == sorted(values)
    quiet.click(heading(quiet, "jobs", "job"))
    numbers = [text.split()[-1] for text in column(quiet, "jobs", "job")]  # the chosen one has a star before it
    assert numbers == [str(number) for number in range(30)] != sorted(numbers)  # as words the order is another one
    quiet.click(heading(quiet, "jobs", "optimizer"))
    assert column(quiet, "jobs", "optimizer") == ["adam"] * 15 + ["sgd"] * 15


@pytest.mark.parametrize("key", ["Enter", " "])
def test_keys_sort(quiet: Page, pages: dict[str, Path], key: str) -> None:
    quiet.open(pages["grid"])
    quiet.click("button[data-view=jobs]")
    quiet.ask(f"document.querySelector({json.dumps(heading(quiet, 'jobs', 'job'))}).focus()")
    before = column(quiet, "jobs", "seed")
    quiet.press(key)
    assert column(quiet, "jobs", "seed") == ["0", "1", "2"] * 6 != before  # by number of the job
    quiet.press("Tab")
    assert quiet.ask("document.activeElement.textContent") == "validation perplexity"
    assert quiet.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_field_filters_both_tables(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    quiet.click("input[type=search]")
    quiet.type("Temperature=2 alpha=0.9")
    assert quiet.ask("document.querySelector('.controls output').textContent") == "1 of 6 rows"
    quiet.click("button[data-view=jobs]")
    assert quiet.ask("document.querySelector('.controls output').textContent") == "3 of 18 rows"
    assert set(column(quiet, "jobs", "temperature")) == {"2"}
    assert quiet.ask("[...document.querySelectorAll('#jobs tbody tr')].filter(r => r.offsetHeight > 0).length") == 3
    quiet.click("input[type=search]")
    quiet.type(" nothing like this")
    assert column(quiet, "jobs", "temperature") == []


def test_one_table_at_a_time(quiet: Page, pages: dict[str, Path]) -> None:
    def seen() -> list[bool]:
        return quiet.ask("['configurations', 'jobs'].map(id => document.getElementById(id).offsetHeight > 0)")

    quiet.open(pages["grid"])
    assert seen() == [True, False]  # with several seeds the means come first
    quiet.click("button[data-view=jobs]")
    assert seen() == [False, True]
    assert quiet.ask("document.querySelector('button[data-view=jobs]').getAttribute('aria-pressed')") == "true"
    quiet.open(pages["study"])
    assert seen() == [False, True]  # one seed each: the means are the jobs


def test_a_command_is_copied(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    quiet.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    quiet.click("#configurations tbody tr:first-child button")
    quiet.until("document.querySelector('#configurations tbody button').textContent === 'Copied'")
    assert quiet.ask("navigator.clipboard.readText()") == "kd run -m temperature=2 alpha=0.9 seed=0,1,2"
    assert quiet.ask("getComputedStyle(document.querySelector('td.command code')).userSelect") == "all"


def test_a_row_lights_up_its_lines(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    assert quiet.ask("document.querySelectorAll('.hot').length") == 0
    quiet.point(*quiet.place("#configurations tbody tr:first-child"))
    hot = "[...document.querySelectorAll('#curves svg.wide .hot')].map(line => line.dataset.jobs)"
    assert quiet.ask(hot) == ["9 10 11"]
    quiet.point(2, 2)
    assert quiet.ask(hot) == []


# -- hover ------------------------------------------------------------------------------------------------------------


def corner(page: Page, chart: str, jobs: str, at: int) -> tuple[float, float]:
    """Where on the screen a line's point lies."""
    page.place(chart)
    x, y = page.ask(
        f"(() => {{ const line = document.querySelector('{chart} [data-jobs=\"{jobs}\"]');"
        f"const [x, y] = line.getAttribute('points').split(' ')[{at}].split(',').map(Number);"
        "const p = new DOMPoint(x, y).matrixTransform(line.getScreenCTM()); return [p.x, p.y] })()"
    )
    return float(x), float(y)


TIP = "document.querySelector('.tip').hidden ? null : [...document.querySelector('.tip').children].map(e => e.textContent)"


def test_a_curve_tells_its_job_its_settings_and_the_value(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    assert quiet.ask(TIP) is None
    quiet.point(*corner(quiet, "#curves svg.wide", "12 13 14", 0))  # the worst configuration: its line is the topmost
    title, *lines = quiet.ask(TIP)
    assert title == "temperature=4 alpha=0.3"
    firsts = []
    for number in (12, 13, 14):
        values = (pages["grid"].parent / str(number) / "metrics" / "distill.csv").read_text().splitlines()
        firsts.append(float(next(line for line in values if ",val," in line).rpartition(",")[2]))
    assert lines[0] == f"step 450: {sum(firsts) / 3:.2f} ({min(firsts):.2f} to {max(firsts):.2f} over 3 seeds)"
    assert lines[1].startswith("validation perplexity 42.")
    assert lines[2].startswith("test perplexity 43.")
    hot = "[...new Set([...document.querySelectorAll('#curves .line.hot')].map(line => line.dataset.jobs))]"
    assert quiet.ask(hot) == ["12 13 14"]
    quiet.point(5, 5)
    assert quiet.ask(TIP) is None
    assert quiet.ask("document.querySelectorAll('.hot, .some-hot').length") == 0


def test_the_chosen_one_says_so(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    quiet.point(*corner(quiet, "#curves svg.wide", "9 10 11", 0))
    assert quiet.ask(TIP)[0].endswith("★ chosen")


def test_parallel_lines_tell_their_job(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["study"])
    quiet.point(*corner(quiet, "#parallel svg", "13", 0))
    title, *lines = quiet.ask(TIP)
    assert title.startswith("job ")
    assert lines[0].startswith("optimizer.lr = ")
    assert any(line.startswith("validation perplexity ") for line in lines)
    assert not any(line.startswith("step ") for line in lines)


def test_marks_tell_their_configuration(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["students"])
    quiet.point(*quiet.place("#costs svg.wide g[data-jobs] .mark.chosen"))
    title, *lines = quiet.ask(TIP)
    assert title.startswith("student=lstm_lm temperature=1: validation 34.")
    assert lines == ["on the Pareto front, chosen"]
    quiet.point(*quiet.place("#costs svg.wide .mark.teacher"))
    assert quiet.ask(TIP)[1:] == ["teacher"]


def test_arrow_keys_step_through_the_lines_best_first(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    quiet.ask("document.querySelector('#curves .stage').focus()")
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        quiet.press(key)
        told.append(quiet.ask(TIP)[0])
    assert told == ["temperature=2 alpha=0.9 ★ chosen", "temperature=1 alpha=0.9", "temperature=2 alpha=0.9 ★ chosen"]
    quiet.ask("document.querySelector('#parallel .stage').focus()")
    quiet.press("ArrowRight")
    assert quiet.ask(TIP)[0] == "job 9 ★ chosen"
    assert quiet.ask("document.querySelector('.tip').getAttribute('role')") == "status"
    quiet.press("Escape")
    assert quiet.ask(TIP) is None


def test_the_tip_stays_inside_the_window(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"], width=390, height=500)
    for at in (0, 7):
        quiet.point(*corner(quiet, "#curves svg.narrow", "9 10 11", at))
        box = quiet.ask(
            "(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('.tip').getBoundingClientRect())"
        )
        assert quiet.ask(TIP) is not None
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= 390
        assert box[3] <= 500


# -- heat map ---------------------------------------------------------------------------------------------------------


SHOWN = """[...document.querySelectorAll('.heat tr')].map(row => [...row.children].map(cell =>
  [cell.tagName.toLowerCase(), cell.className, cell.textContent, cell.title, cell.scope ?? '']))"""


def expected(report: Report, rows: str, columns: str, measure: str) -> list[list[list[Any]]]:
    """The same table as Python draws it, read by a parser."""
    swept = {found.name: found for found in report.swept}
    found = make_heat_map(report.pool, swept[rows], swept[columns], measure)
    parsed = Parsed("<div>" + "".join(render_heat_table(found, report.pool, report.gains, report.chosen)) + "</div>")
    texts = iter(text for tag, text in parsed.texts if tag in ("th", "td"))
    table: list[list[list[Any]]] = []
    for tag, attributes in parsed.elements:
        if tag == "tr":
            table.append([])
        elif tag in ("th", "td"):
            a = {name: attributes.get(name) or "" for name in ("class", "title", "scope")}
            table[-1].append([tag, a["class"], "" if a["class"] == "corner" else next(texts), a["title"], a["scope"]])
    return table


@pytest.mark.parametrize("name", ["grid", "troubled", "accuracy", "study", "hostile"])
def test_the_selects_draw_what_python_draws(quiet: Page, pages: dict[str, Path], name: str) -> None:
    quiet.open(pages[name])
    report = Report(read_pool([pages[name].parent]))
    names = [found.name for found in report.swept]
    assert quiet.ask(SHOWN)[2:]  # the first one, drawn by Python
    seen = set()
    for rows, columns in permutations(names, 2):
        for measure in MEASURES:
            for select, value in (("rows", rows), ("columns", columns), ("measure", measure)):
                choose(quiet, select, value)
            # Choosing what the other select had swaps both; once more sets the pair in any case.
            choose(quiet, "rows", rows)
            choose(quiet, "columns", columns)
            shown = quiet.ask(SHOWN)
            assert shown == expected(report, rows, columns, measure)
            seen.add(json.dumps(shown))
    assert len(seen) == 3 * len(names) * (len(names) - 1)
    assert quiet.ask("document.querySelector('#heat h2').textContent") == f"{rows} by {columns}"


def choose(page: Page, select: str, value: str) -> None:
    page.ask(
        f"(() => {{ const s = document.querySelector('select[name=heat-{select}]'); s.value = {json.dumps(value)};"
        "s.dispatchEvent(new Event('change')) })()"
    )


def test_a_select_answers_to_keys_and_the_same_choice_twice_swaps(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    assert quiet.ask("[...document.querySelectorAll('#heat select')].map(s => s.value)") == [
        "temperature",
        "alpha",
        "val",
    ]
    quiet.ask("document.querySelector('select[name=heat-rows]').focus()")
    quiet.press("ArrowDown")
    assert quiet.ask("[...document.querySelectorAll('#heat select')].map(s => s.value)") == [
        "alpha",
        "temperature",
        "val",
    ]
    assert quiet.ask("document.querySelector('#heat h2').textContent") == "alpha by temperature"


# -- what must not happen ---------------------------------------------------------------------------------------------


def test_hostile_texts_are_inert(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["hostile"])
    quiet.click("button[data-view=jobs]")
    quiet.click("#jobs thead button")
    quiet.click("input[type=search]")
    quiet.type("<img src=x onerror=window.hacked=1>")
    quiet.ask("document.querySelector('#curves .stage').focus()")
    told = []
    for _ in range(2):
        quiet.press("ArrowRight")
        told.append(quiet.ask(TIP)[0].removesuffix(" ★ chosen"))
    assert sorted(told) == sorted([f"vars.note={HOSTILE}", "vars.note=b"])
    quiet.ask("navigator.clipboard && document.querySelector('td.command button').click()")
    assert quiet.ask("window.hacked") is None
    assert quiet.ask("document.querySelectorAll('img, iframe, object, link').length") == 0
    assert quiet.ask("document.scripts.length") == 2
    assert quiet.ask("document.querySelector('.state.failed span').textContent").startswith("failed: </script><script>")


def test_hostile_texts_would_act_where_they_are_not_escaped(browser: Page, tmp_path: Path) -> None:
    """The positive control: the same text in a page without escaping and without a policy."""
    path = tmp_path / "report.html"
    path.write_text(f"<script>'{HOSTILE}", encoding="utf-8")
    browser.open(path)
    assert browser.ask("window.hacked") == 1


def test_another_script_does_not_run(browser: Page, pages: dict[str, Path], tmp_path: Path) -> None:
    """The positive control of the policy and of the listening for complaints."""
    path = tmp_path / "report.html"
    source = pages["grid"].read_text(encoding="utf-8")
    path.write_text(source.replace("</main>", "<script>window.hacked=1</script></main>"), encoding="utf-8")
    browser.open(path)
    assert browser.ask("window.hacked") is None
    assert any("Content Security Policy" in text for text in browser.complaints())
    assert browser.ask("document.querySelectorAll('#jobs thead button').length") > 10  # ours still does
    path.write_text(source.replace('"use strict";', '"use strict"; window.hacked = 1;', 1), encoding="utf-8")
    browser.open(path)
    assert browser.ask("window.hacked") is None
    assert browser.ask("document.querySelectorAll('#jobs thead button').length") == 0


def test_requests_and_errors_would_be_seen(browser: Page, tmp_path: Path) -> None:
    """The positive control of the listening."""
    path = tmp_path / "report.html"
    path.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('a'); b</script>", encoding="utf-8")
    browser.open(path)
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert len(browser.complaints()) >= 3  # the image, the printed error, the exception


def test_the_policy_forbids_the_network(browser: Page, pages: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    source = pages["grid"].read_text(encoding="utf-8")
    path.write_text(source.replace("</main>", "<img src='http://127.0.0.1:9/x.png'></main>"), encoding="utf-8")
    browser.open(path)
    assert any("Content Security Policy" in text for text in browser.complaints())


def test_without_a_script_everything_is_there(browser: Page, pages: dict[str, Path]) -> None:
    browser.open(pages["troubled"], script=False)
    try:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)  # only so that we may ask
        assert (
            browser.ask("['configurations', 'jobs'].map(id => document.getElementById(id).offsetHeight > 0)")
            == [True] * 2
        )
        assert browser.ask("document.querySelectorAll('#jobs thead button, select, input, .tip').length") == 0
        assert browser.ask("document.querySelectorAll('.heat td.v8').length") == 1
        assert browser.ask("document.querySelectorAll('#curves svg.wide polyline').length") == 5
        assert browser.ask("document.querySelectorAll('#curves polyline title').length") > 0  # the browser's own hints
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


# -- looks ------------------------------------------------------------------------------------------------------------

CLIPPED = """[...document.querySelectorAll('svg.chart')].filter(svg => svg.getBoundingClientRect().width > 0).flatMap(svg =>
  [...svg.querySelectorAll('text')].filter(text => { const ink = text.getBBox(), view = svg.viewBox.baseVal;
    return ink.x < -1 || ink.x + ink.width > view.width + 1 || ink.y < 0 || ink.y + ink.height > view.height + 1;
  }).map(text => text.textContent))"""


# Texts of one chart that lie on each other. A text's box is its line's: letters begin a little inside of it.
OVERLAPS = """[...document.querySelectorAll('svg.chart')].filter(svg => svg.getBoundingClientRect().width > 0).flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 5;
  return texts.flatMap(([one, a], at) => texts.slice(at + 1).filter(([, b]) => over(a, b)).map(([other]) => [one, other]));
})"""
BOX = "(b => [b.left, b.top, b.right, b.bottom])(document.querySelector({}).getBoundingClientRect())"


@pytest.mark.parametrize(("width", "height"), [(1300, 800), (390, 844)])
@pytest.mark.parametrize("name", ["grid", "accuracy", "students"])
def test_the_first_screen_is_a_sentence_a_table_and_a_picture(
    quiet: Page, pages: dict[str, Path], name: str, width: int, height: int
) -> None:
    quiet.open(pages[name], width=width, height=height)
    assert quiet.ask("document.documentElement.scrollWidth") == width
    sentence, table, picture = (
        quiet.ask(BOX.format(f"'{selector}'"))
        for selector in (".verdict", "#configurations", "#gains figure svg.{}")
        for selector in [selector.format("wide" if width > 640 else "narrow")]
    )
    assert 0 <= sentence[1] < sentence[3] <= min(table[1], picture[1])
    assert table[1] < height / 2
    assert picture[2] <= width
    # On a phone the picture begins on the first screen; on a desktop the whole of it is there.
    assert picture[3] <= height if width > 640 else picture[1] < 0.75 * height
    # Results stand in view without scrolling the table.
    metric = "accuracy" if name == "accuracy" else "perplexity"
    unit = "points" if name == "accuracy" else metric
    for head in (f"validation {metric}", f"test {metric}", f"gain, {unit}", "verdict"):
        box = quiet.ask(BOX.format(json.dumps(heading(quiet, "configurations", head).removesuffix(" button"))))
        edge = quiet.ask("document.getElementById('configurations').parentNode.getBoundingClientRect().right")
        assert box[2] <= edge + 1, head


def test_the_table_of_jobs_has_the_whole_width(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["grid"])
    narrow = quiet.ask("document.getElementById('tables').clientWidth")
    quiet.click("button[data-view=jobs]")
    assert quiet.ask("document.getElementById('tables').clientWidth") > 1.4 * narrow


@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("name", ["grid", "students", "study", "accuracy"])
def test_labels_do_not_lie_on_each_other(quiet: Page, pages: dict[str, Path], name: str, width: int) -> None:
    quiet.open(pages[name], width=width)
    assert quiet.ask(OVERLAPS) == []


def test_labels_that_lie_on_each_other_would_be_found(browser: Page, pages: dict[str, Path]) -> None:
    """The positive control."""
    browser.open(pages["grid"])
    browser.ask(
        "(t => t.setAttribute('y', Number(t.getAttribute('y')) + 36))(document.querySelector('#gains text.name'))"
    )
    assert len(browser.ask(OVERLAPS)) == 1


@pytest.mark.parametrize("width", [390, 1300])
def test_learning_curves_use_the_height_of_the_plot(quiet: Page, tmp_path: Path, width: int) -> None:
    write_grid(tmp_path, {"temperature": (1, 2), "seed": (0, 1)})
    for path in tmp_path.glob("*/metrics/distill.csv"):  # a first value a hundred times the others
        path.write_text(path.read_text().replace("loss", "loss", 1) + "10,val,perplexity,5000\n")
    page = write_sweep_report([tmp_path], tmp_path)
    quiet.open(page, width=width)
    later = quiet.ask(
        "[...document.querySelectorAll('#curves svg.chart')].filter(s => s.getBoundingClientRect().width > 0).map(svg => {"
        "const floor = Number(svg.querySelector('path.axis[d*=H]').getAttribute('d').match(/M\\S+ (\\S+)H/)[1]), top = 28;"
        "const ys = [...svg.querySelectorAll('.line.job')].flatMap(l => l.getAttribute('points').split(' ').slice(3)"
        ".map(p => Number(p.split(',')[1]))); return (Math.max(...ys) - Math.min(...ys)) / (floor - top); })[0]"
    )
    assert later > 0.4
    assert "Early values lie beyond the axis, as far as 5,000." in quiet.ask(
        "document.querySelector('#curves').textContent"
    )


@pytest.mark.parametrize("width", [360, 390, 768, 1400])
@pytest.mark.parametrize("name", ["students", "study", "troubled", "hostile"])
def test_it_fits_every_width(quiet: Page, pages: dict[str, Path], name: str, width: int) -> None:
    quiet.open(pages[name], width=width)
    for view in ("configurations", "jobs"):
        quiet.click(f"button[data-view={view}]")
        assert quiet.ask("document.documentElement.scrollWidth") == width
    assert quiet.ask(CLIPPED) == []
    if width < 400:
        box = quiet.ask("(b => [b.scrollWidth, b.clientWidth])(document.getElementById('jobs').parentNode)")
        assert box[0] > box[1]  # the table scrolls in its own box
        shrunk = "s => s.getBoundingClientRect().width / s.viewBox.baseVal.width"
        letters = f"[...document.querySelectorAll('svg.chart')].map({shrunk})"
        assert min(size for size in quiet.ask(letters) if size) > 0.9


@pytest.mark.parametrize(("dark", "paper"), [(False, "rgb(255, 255, 255)"), (True, "rgb(20, 23, 27)")])
def test_it_follows_the_color_scheme(quiet: Page, pages: dict[str, Path], dark: bool, paper: str) -> None:
    quiet.open(pages["students"], dark=dark)
    assert quiet.ask("getComputedStyle(document.body).backgroundColor") == paper
    best, worst = (f"getComputedStyle(document.querySelector('.heat .v{step}')).backgroundColor" for step in (8, 0))
    assert quiet.ask(best) != quiet.ask(worst)
    assert quiet.ask("getComputedStyle(document.querySelector('.controls input')).color") != paper


def test_on_paper_there_are_no_controls_and_no_boxes_that_scroll(quiet: Page, pages: dict[str, Path]) -> None:
    quiet.open(pages["study"])
    seen = "[...document.querySelectorAll('.controls, td.command, .rows thead button')].filter(e => e.offsetHeight > 0).length"
    assert quiet.ask(seen) > 0  # positive control: on the screen there are
    quiet.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert quiet.ask(seen) == 0
        box = quiet.ask("(b => [b.scrollHeight, b.clientHeight])(document.getElementById('jobs').parentNode)")
        assert box[0] <= box[1] + 1
        assert quiet.ask("document.querySelector('#jobs .printed').offsetHeight") > 0
    finally:
        quiet.send("Emulation.setEmulatedMedia", media="")


def test_it_prints(quiet: Page, pages: dict[str, Path], tmp_path: Path) -> None:
    quiet.open(pages["students"])
    quiet.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
