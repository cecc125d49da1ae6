"""``kd run`` with both trackers: what they hold is what the run folders hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.experiment.tracking.test_hparams import Tab
from tests.experiment.tracking.test_mlflow_runs import PARENT_TAG, Runs, metrics_csv
from tests.support.cli import DIGITS, kd

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.full
def test_a_sweep_with_both_trackers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    words = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "temperature=1,4", "logger=[tensorboard,mlflow]")
    answer = kd(capsys, "run", "-m", *words, f"outputs={tmp_path}")
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "sweeps").iterdir()
    runs, rows = Runs(tmp_path), {row[1]["temperature"]: row[2] for row in Tab(folder).rows}
    (parent,) = runs.parents
    for number, temperature in enumerate((1.0, 4.0)):
        results = json.loads((folder / str(number) / "results.json").read_text())
        test = results["models"]["distilled"]["test"]
        run = runs.jobs[f"{folder.name}/{number}"]
        assert (run.info.status, run.data.tags[PARENT_TAG]) == ("FINISHED", parent.info.run_id)
        assert (run.data.metrics["test_accuracy"], run.data.params["temperature"]) == (test, str(temperature))
        assert rows[temperature]["test_accuracy"] == pytest.approx(test)
        for name in ("loss", "kd"):
            expected = metrics_csv(folder / str(number), "distill", "train", name)
            assert runs.curve(f"{folder.name}/{number}", f"distill/train_{name}") == pytest.approx(expected)
