"""Cells of both tables against values computed by hand."""

from __future__ import annotations

import csv
import io
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.report.headline import write_headline
from kd_lightning.results.report.sweep.csv_file import format_jobs_csv
from kd_lightning.results.report.sweep.facts import list_sweep_facts
from kd_lightning.results.report.sweep.files import Pool, read_pool
from kd_lightning.results.report.sweep.markdown import render_sweep_markdown
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.numbers import MINUS
from kd_lightning.results.report.sweep.page import render_sweep_page
from kd_lightning.results.report.sweep.states import describe_state, explain_state, summarize_states
from kd_lightning.results.report.sweep.table import join_labels, make_configuration_table, make_job_table
from kd_lightning.results.statistics.over_seeds import list_configurations
from tests.results.report.sweep_sample import (
    jobs_of,
    pool_of,
    results,
    write_grid,
    write_job,
    write_sweep,
    write_troubled,
)


def cells(table: Any) -> list[dict[str, str]]:
    """Rows as heading -> text."""
    names = [column.label for column in table.columns]
    return [dict(zip(names, [cell.text for cell in row.cells], strict=True)) for row in table.rows]


def jobs_table(pool: Pool) -> Any:
    return make_job_table(pool, list_configurations(pool.judged))


WORDS = [
    ["temperature=1", "seed=0"],
    ["temperature=1", "seed=1"],
    ["temperature=2", "seed=0"],
    ["temperature=2", "seed=1"],
]


def test_a_jobs_row() -> None:
    rows = cells(jobs_table(pool_of(WORDS, [40.0, 41.0, 38.0, 38.5])))
    assert [row["job"] for row in rows] == ["2", "3", "0", "1"]  # best validation first
    assert rows[0] == {
        "job": "2",
        "state": "done",
        "temperature": "2",
        "seed": "0",
        "validation perplexity": "38.00",
        "test perplexity": "39.00",
        "student alone": "43.00",
        "gain, perplexity": "+4.00",
        "gap closed": "33%",  # 4 of 43 - 31
        "parameters": "174,000",
        "size": "696.0 kB",
        "seconds": "–",  # noqa: RUF001
        "reused": "",
        "verdict over seeds": "better",  # gains of 4 and 3.75: t = 31, p = 0.0205 alone, 0.0406 of two
    }


def test_rows_sort_by_numbers_and_missing_ones_are_last() -> None:
    table = jobs_table(pool_of([["lr=0.01"], ["lr=0.1"], ["lr=1e-3"], ["lr=x"]], [40.0, 39.0, float("nan"), None]))
    assert [row["job"] for row in cells(table)] == ["1", "0", "2", "3"]
    assert cells(table)[2]["validation perplexity"] == "not finite"
    assert (table.columns[table.sorted_by].label, table.ascending) == ("validation perplexity", True)
    keys = [row.cells[5].sort for row in table.rows]
    assert keys == [0.1, 0.01, 0.001, "x"]
    assert [row.cells[table.sorted_by].sort for row in table.rows] == [39.0, 40.0, None, None]
    assert not next(column for column in table.columns if column.label == "lr").numeric


def test_a_configurations_row() -> None:
    pool = pool_of(WORDS, [40.0, 41.0, 38.0, 38.5])
    found = list_configurations(pool.judged)
    first, second = cells(make_configuration_table(pool, found))
    assert (first["jobs"], first["temperature"], first["seeds"], first["state"]) == ("2, 3", "2", "2", "done")
    assert first["validation perplexity"] == f"38.25 ± {statistics.stdev([38.0, 38.5]):.2f}"
    assert first["test perplexity"] == f"39.25 ± {statistics.stdev([39.0, 39.5]):.2f}"
    gains = [42.0 - 38.0, 42.25 - 38.5]
    assert first["gain, perplexity"] == f"+{statistics.mean(gains):.2f} ± {statistics.stdev(gains):.2f}"
    assert first["student alone"] == "43.12"  # mean of 43 and 43.25, to even
    chosen = next(c for c in found if c.chosen)
    assert chosen.interval is not None
    assert first["95% interval of the gain"] == " to ".join(
        f"{end:+.2f}".replace("-", MINUS) for end in chosen.interval
    )
    assert first["verdict"] == chosen.verdict
    assert second["gain, perplexity"].startswith("+1.62 ± ")
    rows = make_configuration_table(pool, found).rows
    assert [row.chosen for row in rows] == [True, False]
    assert rows[0].command == "kd run -m temperature=2 seed=0,1"
    assert rows[0].jobs == (2, 3)


