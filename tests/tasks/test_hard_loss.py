"""Logit-adjusted and class-weighted hard losses against the papers' formulas, in every way in which they are computed."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.tasks.base import CountsClasses
from kd_lightning.tasks.hard_loss import EffectiveNumber, HardLoss, LogitAdjusted
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import Batch, LinearLogits
from tests.tasks.test_position import CLASSES, SHAPES, counted, example, task

CLASS_ROWS = [60, 3, 0, 11, 1]
KINDS = {
    "logit_adjusted": LogitAdjusted(),
    "tau 2": LogitAdjusted(2.0),
    "effective_number": EffectiveNumber(),
    "beta 0.9": EffectiveNumber(0.9),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def changed(kind: HardLoss, **changes: object) -> PositionTask:
    return task(**changes).with_hard_loss(kind, torch.tensor(CLASS_ROWS))


def naive(kind: HardLoss, logits: Tensor, batch: Batch, smoothing: float = 0.0) -> float:
    """Mean over the positions that count, with loops over Python numbers."""
    known = [max(rows, 1) for rows in CLASS_ROWS]
    tau = getattr(kind, "tau", 0.0)
    offsets = [tau * math.log(rows / sum(known)) for rows in known]
    weights = [1.0] * CLASSES
    if isinstance(kind, EffectiveNumber):
        inverse = [(1 - kind.beta) / (1 - kind.beta**rows) for rows in known]
        weights = [CLASSES * each / math.fsum(inverse) for each in inverse]
    values = []
    for at in counted(batch):
        row = [value + offset for value, offset in zip(logits[at].tolist(), offsets, strict=True)]
        whole = math.log(math.fsum(math.exp(value) for value in row))
        target = int(batch["targets"][at])
        soft = [(1 - smoothing) * (c == target) + smoothing / CLASSES for c in range(CLASSES)]
        values.append(
            weights[target] * math.fsum(share * (whole - value) for share, value in zip(soft, row, strict=True))
        )
    return math.fsum(values) / len(values)


@every_kind
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_is_the_formula_of_the_paper(kind: str, shape: tuple[int, ...], smoothing: float) -> None:
    logits, batch = example(shape)
    one = changed(KINDS[kind], label_smoothing=smoothing)
    found = one.loss(logits, one.align(batch, logits), batch)
    assert found.item() == pytest.approx(naive(KINDS[kind], logits, batch, smoothing), rel=1e-9)


@every_kind
def test_gradients_agree_with_finite_differences_and_what_does_not_count_gets_none(kind: str) -> None:
    logits, batch = example((3, 4))
    one = changed(KINDS[kind])
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: one.loss(logits, one.align(batch, logits), batch), logits)
    (gradient,) = torch.autograd.grad(one.loss(logits, one.align(batch, logits), batch), logits)
    flags = batch["mask"] & batch["labeled"][:, None]
    assert not gradient[~flags].any()
    garbage = {**batch, "targets": batch["targets"].masked_fill(~flags, 10**6)}
    assert torch.equal(
        one.loss(logits, one.align(garbage, logits), garbage), one.loss(logits, one.align(batch, logits), batch)
    )


@every_kind
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [2, 100])
def test_by_chunks_it_is_the_same(kind: str, smoothing: float, rows: int) -> None:
    logits, batch = example((3, 4))
    one = changed(KINDS[kind], label_smoothing=smoothing)
    generator = torch.Generator().manual_seed(3)
    hidden, weight = (torch.randn(*size, 6, dtype=torch.float64, generator=generator) for size in ((3, 4), (CLASSES,)))
    student = LinearLogits(hidden.requires_grad_(), weight.requires_grad_())
    aligned = one.align(batch, logits)
    found = chunked_loss(student, None, aligned.mask, one.hard_term(aligned, 0.3), rows=rows)
    expected = one.loss(student.dense(), aligned, batch)
    torch.testing.assert_close(found.hard, expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.total, 0.3 * expected, rtol=1e-9, atol=1e-12)
    mine, theirs = (torch.autograd.grad(value, (hidden, weight)) for value in (found.total, 0.3 * expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@every_kind
def test_extreme_logits_are_finite_whole_and_by_chunks(kind: str) -> None:
    logits, batch = example((3, 4))
    one = changed(KINDS[kind])
    wild = (logits.sign() * 1e4).float()
    aligned = one.align(batch, wild)
    whole = one.loss(wild, aligned, batch)
    chunked = chunked_loss(
        LinearLogits(wild, torch.eye(CLASSES)), None, aligned.mask, one.hard_term(aligned, 1.0), rows=5
    )
    assert whole.isfinite()
    torch.testing.assert_close(chunked.hard, whole)


def test_a_student_that_knows_the_prior_alone_learns_to_say_nothing() -> None:
    """What logit adjustment is for: the trained logits have no preference for frequent classes."""
    rows = torch.tensor(CLASS_ROWS).clamp(min=1)
    targets = torch.repeat_interleave(torch.arange(CLASSES), rows)
    batch = {"inputs": targets, "targets": targets, "index": torch.arange(len(targets))}
    logits = torch.zeros(len(targets), CLASSES, dtype=torch.float64, requires_grad=True)
    one, plain = changed(LogitAdjusted()), task()
    gradients = [
        torch.autograd.grad(each.loss(logits, each.align(batch, logits), batch), logits)[0].sum(0)
        for each in (one, plain)
    ]
    assert gradients[0].abs().max() < 1e-12
    assert gradients[1].abs().max() > 0.1


@every_kind
def test_the_first_task_stays_plain_and_the_other_travels(kind: str) -> None:
    logits, batch = example((3, 4))
    plain = task()
    one = plain.with_hard_loss(KINDS[kind], torch.tensor(CLASS_ROWS))
    values = [each.loss(logits, each.align(batch, logits), batch) for each in (plain, task(), one)]
    assert values[0] == values[1] != values[2]
    again = pickle.loads(pickle.dumps(one))
    assert again.loss(logits, again.align(batch, logits), batch) == values[2]
    assert isinstance(plain, CountsClasses)


def test_metrics_read_the_logits_as_they_are() -> None:
    logits, batch = example((3, 4))
    found = []
    for one in (task(), changed(LogitAdjusted(3.0))):
        metrics = one.metrics()
        one.update(metrics, logits, one.align(batch, logits), batch)
        found.append({name: value.item() for name, value in metrics.compute().items()})
    assert found[0] == found[1]


def test_ends_are_plain_cross_entropy() -> None:
    logits, batch = example((3, 4))
    plain = task().loss(logits, task().align(batch, logits), batch)
    for kind in (LogitAdjusted(0.0), EffectiveNumber(0.0)):
        torch.testing.assert_close(changed(kind).loss(logits, task().align(batch, logits), batch), plain)


def test_many_students_at_once_have_the_loss_of_each() -> None:
    logits, batch = example((6,))
    many = torch.stack([logits, 2 * logits, -logits])
    for kind in KINDS.values():
        one = changed(kind)
        aligned = one.align(batch, logits)
        found = torch.func.vmap(lambda own, one=one, aligned=aligned: one.loss(own, aligned, batch))(many)
        torch.testing.assert_close(found, torch.stack([one.loss(own, aligned, batch) for own in many]))


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: LogitAdjusted(-1.0), "tau=-1.0"),
        (lambda: LogitAdjusted(math.inf), "tau=inf"),
        (lambda: EffectiveNumber(1.0), "beta=1.0"),
        (lambda: EffectiveNumber(-0.1), "beta=-0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(build: object, setting: str) -> None:
    with pytest.raises(ConfigError, match=setting):
        build()  # type: ignore[operator]


def test_control_a_network_is_no_task_that_counts_classes() -> None:
    assert not isinstance(nn.Linear(1, 1), CountsClasses)
