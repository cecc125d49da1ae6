"""``kd ledger``: models in 32 and in 8 bits, measured alike, and sentences that say no more than the intervals do."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.config.instantiate import build_node
from kd_lightning.deploy.labeled_rows import read_own_test
from kd_lightning.deploy.latency import TimedFormat
from kd_lightning.deploy.ledger import Ledger, LedgerRow, compare_two, describe_costs
from kd_lightning.deploy.ledger_page import list_ledger_tradeoffs, render_ledger_page
from kd_lightning.deploy.trained_model import load_trained_model
from tests.deploy.runs import FinishedRun
from tests.support.cli import kd
from tests.support.tiny import SilentBoard

pytest.importorskip("onnxruntime")
Capture = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_all_models_of_a_run_in_both_widths(own_networks: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "ledger", str(own_networks.run), "--rounds", "1")
    assert "times faster" not in answer.out, "one round tells nothing of speed"
    assert (answer.code, answer.err) == (0, "")
    folder = own_networks.run / "ledger"
    told = json.loads((folder / "ledger.json").read_text())
    models = ("teacher", "baseline", "distilled")
    cut, narrow_cut = told["rows"].pop(2), told["rows"].pop(2)
    assert [(row["model"], row["format"]) for row in told["rows"]] == [
        (model, form) for model in models for form in ("onnx", "onnx-int8")
    ]
    assert (cut["model"], cut["format"]) == ("teacher+cut", "onnx")
    assert cut["sparsity"] > 0.1 > max(row["sparsity"] for row in told["rows"])
    assert cut["zipped_bytes"] < told["rows"][0]["zipped_bytes"]
    assert cut["model_bytes"] == pytest.approx(told["rows"][0]["model_bytes"], rel=0.02)
    assert narrow_cut["model_bytes"] < cut["model_bytes"]
    assert "share_closed" in cut
    assert cut["share_closed"] is None
    results = own_networks.results["models"]
    for wide, narrow in zip(told["rows"][::2], told["rows"][1::2], strict=True):
        tested = results[wide["model"]]
        assert wide["metrics"]["accuracy"] == pytest.approx(tested["test"], abs=1e-6)
        assert wide["parameters"] == narrow["parameters"] == tested["parameters"]
        assert narrow["model_bytes"] < wide["model_bytes"]
        low, high = (wide["intervals"]["accuracy"][end] for end in ("low", "high"))
        assert low <= wide["metrics"]["accuracy"] <= high
        assert wide["milliseconds"]["1"]["p50"] > 0
    teacher = own_networks.predicted["teacher"]
    for row in told["rows"][::2]:
        same = [one == other for one, other in zip(teacher, own_networks.predicted[row["model"]], strict=True)]
        assert row["agreement"] == pytest.approx(sum(same) / len(same))
    assert len(told["sentences"]) == 6
    assert all("95% interval" in sentence for sentence in told["sentences"])
    rows = list(csv.reader((folder / "ledger.csv").read_text().splitlines()))
    assert [len(row) for row in rows] == [15] * 9
    assert (folder / "ledger.md").read_text().count("\n| ") == 9
    page = (folder / "ledger.html").read_text()
    for row in told["rows"]:
        assert f'<th scope="row">{row["label"]}</th>' in page
        assert f"{row['label']}: " in page.partition("<svg")[2], "a mark of its own"
    assert page.count('<svg class="chart wide scatter"') == 2
    assert all(sentence in page for sentence in told["sentences"])
    assert "default-src 'none'" in page
    assert {"bytes.svg", "latency.svg"} <= {path.name for path in (folder / "figures").iterdir()}
    for cell in ("teacher, 32 bits", "distilled, 8 bits"):
        assert cell in answer.out


def test_the_front_is_of_students_that_no_row_beats() -> None:
    rows = [
        make_row("teacher", [1, 1, 1, 1], [4.0], 100),
        make_row("distilled", [1, 1, 1, 0], [2.0], 20),
        make_row("distilled_pruned", [1, 1, 0, 0], [2.0], 30),
        make_row("baseline", [1, 0, 0, 0], [1.0], 20),
    ]
    found = list_ledger_tradeoffs(Ledger("accuracy", "max", rows, []))
    assert [each.kind for each in found["bytes"].candidates] == ["teacher", "front", "beaten", "alone"]
    assert [each.name for each in found["latency"].front] == ["distilled"]
    hostile = replace(rows[1], label="<script>alert(1)</script>")
    page = render_ledger_page(
        Ledger("accuracy", "max", [rows[0], hostile], ["<b>"]), "<i>", ["", "x"], [["a", "1"], ["<u>", "2"]]
    )
    assert not re.search("<(script|b|i|u)>", page)


def make_row(label: str, right: list[int], milliseconds: list[float], size: int, sparsity: float = 0.0) -> LedgerRow:
    sums = torch.tensor(right, dtype=torch.float64)
    rows = {"index": torch.arange(len(right)), "sums": sums, "counts": torch.ones(len(right))}
    cost = TimedFormat(label, size, [0.1], 1, {1: [[each] for each in milliseconds]})
    record: dict[str, Any] = {"metrics": {"accuracy": float(sums.mean())}}
    return LedgerRow(label, "onnx", label, 1, sparsity, size // 2, record, rows, None, cost, None, None)


def test_a_sentence_says_what_the_interval_shows(own_networks: FinishedRun) -> None:
    model = load_trained_model(own_networks.run, build_node)
    from kd_lightning.config.stored_settings import read_stored_settings

    table, _ = read_own_test(model, read_stored_settings(own_networks.run), build_node, [], SilentBoard())
    good, bad = (
        make_row("good", [1] * 36 + [0] * 4, [1.0, 1.2, 1.1, 1.0, 1.2], 10),
        make_row("bad", [1] * 10 + [0] * 30, [3.0, 3.5, 3.1, 3.0, 3.5], 40),
    )
    said = compare_two(good, bad, table, model.task)
    assert said.startswith("good: 90.00% accuracy; bad: 25.00%: better (95% interval ")
    assert said.endswith("; 4.00 times smaller, 2.82 times faster at 1 row.")
    pruned = make_row("pruned", [1] * 36 + [0] * 4, [1.0, 1.2, 1.1, 1.0, 1.2], 10, sparsity=0.8)
    assert "; 4.00 times smaller when zipped, 2.82" in compare_two(pruned, bad, table, model.task)
    assert ": worse (95% interval -" in compare_two(bad, good, table, model.task)
    assert ": no difference shown (95% interval 0.0 points to 0.0 points)" in compare_two(good, good, table, model.task)


def test_speeds_whose_rounds_overlap_are_not_told_apart() -> None:
    one, other = make_row("one", [1], [1.0, 2.0] * 3, 10), make_row("other", [1], [1.5, 3.0] * 3, 10)
    assert describe_costs(one, other) == "of the same size, speeds at 1 row not told apart"


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "a run is expected"), (("last", "--rounds", "none"), "--rounds none: a whole number above 0 is expected")],
)
def test_a_wrong_word_is_one_line(words: tuple[str, ...], told: str, tmp_path: Path, capsys: Capture) -> None:
    answer = kd(capsys, "ledger", *words)
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
