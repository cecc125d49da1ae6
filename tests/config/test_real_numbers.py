"""A number is one setting however it is written: which ones become floats, and that nothing is trained twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.config.real_numbers import with_real_numbers
from tests.support.cli import DIGITS, kd, settings_of

REAL = (
    "temperature",
    "alpha",
    "loss.kd.weight",
    "loss.kd.temperature",
    "student.optimizer.lr",
    "teacher.optimizer.weight_decay",
    "student.scheduler.start",
    "student.hard_loss.tau",
    "annealing.temperature.end",
    "student.model.dropout",
    "task.label_smoothing",
)
GROUPS = ("hard_loss=logit_adjusted", "annealing=temperature", "student=mlp")
MLPS = (*DIGITS, "teacher=mlp", "student=mlp_tiny")


def written(kind: type) -> dict[str, Any]:
    return settings_of("experiment=digits", *GROUPS, *(f"{name}={kind(1)}" for name in REAL))


def test_both_ways_to_write_a_number_are_the_same_settings() -> None:
    whole, real = written(int), written(float)
    assert json.dumps(whole) != json.dumps(real)  # which is what keys are made of
    assert json.dumps(with_real_numbers(whole)) == json.dumps(with_real_numbers(real)) == json.dumps(real)


def test_what_takes_whole_numbers_keeps_them() -> None:
    settings = settings_of("experiment=digits", "trainer.gradient_clip_val=1", "+vars.note=1")
    found = with_real_numbers(settings)
    assert json.dumps(found) == json.dumps(settings)
    assert type(found["trainer"]["gradient_clip_val"]) is int  # Lightning takes either
    assert type(found["teacher"]["steps"]) is type(found["seed"]) is type(found["vars"]["note"]) is int


def test_a_run_whose_numbers_are_written_otherwise_trains_nothing_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for kind in (int, float):
        words = (f"temperature={kind(4)}", f"optimizer.lr={kind(1)}", f"loss.kd.weight={kind(1)}")
        assert kd(capsys, "run", *MLPS, *words, f"outputs={tmp_path}").code == 0
    for stage in ("teacher", "baseline", "pretrain", "distill"):
        assert len(list((tmp_path / "store" / stage).glob("*/status.json"))) == 1
