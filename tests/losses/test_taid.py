"""TAID: the teacher's share over a stage, its buffers in checkpoints, and who tells it how far the stage has come."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.interpolated import InterpolatedCrossEntropy
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.taid import TAID
from kd_lightning.types import Outputs
from tests.losses.functional.test_chunked import SOME, head, teacher_head
from tests.losses.test_formulas import example
from tests.support.processes import FSDP, in_two
from tests.training.test_distillation import STEPS, At, data, distilling, fit
from tests.training.test_resume import Stop, StopAfter, run, stored


def naive_shares(values: list[float], start: float, end: float, alpha: float, beta: float) -> list[float]:
    """Algorithm 1 of the paper: the share in use at each step."""
    share, momentum, shares = start, 0.0, []
    for step, value in enumerate(values):
        shares.append(share)
        if step:
            momentum = beta * momentum + (1 - beta) * (values[step - 1] - value) / values[step - 1]
            moved = share + alpha / (1 + math.exp(-momentum)) * (1 - share)
            share = min(end, max(start + (end - start) * step / len(values), moved))
    return shares


VALUES = [3.0, 2.5, 2.6, 1.0, 1.5, 0.5, 0.4, 0.1, 0.3, 0.2]


def shares(loss: TAID, values: list[float] = VALUES) -> list[float]:
    found = []
    for step, value in enumerate(values):
        found.append(loss.share.item())
        loss.advance(step / len(values), torch.tensor(value))
    return found


@pytest.mark.parametrize("setting", [(0.4, 1.0, 5e-4, 0.99), (0.2, 0.9, 0.5, 0.5), (0.0, 1.0, 1.0, 0.0)])
def test_shares_are_those_of_the_algorithm(setting: tuple[float, float, float, float]) -> None:
    found = shares(TAID(*setting))
    assert found == pytest.approx(naive_shares(VALUES, *setting), abs=1e-6)
    assert found == sorted(found)
    assert found[-1] <= setting[1]


def test_without_adaptive_steps_it_is_a_straight_line() -> None:
    found = shares(TAID(0.4, 1.0, alpha=0.0))
    assert found[2:] == pytest.approx([0.4 + 0.6 * step / 10 for step in range(1, 9)])


def test_a_batch_in_which_nothing_counts_moves_the_share_along_the_line_alone() -> None:
    loss = TAID(0.4, 1.0, alpha=0.1)
    for step, value in enumerate((3.0, 2.5)):
        loss.advance(step / 10, torch.tensor(value))
    before = {name: tensor.item() for name, tensor in loss.state_dict().items()}
    loss.advance(0.2, torch.tensor(0.0))
    after = {name: tensor.item() for name, tensor in loss.state_dict().items()}
    assert after == before | {"share": pytest.approx(max(before["share"], 0.4 + 0.6 * 0.2))}
    loss.advance(0.9, torch.tensor(0.0))
    assert loss.share.item() == pytest.approx(0.4 + 0.6 * 0.9)
    first = TAID(0.4)
    first.advance(0.0, torch.tensor(0.0))
    assert first.last.isinf()  # there is no value yet


def test_from_a_share_of_zero_the_momentum_stays_small() -> None:
    """The KL divergence would be 0 there, and its relative change without bounds."""
    loss = TAID(start=0.0, alpha=0.1)
    student, teacher, aligned = example((7, 5))
    value = loss(Outputs(student), Outputs(teacher), aligned, 1.0)
    probs = student[aligned.mask].softmax(-1)
    assert value.item() == pytest.approx(
        -(probs * probs.log()).sum(-1).mean().item(), abs=1e-9
    )  # the student's entropy
    for step in range(10):
        loss.advance(step / 10, loss(Outputs(student), Outputs(teacher), aligned, 1.0))
    assert loss.momentum.abs() < 1
    assert loss.share > 0.5


def test_forward_changes_nothing() -> None:
    loss = TAID()
    student, teacher, aligned = example((7, 5))
    before = copy.deepcopy(loss.state_dict())
    values = [loss(Outputs(student), Outputs(teacher), aligned, 2.0) for _ in range(2)]
    assert values[0] == values[1]
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())
    loss.advance(0.0, values[0])
    loss.advance(0.5, values[0] / 2)
    assert loss(Outputs(student), Outputs(teacher), aligned, 2.0) > values[0]


def learn(loss: TAID, student: Tensor, first: int, last: int) -> list[float]:
    """Steps of a student that is a table of logits; the values."""
    _, teacher, aligned = example((7, 5))
    values = []
    for step in range(first, last):
        value = loss(Outputs(student), Outputs(teacher), aligned, 2.0)
        student.grad = None
        value.backward()
        assert student.grad is not None
        with torch.no_grad():
            student -= student.grad
        loss.advance(step / 10, value.detach())
        values.append(value.item())
    return values


def test_its_state_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = (TAID(0.3, 1.0, alpha=0.1) for _ in range(2))
    student, other = (example((7, 5))[0].requires_grad_() for _ in range(2))
    expected = learn(whole, student, 0, 10)
    found = learn(parts, other, 0, 4)
    torch.save(parts.state_dict(), tmp_path / "state")
    resumed = TAID(0.3, 1.0, alpha=0.1)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert found + learn(resumed, other, 4, 10) == expected
    assert torch.equal(student, other)
    forgetful = example((7, 5))[0].requires_grad_()
    assert learn(TAID(0.3, 1.0, alpha=0.1), forgetful, 0, 4) + learn(TAID(0.3, 1.0), forgetful, 4, 10) != expected


def test_by_chunks_of_rows_it_has_the_same_value() -> None:
    loss = TAID(0.3)
    student, teacher = head(), teacher_head()
    term = loss.soft_term(2.0, 1.0)
    assert term is not None
    assert isinstance(term.divergence, InterpolatedCrossEntropy)
    found = chunked_loss(student, teacher, SOME, None, [term], rows=3).total
    args: Any = Outputs(student.dense()), Outputs(teacher.dense()), example((7, 5))[2]
    args[2].mask.copy_(SOME)
    torch.testing.assert_close(found, loss(*args, 2.0))
    assert TAID(standardize=True).soft_term(2.0, 1.0) is None


class Watch(TAID):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[float, float]] = []

    def advance(self, progress: float, value: Tensor) -> None:
        assert not value.requires_grad
        self.told.append((progress, value.item()))
        super().advance(progress, value)


def test_the_module_tells_it_of_every_batch_and_keeps_its_state(tmp_path: Path) -> None:
    watch, terms = Watch(), []
    module = distilling(soft_losses={"taid": watch})
    fit(module, data(), tmp_path, *(At(step, lambda m: terms.append(dict(m.terms))) for step in range(1, STEPS)))
    assert [progress for progress, _ in watch.told] == pytest.approx([step / STEPS for step in range(STEPS)])
    assert [value for _, value in watch.told][:-1] == [each["taid"].item() for each in terms]
    assert watch.share > 0.9
    state = module.state_dict()
    assert {"soft_losses.taid.share", "soft_losses.taid.momentum", "soft_losses.taid.last"} <= set(state)
    assert state["soft_losses.taid.share"] == watch.share


def test_a_run_that_was_stopped_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    """In the distill stage, whose batches are all that the adaptive steps know."""
    node = {"_target_": "kd_lightning.losses.logits.taid.TAID", "alpha": 0.5, "beta": 0.5}
    run(tmp_path / "whole", loss={"taid": node})
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(12 + 10 + 4 + 3)], loss={"taid": node})
    run(tmp_path / "parts", loss={"taid": node})
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


class Diary(TAID):
    """Writes down the values of its own process, and the shares."""

    def __init__(self, folder: str) -> None:
        super().__init__(alpha=0.5, beta=0.5)
        self.folder = Path(folder)

    def advance(self, progress: float, value: Tensor) -> None:
        super().advance(progress, value)
        with (self.folder / f"process-{dist.get_rank()}").open("a") as file:
            file.write(f"{value.item()} {self.share.item()}\n")


@pytest.mark.full
def test_processes_agree_on_the_share(tmp_path: Path) -> None:
    """With FSDP, which unlike DDP hands no buffers out."""
    node = {"_target_": "tests.losses.test_taid.Diary", "folder": str(tmp_path)}
    run(tmp_path / "run", loss={"taid": node}, **in_two(FSDP))
    pages = [[line.split() for line in (tmp_path / f"process-{n}").read_text().splitlines()] for n in (0, 1)]
    (first, shares), (second, others) = ([[line[i] for line in page] for i in (0, 1)] for page in pages)
    assert len(shares) == 10
    assert shares == others
    assert first != second  # the control: their values are their own


@pytest.mark.parametrize(
    "setting",
    [{"start": -0.1}, {"start": 0.5, "end": 0.5}, {"end": 1.1}, {"alpha": -1.0}, {"beta": 1.0}, {"start": math.nan}],
)
def test_numbers_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"loss\.taid"):
        TAID(**setting)


def test_the_mean_is_over_what_counts() -> None:
    student, teacher, aligned = example((7, 5))
    found = TAID(0.3)(Outputs(student), Outputs(teacher), aligned, 1.0)
    divergence = InterpolatedCrossEntropy(0.3)
    by_position = divergence.value(teacher.log_softmax(-1), student.log_softmax(-1))
    torch.testing.assert_close(found, masked_mean(by_position, aligned.mask))
