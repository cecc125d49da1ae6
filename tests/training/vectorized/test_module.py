"""Stacked students, piece by piece: each piece against the same piece of one student alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.balanced_kd import BalancedKD
from kd_lightning.losses.logits.jsd import JSD
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.total_variation import TotalVariation
from kd_lightning.models.convnet import ConvNet
from kd_lightning.models.mlp import MLP
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.tasks.examples import ArrayExample, TokenExample
from kd_lightning.tasks.hard_loss import EffectiveNumber, HardLoss, LogitAdjusted
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.schedules import Linear
from kd_lightning.training.vectorized.losses import StackedLosses
from kd_lightning.training.vectorized.module import StackedModule, StackedNetwork, clip_each
from kd_lightning.training.vectorized.optimizer import ELEMENTWISE, Span, StackedOptimizer, joined_states, spans_of
from kd_lightning.training.vectorized.probe import fits_side_by_side, why_not_mapped
from kd_lightning.types import Batch, Outputs
from tests.support.rounding import tolerance

FEATURES, CLASSES, STEPS = 6, 3, 10


def task(label_smoothing: float = 0.0) -> PositionTask:
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    return PositionTask(CLASSES, metrics, "accuracy", ArrayExample([FEATURES]), label_smoothing=label_smoothing)


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return MLP(CLASSES, FEATURES, hidden=[5])


def member(
    soft_losses: dict[str, Loss] | None = None,
    alpha: Any = 0.7,
    temperature: Any = 2.0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    rate: float = 0.02,
    seed: int = 0,
    hard_loss: HardLoss | None = None,
) -> DistillationModule:
    return DistillationModule(
        student=net(seed),
        teacher=LiveTeacher(net(99), task()),
        task=task(0.1) if hard_loss is None else task(0.1).with_hard_loss(hard_loss, torch.tensor([40, 9, 2])),
        soft_losses=soft_losses or {"kd": KD()},
        alpha=alpha,
        temperature=temperature,
        steps=STEPS,
        optimizer=lambda parameters: optimizer(parameters, lr=rate),
        scheduler=Linear(1.0, 0.0),
        seed=3,
        total_steps=STEPS,
    )


def batch(rows: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": torch.randn(rows, FEATURES, generator=generator),
        "targets": torch.randint(CLASSES, (rows,), generator=generator),
        "index": torch.arange(rows),
        "labeled": torch.arange(rows) % 3 > 0,
        "mask": torch.arange(rows) % 5 > 0,
    }


def balanced(class_rows: list[int]) -> BalancedKD:
    term = BalancedKD()
    term.expect_classes(torch.tensor(class_rows))
    return term


class Branching(Loss):
    """Looks at its numbers, so that it cannot be mapped."""

    def forward(self, student: Any, teacher: Any, aligned: Any, temperature: float) -> Tensor:
        gap = masked_mean((student.logits - teacher.logits).square().mean(-1), aligned.mask)
        return gap * 2 if gap > 0 else gap


CASES = {
    "temperatures": [{"temperature": t, "alpha": a} for t, a in ((1.0, 0.2), (2.0, 0.5), (4.0, 0.9))],
    "one temperature": [{"alpha": a} for a in (0.2, 0.5)],
    "both ends": [{"alpha": a} for a in (0.0, 0.5, 1.0)],
    "labels alone": [{"alpha": 0.0}, {"alpha": 0.0, "temperature": 5.0}],
    "no labels": [{"alpha": 1.0}, {"alpha": 1.0, "temperature": 5.0}],
    "annealed": [{"alpha": Linear(1.0, 0.0), "temperature": Linear(4.0, 1.0)}, {"alpha": Linear(0.2, 0.4)}],
    "weights": [{"soft_losses": {"kd": KD(weight)}} for weight in (0.5, 2.0)],
    "losses": [
        {"soft_losses": {"kd": KD()}},
        {"soft_losses": {"b": TotalVariation(0.3), "kd": KD(temperature=3.0)}},
        {"soft_losses": {"b": TotalVariation(), "kd": KD()}, "temperature": 5.0},
        {"soft_losses": {"b": JSD(0.4)}},
    ],
    "logit-adjusted": [{"alpha": a, "hard_loss": LogitAdjusted()} for a in (0.2, 0.5)],
    "class weights": [{"alpha": a, "hard_loss": EffectiveNumber()} for a in (0.0, 0.5)],
    "balanced": [
        {"soft_losses": {"b": balanced([40, 9, 2])}},
        {"soft_losses": {"b": balanced([40, 9, 2])}, "temperature": 5.0},
        {"soft_losses": {"b": balanced([5, 2, 3]), "kd": KD()}},
    ],
    "not mapped": [{"soft_losses": {"own": Branching()}, "alpha": alpha} for alpha in (0.3, 0.6)],
}


def share_teacher(members: list[Any]) -> None:
    """Let all learn from the first one's teacher, of which the others have equal copies."""
    for each in members:
        each.replace_teacher(members[0].teacher)


