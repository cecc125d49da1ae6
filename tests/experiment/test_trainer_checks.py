"""Trainer settings that would start the command again, or compute something else than asked for, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import ConfigError
from tests.support.cli import DIGITS, kd, settings_of
from tests.support.processes import in_two
from tests.support.tiny import experiment


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__devices": 2},
        {"trainer__devices": 2, "trainer__strategy": "ddp"},
        {"trainer__devices": 2, "trainer__strategy": "ddp_spawn"},
        {"trainer__devices": 2, "trainer__strategy": "ddp_find_unused_parameters_true"},
        {"trainer__devices": 1, "trainer__strategy": "ddp"},
        {
            "trainer__devices": 2,
            "trainer__strategy": {"_target_": "pytorch_lightning.strategies.ModelParallelStrategy"},
        },
    ],
)
def test_what_starts_the_command_again_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use trainer=ddp or trainer=fsdp") as caught:
        experiment(tmp_path, **changes).check()
    assert "\n" not in str(caught.value)
    assert f"trainer.devices={changes['trainer__devices']}" in str(caught.value)


def test_several_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.num_nodes=2: .* one machine"):
        experiment(tmp_path, **in_two(), trainer__num_nodes=2).check()


def test_what_starts_only_its_own_processes_passes(tmp_path: Path) -> None:
    experiment(tmp_path, **in_two()).check()


def test_a_command_that_was_started_several_times_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2: .* start it once, with trainer=ddp trainer.devices=2"):
        experiment(tmp_path).check()
    monkeypatch.setenv("WORLD_SIZE", "1")
    experiment(tmp_path).check()


def test_float16_on_the_cpu_is_refused_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"16-mixed does not work on the cpu: use trainer.precision=bf16-mixed"):
        experiment(tmp_path, trainer__precision="16-mixed").check()


def test_rows_that_do_not_divide_over_the_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.batch_size=9 does not divide over 2 devices"):
        experiment(tmp_path, **in_two(), data__batch_size=9).check()


@pytest.mark.parametrize("choice", ["ddp", "fsdp"])
def test_each_choice_is_built_anew_for_each_training(choice: str, tmp_path: Path) -> None:
    settings = settings_of(*DIGITS, f"trainer={choice}")
    one = experiment(tmp_path, trainer__strategy=settings["trainer"]["strategy"], trainer__devices=2)
    trainers = [one.builder.trainer.trainer(logger=False) for _ in range(2)]
    assert trainers[0].strategy is not trainers[1].strategy
    assert trainers[0].world_size == 2


def test_the_command_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "run", *DIGITS, "trainer.devices=2", f"outputs={tmp_path}")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "kd: ConfigError: trainer.devices=2 with trainer.strategy=auto starts the whole command again for each device: "
        "use trainer=ddp or trainer=fsdp, and trainer.devices with it"
    ]
