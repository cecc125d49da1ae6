"""Students that share a teacher's softmax get, bit for bit, what each would get alone; and it is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.losses.functional.chunked.tempered_rows import BITS, TemperedRows
from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
from kd_lightning.types import DenseLogits, LinearLogits, Logits
from tests.losses.functional.test_chunked import DIVERGENCES, SOME, flags, head, targets, teacher_head

PLENTY = 2**30
TEMPERATURES = (2.0, 3.0)


@dataclass(frozen=True)
class Counted:
    """Logits that note which rows were asked for."""

    source: Logits
    asked: list[tuple[int, int, float]] = field(default_factory=list)

    def dense(self) -> Tensor:
        return self.source.dense()

    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        self.asked.append((start, stop, scale))
        return self.source.rows(start, stop, scale, out)

    def zeroed(self, mask: Tensor) -> Counted:
        return Counted(self.source.zeroed(mask), self.asked)


def learn(teacher: Logits, mask: Tensor = SOME) -> list[Tensor]:
    """All values and gradients of several students that learn one after the other from the same logits."""
    found: list[Tensor] = []
    for number, divergence in enumerate(DIVERGENCES):
        student = head()
        student = LinearLogits(student.hidden.detach() * (1 + number), student.weight, student.bias)
        student.hidden.requires_grad_()
        hard = HardTerm(targets(), SOME, 0.3)
        terms = [SoftTerm(divergence, temperature, 0.5) for temperature in TEMPERATURES]
        loss = chunked_loss(student, teacher, mask.clone(), hard, terms, rows=3)
        assert student.bias is not None
        found += [loss.total, loss.hard, *loss.soft]
        found += torch.autograd.grad(loss.total, [student.hidden, student.weight, student.bias])
    return found


def dense() -> Logits:
    return DenseLogits(teacher_head().dense())


@pytest.mark.parametrize("make", [teacher_head, dense])
@pytest.mark.parametrize("budget", [0, 1500, PLENTY])
def test_nothing_changes_and_what_the_budget_allows_is_made_once(make: Callable[[], Logits], budget: int) -> None:
    alone = Counted(make())
    expected = learn(alone)
    counted = Counted(make())
    shared = SharedRows(counted, budget)
    for one, other in zip(learn(shared), expected, strict=True):
        assert torch.equal(one, other)
    once, always = len(set(alone.asked)), len(alone.asked)
    assert (once, always) == (6, 6 * len(DIVERGENCES))
    asked = len(counted.asked)
    assert asked == {0: always, PLENTY: once}.get(budget, asked)
    assert budget != 1500 or once < asked < always
    assert shared.zeroed(SOME).bytes <= budget


def test_another_mask_gets_rows_of_its_own() -> None:
    taught = teacher_head()
    taught.hidden[1] = torch.nan  # where SOME does not count
    shared = SharedRows(taught, PLENTY)
    first = learn(shared)
    other = flags(0, 0, 1, 1, 0, 1, 0)
    for one, expected in zip(learn(shared, other), learn(taught, other), strict=True):
        assert torch.equal(one, expected)
    for one, expected in zip(learn(shared), first, strict=True):
        assert torch.equal(one, expected)
    assert all(torch.isfinite(value).all() for value in first)


def test_products_of_another_precision_are_not_mixed_up() -> None:
    shared = SharedRows(teacher_head(torch.float32), PLENTY)
    student, terms = head(dtype=torch.float32), [SoftTerm(DIVERGENCES[0], 2.0, 1.0)]

    def value(teacher: Logits, narrow: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            return chunked_loss(student, teacher, SOME, None, terms).total

    found = [value(shared, narrow) for narrow in (False, True, False)]
    assert found == [value(teacher_head(torch.float32), narrow) for narrow in (False, True, False)]
    assert found[0] != found[1]


def test_nobody_writes_into_what_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kept tensor is as it was when it was made, after all divergences have used it."""
    made: list[tuple[TemperedRows, list[Tensor]]] = []
    of = TemperedRows.of_bits

    def noted(scaled_logits: Tensor, out: Tensor | None = None) -> TemperedRows:
        rows = of(scaled_logits, out)
        if out is not None:  # a student's, in buffers of its own
            return rows
        made.append((rows, [rows.bits.clone(), rows.powers.clone(), rows.sums.clone()]))
        return rows

    monkeypatch.setattr(TemperedRows, "of_bits", staticmethod(noted))
    learn(SharedRows(teacher_head(), PLENTY))
    assert len(made) == 3 * len(TEMPERATURES)
    for rows, copies in made:
        for tensor, copy in zip((rows.bits, rows.powers, rows.sums), copies, strict=True):
            assert torch.equal(tensor, copy)


def test_whole_logits_are_those_of_the_source() -> None:
    source: Any = teacher_head()
    shared = SharedRows(source, PLENTY)
    assert torch.equal(shared.dense(), source.dense())
    assert torch.equal(shared.rows(2, 5, 0.5), source.rows(2, 5, 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("first", [3.0, 0.5])
def test_one_product_serves_temperatures_a_power_of_two_apart(dtype: torch.dtype, first: float) -> None:
    torch.manual_seed(0)
    linear = LinearLogits(torch.randn(5, 7, dtype=dtype), torch.randn(11, 7, dtype=dtype), torch.randn(11, dtype=dtype))
    counted = Counted(linear)
    shared = SharedRows(counted, PLENTY)
    for temperature in (first, 2 * first, 8 * first, first / 4):
        found = shared.tempered(0, 5, temperature, None)
        wanted = TemperedRows.of_bits(linear.rows(0, 5, BITS / temperature))
        for mine, theirs in ((found.bits, wanted.bits), (found.powers, wanted.powers), (found.dots, wanted.dots)):
            assert torch.equal(mine, theirs)
    assert len(counted.asked) == 1
    shared.tempered(0, 5, 1.5 * first, None)
    assert len(counted.asked) == 2
