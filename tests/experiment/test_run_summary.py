"""``kd run`` and ``kd report`` of the same run say the same, on the terminal, on the page and in the Markdown file."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from kd_lightning.cli.report import run_report_verb
from kd_lightning.experiment.run import execute
from kd_lightning.results.report.run.markdown import escape_markdown
from kd_lightning.results.report.summary import list_summary_sentences, list_summary_tables
from tests.support.parts import CLASSES, TinyNet, TinyRows
from tests.support.tiny import build, settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    outputs = tmp_path_factory.mktemp("outputs")
    made = settings(outputs, checkpoint_every=100, task__monitor="accuracy")
    return outputs / "run", execute(made, build, ["tests"], outputs / "run", yaml.safe_dump, [], "kd run")


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_run_and_report_print_the_same_tables_and_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    made = settings(tmp_path, checkpoint_every=100)
    results = execute(made, build, ["tests"], folder, yaml.safe_dump, [], "kd run")
    printed = lines_of(capsys.readouterr().out)
    assert run_report_verb([str(folder)]) == 0
    *again, page = lines_of(capsys.readouterr().out)
    assert page == str(folder / "report.html")
    ahead = f"Next: kd eval {folder}"
    assert printed[-len(again) - 3 :] == [*again, ahead, f"report: {page}", str(folder)]
    assert again[-len(list_summary_sentences(results)) :] == list_summary_sentences(results)
    assert sum(line.startswith("distilled ") for line in again) == len(list_summary_tables(results)) == 2


def test_the_page_and_the_markdown_file_say_what_the_terminal_said(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    page, text = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for sentence in list_summary_sentences(results):
        assert all(html.escape(part) in page for part in sentence.split(". "))
        assert escape_markdown(sentence) in text
    for table in list_summary_tables(results):
        for row in table.rows:
            assert "".join(f"<td>{cell}</td>" for cell in row[1:]) in page
            assert f"| {' | '.join(row)} |" in text


def test_agreement_calibration_and_class_scores_of_the_stored_weights(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    results = json.loads((folder / "results.json").read_text())
    rows = TinyRows().prepare().splits["test"]
    targets = rows["targets"].tolist()
    predicted = {}
    for model, width in (("teacher", 9), ("baseline", 5), ("pretrained", 5), ("distilled", 5)):
        network = TinyNet(width)
        network.load_state_dict(load_file(folder / "weights" / f"{model}.safetensors"))
        predicted[model] = network.eval()(rows["inputs"]).argmax(-1).tolist()
    for model, found in predicted.items():
        scores = results["models"][model]["predictions"]
        assert scores["accuracy"] == sum(a == b for a, b in zip(found, targets, strict=True)) / len(targets)
        assert scores["by_class"]["rows"] == [targets.count(number) for number in range(CLASSES)]
        hits = [sum(a == b == number for a, b in zip(found, targets, strict=True)) for number in range(CLASSES)]
        assert scores["by_class"]["recall"] == [hits[number] / targets.count(number) for number in range(CLASSES)]
        if model == "teacher":
            assert "agreement" not in scores
        else:
            same = sum(a == b for a, b in zip(found, predicted["teacher"], strict=True))
            assert scores["agreement"] == pytest.approx(same / len(targets))


def test_the_classes_are_on_the_page_under_a_summary(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<summary>Each of the {CLASSES} classes on the test split</summary>" in page
    assert '<th scope="col">recall, distilled</th>' in page
    assert "recall, distilled" not in (folder / "report.md").read_text(encoding="utf-8")
    recall = results["models"]["distilled"]["predictions"]["by_class"]["recall"]
    assert f"<td>{100 * recall[0]:.1f}%</td>" in page
