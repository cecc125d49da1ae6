"""Top-k logits against the definition in the head of their file, written with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.teachers.stored.topk_logits import LOG_PROB_FLOOR, MISSING_MASS, TopKLogits

CLASSES, K = 11, 3
SHAPE = (2, 4)


def teacher_log_probs() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(*SHAPE, CLASSES, generator=generator, dtype=torch.float64) * 2).log_softmax(-1)


def frequencies() -> Tensor:
    counts = torch.arange(1, CLASSES + 1, dtype=torch.float64)
    return counts / counts.sum()


def topk(missing: str, k: int = K) -> TopKLogits:
    top, classes = teacher_log_probs().topk(k, dim=-1)
    rest = (1 - top.exp().sum(-1, keepdim=True)).clamp(min=1e-12).log()
    return TopKLogits(classes, top.float(), rest.float(), MISSING_MASS[missing], CLASSES, frequencies())


def oracle(missing: str) -> list[list[float]]:
    """Probabilities at T = 1, position by position and class by class."""
    found = []
    for log_probs in teacher_log_probs().reshape(-1, CLASSES).tolist():
        order = sorted(range(CLASSES), key=lambda c: -log_probs[c])
        known, rest = order[:K], order[K:]
        mass = sum(math.exp(log_probs[c]) for c in known)
        row = [0.0] * CLASSES
        for c in known:
            row[c] = math.exp(log_probs[c]) / (mass if missing == "none" else 1.0)
        for c in rest:
            share = 1 / len(rest) if missing == "uniform" else frequencies()[c] / sum(frequencies()[r] for r in rest)
            row[c] = 0.0 if missing == "none" else float((1 - mass) * share)
        found.append(row)
    return found


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_probabilities_at_temperature_one_are_the_definition(missing: str) -> None:
    probs = topk(missing).dense().double().softmax(-1).reshape(-1, CLASSES)
    torch.testing.assert_close(probs, torch.tensor(oracle(missing), dtype=torch.float64), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("missing", MISSING_MASS)
@pytest.mark.parametrize("temperature", [1.0, 2.0, 100.0])
def test_at_any_temperature_the_logits_are_those_of_temperature_one(missing: str, temperature: float) -> None:
    logits = topk(missing)
    whole = logits.dense()
    assert whole.shape == (*SHAPE, CLASSES)
    assert whole.dtype == torch.float32
    assert whole.isfinite().all()
    rows = torch.cat([logits.rows(start, start + 4, 1 / temperature) for start in (0, 4)])
    torch.testing.assert_close(rows, whole.reshape(-1, CLASSES) / temperature)


def test_without_missing_mass_the_rest_has_none_even_when_it_is_hot() -> None:
    probs = topk("none").rows(0, 8, 1 / 100).softmax(-1)
    assert (probs > 1e-40).sum(-1).tolist() == [K] * 8
    assert float(topk("none").dense().amax() - topk("none").dense().amin()) < LOG_PROB_FLOOR + 100


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_all_classes_known_is_the_whole_teacher(missing: str) -> None:
    dense = topk(missing, CLASSES).dense()
    torch.testing.assert_close(dense.double().log_softmax(-1), teacher_log_probs(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_masked_positions_are_finite_and_the_others_unchanged(missing: str) -> None:
    clean = topk(missing)
    spoilt = TopKLogits(
        clean.classes, clean.log_probs.clone(), clean.log_missing.clone(), clean.missing, CLASSES, frequencies()
    )
    spoilt.log_probs[0, 1] = torch.nan
    spoilt.log_missing[0, 1] = torch.inf
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[0, 1] = False
    healed = spoilt.zeroed(mask).dense()
    assert healed.isfinite().all()
    assert torch.equal(healed[mask], clean.dense()[mask])


def test_rows_are_fresh() -> None:
    logits = topk("uniform")
    before = logits.dense()
    logits.rows(0, 8, 1.0).fill_(0)
    assert torch.equal(logits.dense(), before)
