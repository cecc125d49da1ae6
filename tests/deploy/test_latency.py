"""``kd bench``: what is timed is the bundle, in processes of its own, and it is said how sure that is."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path

import pytest

from kd_lightning.deploy.export.formats import FORMATS
from kd_lightning.deploy.latency import TimedFormat, list_possible, time_formats
from kd_lightning.errors import ConfigError
from tests.deploy.runs import FinishedRun
from tests.deploy.untrained import make_untrained_run
from tests.support.cli import kd
from tests.support.conf_jobs import overrides_for, write_rows

Capture = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_formats_of_a_run_side_by_side(own_networks: FinishedRun, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    answer = kd(capsys, "bench", str(own_networks.run), "--to", "safetensors,onnx", "--rounds", "2", "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert (told["model"], told["threads"]) == ("distilled", 1)
    torch, onnx = told["formats"]
    assert (torch["format"], onnx["format"]) == ("safetensors", "onnx")
    for one in (torch, onnx):
        assert one["load_seconds"] > 0
        assert set(one["milliseconds"]) == {"1", "32"}
        for spent in one["milliseconds"].values():
            low, high = spent["rounds"]
            assert 0 < low <= high
            assert 0 < spent["p50"] <= spent["p95"]
        assert one["model_bytes"] > 0
    # Each is the peak of a process of its own: torch is not in the one of onnxruntime.
    assert onnx["memory_bytes"] < torch["memory_bytes"] / 2


@pytest.mark.few(1)
@pytest.mark.parametrize("task", ["language_modeling", "classification", "token_classification"])
def test_rows_of_every_kind_are_asked(task: str, tmp_path: Path) -> None:
    write_rows(tmp_path)
    with chdir(tmp_path):
        found = make_untrained_run(tmp_path / "run", *overrides_for("task", task), "data.limit=40")
    (timed,) = time_formats(found.model, [FORMATS["safetensors"]], found.table, 1, 1, seconds=0)
    assert {size: len(rounds) for size, rounds in timed.answers.items()} == {1: 1, 32: 1}


def test_quantiles_are_of_all_answers_and_the_range_is_that_of_medians() -> None:
    timed = TimedFormat("onnx", 1, answers={1: [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [10.0, 30.0, 20.0]]})
    assert timed.quantile(1, 0.5) == 6.0
    assert timed.quantile(1, 0.95) == 30.0
    assert timed.spread(1) == (2.0, 20.0)


def test_what_a_network_cannot_have_is_left_out_unless_it_is_named(tmp_path: Path, capsys: Capture) -> None:
    write_rows(tmp_path)
    with chdir(tmp_path):
        words = (*overrides_for("model", "bilstm_tagger"), "student.model.crf=true", "data.limit=40")
        found = make_untrained_run(tmp_path / "run", *words)
    usual = [FORMATS[name] for name in ("onnx", "safetensors")]
    assert [each.name for each in list_possible(found.model, usual)] == ["safetensors"]
    with pytest.raises(ConfigError, match="chain of tags"):
        time_formats(found.model, usual, found.table, 1, 1, seconds=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "a run is expected"),
        (("last", "--rounds", "0"), "--rounds 0: a whole number above 0 is expected"),
        (("last", "--to", "onx"), "did you mean 'onnx'?"),
    ],
)
def test_a_wrong_word_is_one_line(
    words: tuple[str, ...], told: str, own_networks: FinishedRun, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(own_networks.root)
    answer = kd(capsys, "bench", *words)
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