def test_a_configuration_without_a_result_is_listed_too() -> None:
    pool = pool_of(WORDS, [40.0, 41.0, None, None])
    rows = cells(make_configuration_table(pool, list_configurations(pool.judged)))
    assert [row["jobs"] for row in rows] == ["0, 1", "2, 3"]
    assert (rows[1]["state"], rows[1]["seeds"], rows[1]["verdict"]) == ("failed", "0", "")
    assert rows[1]["validation perplexity"] == rows[1]["p, adjusted"] == "–"  # noqa: RUF001


def test_accuracy_is_sorted_the_other_way_and_gains_are_points(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    for number, value in ((0, 0.8), (1, 0.9)):
        found = results(value, 0, metric="accuracy", mode="max", gain_over_baseline=value - 0.85)
        found["models"]["distilled"]["test"] = value
        write_job(tmp_path, number, [f"alpha=0.{number}"], found)
    table = jobs_table(read_pool([tmp_path]))
    rows = cells(table)
    assert [row["job"] for row in rows] == ["1", "0"]
    assert not table.ascending
    assert [row["gain, points"] for row in rows] == ["+5.00", "\u22125.00"]
    assert rows[0]["validation accuracy"] == "90.00%"


def test_states_and_reasons_while_the_sweep_runs(tmp_path: Path) -> None:
    pool = read_pool([write_troubled(tmp_path)])
    assert summarize_states(pool) == (
        "18 of 20 jobs: 14 done, 1 running, 1 starting, 1 failed, 1 killed. "
        "The sweep is still running: make this report again later."
    )
    said = {job.number: describe_state(job) for job in pool.jobs}
    assert said[0] == "done"
    assert said[3] == "failed: NonFiniteLossError: the term 'kd' is NaN at step 120; lower …"
    assert said[4].startswith("killed: its process is gone")
    assert said[5] == "running: distill 120 of 400, validation 41.2"
    assert said[7] == "starting"
    assert explain_state(pool.jobs[3]).endswith("lower optimizer.lr")
    rows = {row["jobs"]: row for row in cells(make_configuration_table(pool, list_configurations(pool.judged)))}
    assert rows["3–5"]["state"] == "1 failed, 1 killed, 1 running"  # noqa: RUF001


def test_a_pruned_job_says_why(tmp_path: Path) -> None:
    write_sweep(tmp_path, 1)
    write_job(tmp_path, 0, ["a=1"], state="pruned")
    (job,) = read_pool([tmp_path]).jobs
    assert describe_state(job) == "pruned: stopped early by the search, for its results"


def test_reuse_is_counted(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    write_job(tmp_path, 0, ["seed=0"], results(40.0, 0), reused=["teacher", "baseline", "distill"])
    write_job(tmp_path, 1, ["seed=1"], results(41.0, 1), reused=["teacher"])
    pool = read_pool([tmp_path])
    assert summarize_states(pool) == "2 jobs: 2 done (1 taken from the store)."
    (row,) = cells(make_configuration_table(pool, list_configurations(pool.judged)))
    assert row["reused"] == "1 of 2 jobs"


def test_a_finished_grid(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    assert summarize_states(pool) == "18 jobs: 18 done."
    rows = cells(make_configuration_table(pool, list_configurations(pool.judged)))
    assert rows[0]["jobs"] == "9–11"  # noqa: RUF001
    assert rows[0]["seconds, all seeds"] == "36.9"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((0, 1), "0, 1"), ((0, 1, 2), "0–2"), ((3, 5, 6, 7, 8, 10), "3, 5–8, 10")],  # noqa: RUF001
)
def test_numbers_in_a_row_are_a_range(numbers: tuple[int, ...], text: str) -> None:
    pool = pool_of([["a=1"]] * 12, [1.0] * 12)
    assert join_labels([pool.jobs[number] for number in numbers], pool) == text


def test_jobs_in_memory_are_as_read() -> None:
    done, lost = jobs_of([["a=1"], ["a=2"]], [1.0, None])
    assert (done.state, lost.state) == ("done", "failed")


def test_jobs_that_confirm_have_rows_but_are_no_configuration() -> None:
    words = [*WORDS, ["temperature=2", "seed=2"], ["temperature=2", "seed=3"]]
    pool = pool_of(words, [40.0, 41.0, 38.0, 38.5, 38.2, 38.9])
    marked = [replace(each, record={**each.record, "confirm": each.number > 3}) for each in pool.jobs]
    pool = replace(pool, jobs=tuple(marked))
    report = Report(pool)
    assert [row["jobs"] for row in cells(report.means)] == ["2, 3", "0, 1"]
    assert {row["job"]: row["verdict over seeds"] for row in cells(report.jobs)}["4"] == report.confirmations[0].verdict
    assert report.sentences[0].startswith("Confirmation of temperature=2 on 2 seeds")
    assert "Repeats" not in dict(list_sweep_facts(pool, report.configurations))
    rows = list(csv.DictReader(io.StringIO(format_jobs_csv(report))))
    assert [row["confirm"] for row in rows] == ["False"] * 4 + ["True"] * 2


def test_pairs_with_the_chosen_one_stand_in_all_files(tmp_path: Path) -> None:
    report = Report(read_pool([write_grid(tmp_path)]))
    assert report.pairs is not None
    rows = cells(report.pairs)
    assert len(rows) == 5
    first = rows[0]
    assert (first["configuration"], first["on test"]) == ("temperature=1 alpha=0.9", "worse")
    page, text = render_sweep_page(report, tmp_path), render_sweep_markdown(report)
    assert 'id="pairs"' in page
    for row in rows:
        assert row["configuration"] in page
        assert row["configuration"] in text


def test_each_task_of_several_has_its_numbers_in_its_own_unit(tmp_path: Path) -> None:
    """Their metrics differ: nothing is turned into points that is a perplexity, and each has a place in the first sentence."""
    write_grid(tmp_path / "words", {"temperature": (1, 2), "seed": (0, 1, 2)})
    write_sweep(tmp_path / "images", 8)
    for number in range(8):  # more of these, so that the table is theirs
        seed, value = number % 4, 0.8 + 0.02 * (number // 4) + 0.001 * (number % 3)
        found = results(value, seed, metric="accuracy", mode="max", task="classification", data_fingerprint="77aa")
        for model, test in (("teacher", 0.99), ("baseline", 0.7), ("distilled", value)):
            found["models"][model] |= {"val": test, "test": test}
        found["gain_over_baseline"] = value - 0.7
        write_job(tmp_path / "images", number, [f"alpha=0.{number // 4 + 1}", f"seed={seed}"], found)
    report = Report(read_pool([tmp_path / "words", tmp_path / "images"]))
    rows = cells(report.means)
    of_images, of_words = rows[:2], rows[2:]
    assert [row["validation accuracy"][-1] for row in of_images] == ["%", "%"]
    assert [row["gain, points"][:3] for row in of_images] == ["+12", "+10"]
    for row, configuration in zip(
        of_words, [c for c in report.configurations if c.metric == "perplexity"], strict=True
    ):
        assert row["validation accuracy"].startswith(f"{configuration.val_mean:.2f} ")
        gain = f"{configuration.gain_mean:+.2f}".replace("-", MINUS)
        assert row["gain, points"].startswith(f"{gain} ")
        for name in (
            "validation accuracy",
            "test accuracy",
            "gain, points",
            "95% interval of the gain",
            "student alone",
        ):
            assert row[name].endswith(" perplexity")
    of_jobs = {row["job"]: row for row in cells(report.jobs)}
    assert of_jobs["words/0"]["gain, points"].endswith(" perplexity")
    assert not of_jobs["images/0"]["gain, points"].endswith(" perplexity")
    assert report.pairs is not None
    assert [row["95% interval of the difference"].endswith("perplexity") for row in cells(report.pairs)] == [
        False,
        True,
    ]
    assert report.gain_chart is not None
    assert len(report.gain_chart.rows) == 2
    first = write_headline(report)
    assert first.startswith("2 tasks. ")
    assert first.count(" over 4 seeds.") == first.count(" over 3 seeds.") == 1
    assert first.count(" points (") == first.count(" perplexity (") == 1
