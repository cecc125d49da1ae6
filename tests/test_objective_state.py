"""What objectives have learnt in pre-training goes on into distillation, and into no exported student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny import experiment
from tests.test_cohort import side_by_side
from tests.test_resume import Stop, StopAfter, run, stored

PAIR = [{"student": "first", "teacher": "first"}]
HINT = {"_target_": "kd_lightning.objectives.hint.Hint", "match": PAIR, "weight": 1.0}
TAID = {"_target_": "kd_lightning.objectives.taid.TAID"}
CHANGES: dict[str, Any] = {"objective__hint": HINT, "objective__taid": TAID}


def test_distillation_goes_on_from_the_projections_of_pre_training(tmp_path: Path) -> None:
    one = experiment(tmp_path, **CHANGES)
    one.run()
    entry = one.entries["pretrain"]
    learnt = load_file(entry.path("objective.safetensors"))
    assert entry.problem() is None
    module = one.distillation().module()
    fresh = one.recipe.objective()
    for name, tensor in module.objective["hint"].state_dict().items():
        assert torch.equal(tensor, learnt[f"hint.{name}"])
        assert not torch.equal(tensor, fresh["hint"].state_dict()[name])
    # What follows the progress of a stage begins anew.
    assert all(name.startswith("hint.") for name in learnt)
    assert module.objective["taid"].share == fresh["taid"].share
    # The last stage hands nothing on, and students are students.
    assert not one.entries["distill"].path("objective.safetensors").exists()
    student = set(one.recipe.network("student").state_dict())
    assert all(
        set(load_file(one.entries[stage].path("weights.safetensors"))) == student for stage in ("pretrain", "distill")
    )


def test_where_nothing_is_learnt_nothing_is_kept(tmp_path: Path) -> None:
    one = experiment(tmp_path, steps__teacher=1, steps__student=2, steps__pretrain=1)
    one.run()
    assert sorted(path.name for path in one.entries["pretrain"].folder.iterdir()) == [
        "description.json",
        "metrics.csv",
        "result.json",
        "status.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("steps", [1 + 8 + 3, 1 + 8 + 6], ids=["in pre-training", "in distillation"])
def test_a_stopped_run_ends_the_same(tmp_path: Path, steps: int) -> None:
    changes = {**CHANGES, "steps__teacher": 1, "steps__student": 8, "steps__pretrain": 4, "validate_every": 2}
    run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", [StopAfter(steps)], **changes)
    run(tmp_path / "stopped", **changes)
    assert stored(tmp_path / "stopped") == stored(tmp_path / "whole")


@pytest.mark.parametrize("stage", ["pretrain", "distill"])
def test_made_again_it_is_the_same(tmp_path: Path, stage: str) -> None:
    one = experiment(tmp_path, **CHANGES)
    one.run()
    learnt = one.entries["pretrain"].path("objective.safetensors").read_bytes()
    before = stored(tmp_path)
    again = experiment(tmp_path, "again", force=[stage], **CHANGES)
    assert not again.run()["records"][stage]["reused"]
    assert stored(tmp_path) == before
    assert again.entries["pretrain"].path("objective.safetensors").read_bytes() == learnt


def test_in_a_cohort_it_is_that_of_separate_runs(tmp_path: Path) -> None:
    jobs = [{**CHANGES, "temperature": temperature} for temperature in (1.0, 2.0)]
    found, errors, _ = side_by_side(tmp_path / "together", jobs)
    assert errors == [None, None]
    for job, together in zip(jobs, found, strict=True):
        alone = experiment(tmp_path / "alone", **job)
        alone.run()
        for name, file in (("pretrain", "objective.safetensors"), ("distill", "weights.safetensors")):
            assert together.entries[name].path(file).read_bytes() == alone.entries[name].path(file).read_bytes()
