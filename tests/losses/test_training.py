"""Each loss trains: alone, over 200 steps, its own value falls and the student comes to agree with the teacher."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.losses.base import Loss
from kd_lightning.types import Aligned, Outputs
from tests.losses.test_laws import NAMES, build

ROWS, FEATURES, CLASSES, STEPS = 256, 8, 6, 200
FALL, RISE, APART = 0.1, 0.25, 0.25
"""Bounds of the part of its value by which a loss falls, of what the agreement gains, and of the disagreement that is left;
at least twice as far as any of 20 starts (``python -m scripts.measure_training_margins``): they
fall by 0.236 (nkd) and more, gain 0.527 and more, and differ in 0.117 or less (binary_kd)."""
WITH_THE_HARD_LOSS = {"universal_logit"}
"""What teaches how sure to be, never of what."""
ON_LOGITS = [name for name in NAMES if not build(name).taps]


def teacher_and_rows() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, a teacher's logits for them, and its first choices as labels."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, FEATURES, generator=generator)
    first, second = (torch.randn(*shape, generator=generator) for shape in ((FEATURES, 16), (16, CLASSES)))
    logits = (inputs @ first / FEATURES**0.5).tanh() @ second
    return inputs, logits, logits.argmax(-1)


def train(criterion: Loss, hard: bool, start: int = 0) -> tuple[list[float], list[float]]:
    """Values and agreements before and after, from one of the student's starts."""
    inputs, logits, labels = teacher_and_rows()
    torch.manual_seed(1 + start)
    student = nn.Sequential(nn.Linear(FEATURES, 12), nn.Tanh(), nn.Linear(12, CLASSES))
    optimizer = torch.optim.Adam([*student.parameters(), *criterion.parameters()], lr=0.02)
    every = torch.ones(ROWS, dtype=torch.bool)

    def value(rows: Tensor) -> tuple[Tensor, Tensor]:
        said = student(inputs[rows])
        aligned = Aligned(labels[rows], every[rows], every[rows])
        return criterion(Outputs(said), Outputs(logits[rows]), aligned, 2.0), said

    values, agreements = [], []
    for step in range(STEPS + 1):
        if step in (0, STEPS):
            with torch.no_grad():
                whole, said = value(torch.arange(ROWS))
            values.append(whole.item())
            agreements.append((said.argmax(-1) == labels).float().mean().item())
        rows = torch.arange(step * 32, step * 32 + 32) % ROWS
        term, said = value(rows)
        loss = term + F.cross_entropy(said, labels[rows]) if hard else term
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        criterion.advance(step / (STEPS + 1), term.detach())
    return values, agreements


class Nothing(Loss):
    """Teaches nothing."""

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return 0 * student.logits.sum() + 1


@pytest.mark.few(10)
@pytest.mark.slow
@pytest.mark.parametrize("name", ON_LOGITS)
def test_it_trains(name: str) -> None:
    values, agreements = train(build(name).float(), name in WITH_THE_HARD_LOSS)
    assert values[1] < (1 - FALL) * values[0]
    assert agreements[1] > max(1 - APART, agreements[0] + RISE)


def test_what_does_not_train_is_found_out() -> None:
    """The positive control."""
    values, agreements = train(Nothing(), False)
    assert values[0] == values[1]
    assert agreements[1] < 1 - APART
