"""A run that is stopped at any step and started again ends bit for bit where it would have ended."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from kd_lightning.store import Entry
from kd_lightning.training.callbacks.checkpoints import Checkpoints, resume_files
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from tests.support.tiny import experiment

STAGES = ("teacher", "baseline", "pretrain", "distill")


class Stop(Exception):
    """The fault."""


class StopAfter(pl.Callback):
    """Raises at the end of one step of one training, counted over the whole run."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stop


class LastState(pl.Callback):
    """Keeps the optimizer's state as it is when a training ends."""

    def __init__(self, into: list[Any]) -> None:
        self.into = into

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.into.append(trainer.optimizers[0].state_dict())


def run(outputs: Path, callbacks: list[pl.Callback] | None = None, **changes: Any) -> list[Any]:
    """Run the tiny experiment; returns the optimizers' last states."""
    states: list[Any] = []
    one = experiment(outputs, **changes)
    # The property is cached: what is put in its place is what the stages use.
    one.builder.__dict__["trainer"] = replace(
        one.builder.trainer, callbacks=lambda: [*(callbacks or []), LastState(states)]
    )
    one.run()
    return states


def stored(outputs: Path) -> dict[str, bytes]:
    """All that the stages left, but for the wall-clock."""
    files = (outputs / "store").glob("*/*/*")
    return {
        f"{path.parent.parent.name}/{path.parent.name}/{path.name}": path.read_bytes()
        for path in files
        if path.name in ("weights.safetensors", "metrics.csv") and path.parent.parent.name in STAGES
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[Any]]:
    outputs = tmp_path_factory.mktemp("whole")
    states = run(outputs)
    return stored(outputs), states


TOTAL = 12 + 10 + 4 + 6


@pytest.mark.few(10)
@pytest.mark.parametrize("step", range(1, TOTAL))
def test_stopped_after_any_step_it_ends_the_same(
    step: int, uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(step)])
    states = run(tmp_path)
    whole, whole_states = uninterrupted
    assert stored(tmp_path) == whole
    assert_equal_states(states[-1], whole_states[-1])


@pytest.mark.parametrize("every", [3, 5])
def test_resume_points_may_be_rare_and_off_the_validations(
    every: int, uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path
) -> None:
    for step in (7, 4, 6, 9):  # stopped again and again
        with pytest.raises(Stop):
            run(tmp_path, [StopAfter(step)], checkpoint_every=every)
    run(tmp_path, checkpoint_every=every)
    assert stored(tmp_path) == uninterrupted[0]


def test_accumulated_batches_resume_as_well(tmp_path: Path) -> None:
    run(tmp_path / "whole", trainer__accumulate_grad_batches=2)
    for step in (9, 8, 15):
        with pytest.raises(Stop):
            run(tmp_path / "parts", [StopAfter(step)], trainer__accumulate_grad_batches=2)
    run(tmp_path / "parts", trainer__accumulate_grad_batches=2)
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


class Interrupt(StopAfter):
    """Ctrl-C at the beginning of a step."""

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_ctrl_c_is_a_keyboard_interrupt_and_can_be_resumed(
    uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [Interrupt(17)])
    assert signal.getsignal(signal.SIGINT) is handler
    run(tmp_path)
    assert stored(tmp_path) == uninterrupted[0]


class StopEarly(pl.Callback):
    """What EarlyStopping does, at its first validation."""

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = True


@pytest.mark.parametrize("where", ["stage", "finish"])
def test_killed_after_an_early_stop_it_does_not_train_on(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", [StopEarly()])

    def die(*_: Any) -> None:
        raise Stop

    # The data's entry is made by the whole run beside it.
    shutil.copytree(tmp_path / "whole" / "store" / "data", tmp_path / "parts" / "store" / "data")
    with monkeypatch.context() as fault:
        if where == "finish":  # trained, but the entry not yet whole
            fault.setattr(Entry, "finish", die)
        else:  # stopped early, but that not yet on record
            fault.setattr(Checkpoints, "on_train_end", die)
        with pytest.raises(Stop):
            run(tmp_path / "parts", [StopEarly()])
    run(tmp_path / "parts", [StopEarly()])
    (teacher,) = (tmp_path / "parts" / "store" / "teacher").glob("*/result.json")
    assert json.loads(teacher.read_text())["steps"] == 4
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


def test_a_damaged_resume_point_is_refused_and_the_one_before_it_serves(
    uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(9)])
    (folder,) = (tmp_path / "store" / "teacher").glob("*/")
    points = resume_files(folder)
    assert len(points) == 2
    content = bytearray(points[-1].read_bytes())
    content[len(content) // 2] ^= 1
    points[-1].write_bytes(content)
    one = experiment(tmp_path)
    one.run()
    assert any(points[-1].name in line and "refused" in line for line in one.context.board.lines)
    assert any(f"goes on from {points[-2].name}" in line for line in one.context.board.lines)
    assert stored(tmp_path) == uninterrupted[0]


def test_without_any_whole_resume_point_it_starts_again(
    uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(9)])
    for path in (tmp_path / "store").glob("teacher/*/resume-*.ckpt"):
        path.write_bytes(b"")
    run(tmp_path)
    assert stored(tmp_path) == uninterrupted[0]


def test_another_seed_is_another_result(uninterrupted: tuple[dict[str, bytes], list[Any]], tmp_path: Path) -> None:
    """The positive control of all of the above: the comparison can fail."""
    run(tmp_path, seed=1, teacher__seed=1)
    weights = {name: content for name, content in stored(tmp_path).items() if name.endswith("safetensors")}
    assert not set(weights.values()) & set(uninterrupted[0].values())


def test_a_checkpoint_holds_no_teacher_and_little_more_than_student_and_optimizer(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(TOTAL - 1)], student__model__width=4000, teacher__model__width=4001)
    (folder,) = (tmp_path / "store" / "distill").glob("*/")
    path = resume_files(folder)[-1]
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    assert set(checkpoint["state_dict"]) == {f"network.{name}" for name in load_file(next(folder.glob("best-*")))}
    assert not any(4001 in tensor.shape for tensor in checkpoint["state_dict"].values())
    state = checkpoint["optimizer_states"][0]["state"].values()
    tensors = [*checkpoint["state_dict"].values(), *(t for s in state for t in s.values() if torch.is_tensor(t))]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert path.stat().st_size <= 1.1 * size
    assert digest_path(path).is_file()


def assert_equal_states(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_states(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal_states(left, right)
    else:
        assert one == other