@pytest.mark.parametrize("small", [2**16, 0], ids=["at once", "by temperature"])
@pytest.mark.parametrize("step", [0, 4])
@pytest.mark.parametrize("case", CASES)
def test_losses_terms_and_gradients_are_each_students_own(
    case: str, step: int, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_lightning.training.vectorized.losses.SMALL", small)
    members = [member(seed=seed, **given) for seed, given in enumerate(CASES[case])]
    share_teacher(members)
    rows = batch()
    logits = torch.stack([each.network(rows["inputs"]) for each in members]).detach().requires_grad_()
    losses = StackedLosses(members)
    for _ in range(2):  # the first call finds out what can be mapped
        found = losses(logits, rows, step)
    (gradient,) = torch.autograd.grad(found.loss.sum(), logits)
    for student, each in enumerate(members):
        own = logits[student].detach().requires_grad_()
        loss, terms = each.plain_mix(Outputs(own), rows, each.mixing(step))
        expected = {"loss": loss, **terms}
        assert list(found.of(student)) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(
                found.of(student)[name], value, rtol=tolerance(terms=64), atol=tolerance(terms=64)
            )
        torch.testing.assert_close(
            gradient[student], torch.autograd.grad(loss, own)[0], rtol=tolerance(terms=64), atol=tolerance(terms=64)
        )


def test_a_soft_term_that_is_no_number_is_nothing_to_whom_it_does_not_train() -> None:
    members = [member(alpha=0.0), member(alpha=0.5)]
    share_teacher(members)
    with torch.no_grad():
        next(members[0].teacher.parameters()).fill_(torch.inf)
    logits = torch.zeros(2, 7, CLASSES, requires_grad=True)
    found = StackedLosses(members)(logits, batch(), 0)
    (gradient,) = torch.autograd.grad(found.loss.sum(), logits)
    assert torch.isfinite(found.loss).tolist() == [True, False]
    assert torch.isfinite(gradient[0]).all()


def test_each_student_is_clipped_by_its_own_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, sizes = [(5, 2), (4,), (1, 3, 2)], torch.tensor([0.01, 1.0, 100.0, torch.nan])
    gradients = [torch.randn(4, *shape, generator=generator) * sizes.reshape(-1, *[1] * len(shape)) for shape in shapes]
    own = [[nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in sizes]
    for student, parameters in enumerate(own):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[student].clone()
        nn.utils.clip_grad_norm_(parameters, 1.0)
    clip_each(gradients, 1.0)
    for student, parameters in enumerate(own):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(
                gradient[student], parameter.grad, rtol=tolerance(terms=64), atol=0, equal_nan=True
            )


@pytest.mark.parametrize("optimizer", ELEMENTWISE, ids=lambda each: each.__name__)
def test_a_step_is_each_students_own_and_states_can_be_cut_out_and_joined(
    optimizer: type[torch.optim.Optimizer],
) -> None:
    rates = [0.02, 0.02, 0.1]
    members = [member(optimizer=optimizer, rate=rate, seed=seed) for seed, rate in enumerate(rates)]
    singles = copy.deepcopy(members)
    made = [single.configure_optimizers() for single in singles]
    spans = spans_of(rates)
    assert spans == [Span(0, 2), Span(2, 3)]
    stack = StackedNetwork([each.network for each in members], members[0].task, wide=False)
    stepping = StackedOptimizer(members, spans, stack.trained())
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        if step == 2:  # on, in other objects
            states = [stepping.states_of(student) for student in range(3)]
            joined = joined_states(*zip(*states, strict=True), spans)
            stepping = StackedOptimizer(members, spans, stack.trained())
            stepping.optimizer.load_state_dict(joined[0])
            stepping.scheduler.load_state_dict(joined[1])
        for parameters in zip(stack.trained(), *(single.network.parameters() for single in singles), strict=True):
            stacked, *own = parameters
            stacked.grad = torch.randn(stacked.shape, generator=generator)
            for student, parameter in enumerate(own):
                parameter.grad = stacked.grad[student].clone()
        stepping.hand_out()
        stepping.optimizer.step()
        stepping.scheduler.step()
        for each in made:
            each["optimizer"].step()
            each["lr_scheduler"]["scheduler"].step()
    for student, single in enumerate(singles):
        for stacked, own in zip(stack.trained(), single.network.parameters(), strict=True):
            torch.testing.assert_close(stacked[student], own, rtol=0, atol=tolerance(terms=8, steps=4))
        assert stepping.rate(student) == made[student]["lr_scheduler"]["scheduler"].get_last_lr()[0]
        state, curve = stepping.states_of(student)
        made[student]["optimizer"].load_state_dict(state)
        assert state["param_groups"] == made[student]["optimizer"].state_dict()["param_groups"]
        assert curve == made[student]["lr_scheduler"]["scheduler"].state_dict()


def test_the_end_of_a_student_makes_its_numbers_0_and_no_others() -> None:
    members = [member(seed=seed) for seed in range(3)]
    share_teacher(members)
    module = StackedModule(members, [Span(0, 3)], wide=True)
    module.configure_optimizers()
    before = [parameter.detach().clone() for parameter in module.stack.trained()]
    module.end(1, ValueError())
    module.on_train_batch_start(batch(), 0)
    assert module.running == [0, 2]
    for parameter, was in zip(module.stack.trained(), before, strict=True):
        assert not parameter[1].any()
        assert torch.equal(parameter[[0, 2]], was[[0, 2]])


def images() -> PositionTask:
    return PositionTask(CLASSES, {"accuracy": Accuracy()}, "accuracy", ArrayExample([1, 8, 8]))


def tokens() -> PositionTask:
    return PositionTask(11, {"accuracy": Accuracy()}, "accuracy", TokenExample(11, 5))


class Mixing(nn.Module):
    """A network whose stack would not be what it is: it sees whether its weights are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        stacked = torch._C._functorch.is_batchedtensor(self.head.weight)
        return self.head(inputs) * (2 if stacked else 1)


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs) * self.scale


@pytest.mark.parametrize(
    ("network", "of", "wide", "mapped"),
    [
        (lambda: MLP(CLASSES, FEATURES), task, True, None),
        (lambda: MLP(CLASSES, FEATURES, dropout=0.4), task, False, None),
        (lambda: ConvNet(CLASSES, channels=[4, 8], batch_norm=False, grid=2), images, True, None),
        (lambda: ConvNet(CLASSES, channels=[4, 8], batch_norm=True, residual=True), images, True, None),
        (lambda: TransformerLM(11, width=8, layers=1, heads=2, max_length=5), tokens, False, "cannot be stacked"),
        (lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Softmax(-1)), task, False, None),
        (Mixing, task, True, "something else"),
        (Scale, task, False, "single number"),
    ],
)
def test_how_networks_can_be_stacked_is_found_by_trying(
    network: Callable[[], nn.Module], of: Callable[[], PositionTask], wide: bool, mapped: str | None
) -> None:
    torch.manual_seed(0)
    made = network()
    state, random = copy.deepcopy(made.state_dict()), torch.get_rng_state()
    assert fits_side_by_side(made, of()) is wide
    found = why_not_mapped(made, of())
    assert (found is None) if mapped is None else (mapped in str(found))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.state_dict().items())
