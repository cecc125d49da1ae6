"""The soft-target loss: the formula over a masked batch, and whose temperature counts."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.logits.kd import KD
from kd_lightning.types import Aligned, Outputs


def example() -> tuple[Outputs, Outputs, Aligned]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 4, 5, dtype=torch.float64, generator=generator) * 2 for _ in range(2))
    mask = torch.rand(3, 4, generator=generator) < 0.7
    return Outputs(student), Outputs(teacher), Aligned(None, mask, torch.zeros_like(mask))


def naive(student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> float:
    """Mean over the counted positions of T^2 * sum_c p_c log(p_c / q_c)."""
    values = []
    for row in range(3):
        for position in range(4):
            if not aligned.mask[row, position]:
                continue
            probs = []
            for logits in (teacher.logits, student.logits):
                powers = [math.exp(value / temperature) for value in logits[row, position].tolist()]
                probs.append([power / math.fsum(powers) for power in powers])
            values.append(temperature**2 * math.fsum(p * math.log(p / q) for p, q in zip(*probs, strict=True)))
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_value_is_the_formula_of_the_paper(temperature: float) -> None:
    student, teacher, aligned = example()
    assert 0 < aligned.mask.sum() < 12
    found = KD()(student, teacher, aligned, temperature)
    assert found.item() == pytest.approx(naive(student, teacher, aligned, temperature), abs=1e-10)


def test_a_pinned_temperature_wins_over_the_runs() -> None:
    student, teacher, aligned = example()
    pinned = KD(temperature=4.0)
    assert pinned(student, teacher, aligned, 1.0) == pinned(student, teacher, aligned, 2.0)
    assert pinned(student, teacher, aligned, 1.0) == KD()(student, teacher, aligned, 4.0)
    assert KD()(student, teacher, aligned, 1.0) != KD()(student, teacher, aligned, 2.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_not_possible_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match=f"temperature={temperature}"):
        KD(temperature=temperature)


def test_it_owns_no_parameters_and_taps_nothing() -> None:
    assert list(KD().parameters()) == []
    assert KD().taps == {}
    assert KD(weight=0.3).weight == 0.3
