"""What is in a key, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kd_lightning.config.conf_files import conf_dir
from kd_lightning.data.columns import Mapped
from kd_lightning.errors import ConfigError
from kd_lightning.experiment import stage_keys
from kd_lightning.fingerprint import code_behind, targets_of
from kd_lightning.training.evaluation import measure_test
from tests.support.tiny import experiment

ROOMS = {"types", "seeds", "losses", "models", "data", "tasks", "teachers", "training"}
"""What computes. Nothing that says where, in which order, by whom or in which words a stage is done may be among it."""
GROUPS = (
    *("model", "data", "task", "loss", "optimizer", "scheduler", "hard_loss", "annealing", "weighting"),
    *("teacher_outputs", "callbacks"),
)
F1 = {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 3}


def test_a_fingerprint_holds_what_computes_and_nothing_else() -> None:
    roots = {root for name, code in vars(stage_keys).items() if name.endswith("_CODE") for root in code}
    files = [path for group in GROUPS for path in (conf_dir() / group).rglob("*.yaml")]
    assert len(roots) > 5
    assert len(files) > 60
    for path in files:
        roots |= set(targets_of(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
    held = {module.split(".")[1] for module in code_behind(roots, [])}
    assert held == ROOMS


def trained(outputs: Path, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    """Stages that were not reused, and the student's test metrics."""
    found = experiment(outputs, checkpoint_every=100, **changes).run()
    metrics: dict[str, Any] = found.records["distill"]["metrics"]
    return [stage for stage, record in found.records.items() if not record["reused"]], metrics


def test_one_more_metric_is_measured_and_trains_nothing(tmp_path: Path) -> None:
    stages, metrics = trained(tmp_path)
    assert stages == ["teacher", "baseline", "pretrain", "distill"]
    assert "f1" not in metrics
    again, measured = trained(tmp_path, task__metrics__f1=F1)
    assert again == []
    assert 0 <= measured.pop("f1") <= 1
    assert measured == metrics
    chosen, _ = trained(tmp_path, task__monitor="accuracy", task__metrics__f1=F1)
    assert chosen == stages, "the control: what chooses the weights counts"


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_f1"])
def test_a_metric_that_may_stop_a_training_counts(monitor: str, tmp_path: Path) -> None:
    stop = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": monitor, "mode": "max", "patience": 9}
    metrics = {"task__metrics__f1": F1, "callbacks": {"stop": stop}}
    changed = {**metrics, f"task__metrics__{monitor.removeprefix('val_')}": {**F1, "top_k": 1}}
    keys = {experiment(tmp_path, **changes).stage("teacher").key for changes in (metrics, changed)}
    assert len(keys) == 2


def test_where_rows_lie_is_in_no_key_and_changes_no_result(tmp_path: Path) -> None:
    stages, metrics = trained(tmp_path / "memory", data__memory_map_above=None)
    others, mapped = trained(tmp_path / "files", data__memory_map_above=0)
    assert (stages, metrics) == (others, mapped)
    kept = [
        path.read_bytes()
        for name in ("memory", "files")
        for path in (tmp_path / name / "store" / "distill").glob("*/weights.safetensors")
    ]
    assert len(kept) == 2
    assert kept[0] == kept[1]
    again, _ = trained(tmp_path / "memory", data__memory_map_above="1 kB")
    assert again == []
    dataset = experiment(tmp_path / "memory", data__memory_map_above="1 kB").builder.dataset
    assert isinstance(dataset.prepared.splits["train"].column("inputs"), Mapped), "the control: they were mapped"


@pytest.mark.parametrize("odd", ["much", True, "1 GB or so"])
def test_a_size_that_is_none_is_refused(odd: Any, tmp_path: Path) -> None:
    message = f"data.memory_map_above='{odd}': a number with B, KB.* as in 10GB; null = never"
    with pytest.raises(ConfigError, match=message):
        experiment(tmp_path, data__memory_map_above=odd)


def test_a_test_record_depends_on_the_code_that_measures_it_and_no_training_does() -> None:
    measuring = measure_test.__module__
    assert measuring in code_behind(stage_keys.TEST_CODE, [])
    trainings = {code for name, code in vars(stage_keys).items() if name.endswith("_CODE") and name != "TEST_CODE"}
    assert len(trainings) > 4
    assert all(measuring not in code_behind(code, []) for code in trainings)
