"""Distillation: the loss, its two ends, and a teacher that stays out of everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError, NonFiniteLossError, TapError, TeacherOutputError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.reverse_kl import ReverseKL
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import QUIET, lightning_is_quiet
from kd_lightning.training.schedules import Constant, Linear, Step
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import Aligned, Batch, Outputs

FEATURES, CLASSES, STEPS = 6, 3, 10


def task() -> PositionTask:
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    return PositionTask(CLASSES, metrics, "accuracy", ArrayExample([FEATURES]))


def net(width: int = 5, seed: int = 0, dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(FEATURES, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, CLASSES)
    )


def rows(count: int, seed: int) -> Table:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return Table({"inputs": inputs, "targets": torch.randint(CLASSES, (count,), generator=generator)})


def data(targets: Tensor | None = None, labeled: int | None = None) -> ExperimentData:
    splits = {"train": rows(24, 0), "val": rows(9, 1), "test": rows(9, 2)}
    if targets is not None:
        splits["train"] = splits["train"].with_column("targets", targets)
    return ExperimentData(
        Prepared(splits), task().collate, batch_size=8, steps=STEPS, seed=5, labeled=labeled, eval_batch_size=4
    )


SHARED: dict[str, Any] = {
    "optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
    "scheduler": Linear(1.0, 0.0, warmup=0.1),
    "seed": 3,
    "total_steps": STEPS,
}


def supervised(network: nn.Module | None = None) -> SupervisedModule:
    return SupervisedModule(network or net(), task(), **SHARED)


def distilling(
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    soft_losses: dict[str, Loss] | None = None,
    alpha: Any = 0.7,
    temperature: Any = 2.0,
    **more: Any,
) -> DistillationModule:
    return DistillationModule(
        student=student or net(),
        teacher=LiveTeacher(teacher or net(width=9, seed=1), task()),
        task=task(),
        soft_losses=soft_losses or {"kd": KD()},
        alpha=alpha,
        temperature=temperature,
        steps=STEPS,
        **more,
        **SHARED,
    )


def fit(module: SupervisedModule, rows: ExperimentData, folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    """Train as ``stage.train`` does, without its files."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=STEPS,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        logger=False,
        default_root_dir=folder,
        **QUIET,
    )
    with lightning_is_quiet():
        trainer.fit(module, datamodule=rows)
    return trainer


class Record(pl.Callback):
    """Terms of every step as plain numbers, and what the learning rate was."""

    def __init__(self) -> None:
        self.terms: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: SupervisedModule, *_: Any) -> None:  # type: ignore[override]
        self.terms.append({name: value.item() for name, value in module.terms.items()})


class At(pl.Callback):
    """Does something to the module before one step."""

    def __init__(self, step: int, action: Callable[[DistillationModule], None]) -> None:
        self.step = step
        self.action = action

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Batch, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            self.action(module)


class Hint(Loss):
    """Mean squared difference of hidden features, the student's projected to the teacher's width."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight, taps={"hidden": ("2", "2")})
        self.projection = nn.Linear(5, 9)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        assert set(student.features) == set(teacher.features) == {"hidden"}
        difference = self.projection(student.features["hidden"]) - teacher.features["hidden"]
        return masked_mean(difference.pow(2).mean(dim=-1), aligned.mask)


class Spy(Loss):
    """Keeps the temperatures it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.temperatures: list[float] = []

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        self.temperatures.append(temperature)
        return student.logits.pow(2).mean()


# -- the loss --------------------------------------------------------------------------------------------------------


class Lookup(nn.Module):
    """Logits [B, T, C] looked up by the first input of each row."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.logits = nn.Parameter(torch.randn(4, 5, CLASSES, dtype=torch.float64) * 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits[inputs]


def batch_of_sequences() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": torch.tensor([2, 0, 3]),
        "targets": torch.randint(CLASSES, (3, 5), generator=generator),
        "mask": torch.rand(3, 5, generator=generator) < 0.7,
        "labeled": torch.tensor([True, False, True]),
        "index": torch.tensor([2, 0, 3]),
    }


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / math.fsum(powers) for power in powers]


def naive_terms(student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> tuple[float, float]:
    """(mean of -log q over counted labeled positions, mean of T^2 KL over counted ones)."""
    hard, soft = [], []
    for row, position in product(range(3), range(5)):
        if not batch["mask"][row, position]:
            continue
        s, t = (logits[row, position].tolist() for logits in (student, teacher))
        p, q = softmax(t, temperature), softmax(s, temperature)
        soft.append(temperature**2 * math.fsum(pc * math.log(pc / qc) for pc, qc in zip(p, q, strict=True)))
        if batch["labeled"][row]:
            hard.append(-math.log(softmax(s)[int(batch["targets"][row, position])]))
    return math.fsum(hard) / len(hard), math.fsum(soft) / len(soft)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_the_formula_of_the_paper(alpha: float, temperature: float) -> None:
    student, teacher, batch = Lookup(0), Lookup(1), batch_of_sequences()
    module = distilling(student, teacher, {"kd": KD(weight=0.5), "two": KD(temperature=2.0)}, alpha, temperature)
    loss, terms = module.losses(batch)
    inputs = batch["inputs"]
    hard, soft = naive_terms(student(inputs), teacher(inputs), batch, temperature)
    _, two = naive_terms(student(inputs), teacher(inputs), batch, 2.0)
    assert loss.item() == pytest.approx((1 - alpha) * hard + alpha * (0.5 * soft + two), abs=1e-10)
    assert terms["kd"].item() == pytest.approx(soft, abs=1e-10)
    assert terms["two"].item() == pytest.approx(two, abs=1e-10)
    if alpha < 1:
        assert terms["hard"].item() == pytest.approx(hard, abs=1e-10)
    assert set(terms) == {"kd", "two"} | ({"hard"} if alpha < 1 else set())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_gradient_is_the_formula_of_the_paper(alpha: float) -> None:
    student, teacher, batch = Lookup(0), Lookup(1), batch_of_sequences()
    temperature = 4.0
    distilling(student, teacher, alpha=alpha, temperature=temperature).losses(batch)[0].backward()
    expected = torch.zeros_like(student.logits)
    counted = int(batch["mask"].sum())
    used = int((batch["mask"] & batch["labeled"].unsqueeze(1)).sum())
    for row, position in batch["mask"].nonzero().tolist():
        at = int(batch["inputs"][row]), position
        s, t = student.logits[at].tolist(), teacher.logits[at].tolist()
        for label, (p, q, plain) in enumerate(
            zip(softmax(t, temperature), softmax(s, temperature), softmax(s), strict=True)
        ):
            expected.data[at][label] += alpha * temperature * (q - p) / counted
            if batch["labeled"][row]:
                right = float(batch["targets"][row, position] == label)
                expected.data[at][label] += (1 - alpha) * (plain - right) / used
    assert student.logits.grad is not None
    torch.testing.assert_close(student.logits.grad, expected, rtol=0, atol=1e-10)


def test_a_loss_list_that_is_empty_is_refused() -> None:
    arguments = {"alpha": 0.5, "temperature": 1.0, "steps": 1, **SHARED}
    with pytest.raises(ConfigError, match="loss is empty"):
        DistillationModule(net(), LiveTeacher(net(), task()), task(), {}, **arguments)


# -- the two ends of alpha -------------------------------------------------------------------------------------------


def assert_same_bits(first: nn.Module, second: nn.Module) -> None:
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


@pytest.mark.parametrize("alpha", [0.0, Constant(0.0)])
@pytest.mark.parametrize("labeled", [None, 12])
def test_alpha_zero_is_training_alone_bit_for_bit(alpha: Any, labeled: int | None, tmp_path: Path) -> None:
    alone, beside = supervised(), distilling(alpha=alpha)
    started = net().state_dict()
    first, second = Record(), Record()
    fit(alone, data(labeled=labeled), tmp_path, first)
    fit(beside, data(labeled=labeled), tmp_path, second)
    assert_same_bits(alone.network, beside.network)
    assert not torch.equal(alone.network[0].weight, started["0.weight"])
    assert [terms["loss"] for terms in first.terms] == [terms["loss"] for terms in second.terms]
    assert len(second.terms) == STEPS
    assert all(terms["kd"] > 0 for terms in second.terms)


def test_alpha_above_zero_is_another_training(tmp_path: Path) -> None:
    alone, beside = supervised(), distilling(alpha=1e-3)
    fit(alone, data(), tmp_path)
    fit(beside, data(), tmp_path)
    assert not torch.equal(alone.network[0].weight, beside.network[0].weight)


@pytest.mark.parametrize("garbage", [-100, 10**6])
def test_alpha_one_never_reads_a_label(garbage: int, tmp_path: Path) -> None:
    clean, spoilt = distilling(alpha=1.0), distilling(alpha=1.0)
    fit(clean, data(), tmp_path)
    fit(spoilt, data(targets=torch.full((24,), garbage)), tmp_path)
    assert_same_bits(clean.network, spoilt.network)


def test_dropout_differs_from_step_to_step_and_follows_the_seed(tmp_path: Path) -> None:
    """The control of the comparisons above: without dropout, or with another seed, the weights are others."""
    plain, other, same = distilling(net(dropout=0.0)), distilling(), distilling()
    other.seed = 4
    reference = distilling()
    for module in (plain, other, same, reference):
        fit(module, data(), tmp_path)
    assert_same_bits(reference.network, same.network)
    assert not torch.equal(reference.network[0].weight, plain.network[0].weight)
    assert not torch.equal(reference.network[0].weight, other.network[0].weight)


# -- the teacher -----------------------------------------------------------------------------------------------------


def test_the_teacher_is_in_no_tree_no_file_and_no_optimizer() -> None:
    module = distilling(soft_losses={"kd": KD(), "hint": Hint()})
    mine = {id(tensor) for tensor in (*module.teacher.network.parameters(), *module.teacher.network.buffers())}
    assert not mine & {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    assert not any(part is module.teacher or part is module.teacher.network for part in module.modules())
    assert {name.split(".")[0] for name in module.state_dict()} == {"network", "soft_losses"}
    optimizer = module.configure_optimizers()["optimizer"]
    optimized = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    assert optimized == {id(tensor) for tensor in (*module.network.parameters(), *module.soft_losses.parameters())}


def test_the_teacher_is_the_same_before_and_after_a_fit(tmp_path: Path) -> None:
    module = distilling()
    module.train()
    before = module.teacher.content_hash()
    fit(module, data(), tmp_path)
    assert module.teacher.content_hash() == before
    assert module.record() == {"teacher_before": before, "teacher_after": before}
    assert all(parameter.grad is None for parameter in module.teacher.parameters())


def test_a_teacher_that_moves_is_found_out(tmp_path: Path) -> None:
    """The positive control: the two hashes in the record are taken at different times."""
    module = distilling()

    def nudge(module: DistillationModule) -> None:
        with torch.no_grad():
            next(iter(module.teacher.parameters())).add_(1.0)

    fit(module, data(), tmp_path, At(5, nudge))
    assert module.record()["teacher_before"] != module.record()["teacher_after"]


def test_the_teacher_follows_to_another_dtype() -> None:
    module = distilling().to(torch.float64)
    assert {tensor.dtype for tensor in module.teacher.parameters()} == {torch.float64}
    assert {tensor.dtype for tensor in module.network.parameters()} == {torch.float64}
    batch = task().collate(rows(8, 0), torch.arange(8))
    loss, _ = module.losses({**batch, "inputs": batch["inputs"].double()})
    assert loss.dtype == torch.float64
    assert next(iter(module.float().teacher.parameters())).dtype == torch.float32


# -- losses that own something -----------------------------------------------------------------------------------


def test_a_projection_is_trained_and_saved_and_hooks_are_gone(tmp_path: Path) -> None:
    hint = Hint()
    started = hint.projection.weight.detach().clone()
    module = distilling(soft_losses={"kd": KD(), "hint": hint})
    assert "soft_losses.hint.projection.weight" in module.state_dict()
    record = Record()
    fit(module, data(), tmp_path, record)
    assert not torch.equal(hint.projection.weight, started)
    assert set(record.terms[0]) == {"loss", "hard", "kd", "hint"}
    assert not any("projection" in name for name in module.network.state_dict())
    for part in (*module.network.modules(), *module.teacher.network.modules()):
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


def test_two_losses_with_taps_of_the_same_name_see_their_own() -> None:
    other = Hint()
    other.taps = {"hidden": ("0", "1")}
    module = distilling(net(dropout=0.0), soft_losses={"hint": Hint(), "hint2": other})
    module.network.eval()
    batch = task().collate(rows(8, 0), torch.arange(8))
    _, terms = module.losses(batch)
    student, teacher = module.network, module.teacher.network
    hidden = other.projection(student[0](batch["inputs"])) - teacher[:2](batch["inputs"])
    assert terms["hint2"].item() == pytest.approx(hidden.pow(2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("taps", [("9", "2"), ("2", "9")])
def test_a_tap_that_is_not_there_is_refused_when_built(taps: tuple[str, str]) -> None:
    hint = Hint()
    hint.taps = {"hidden": taps}
    with pytest.raises(TapError, match="'9'"):
        distilling(soft_losses={"hint": hint})


# -- schedules -------------------------------------------------------------------------------------------------------


def test_temperature_and_alpha_follow_their_schedules(tmp_path: Path) -> None:
    spy, record = Spy(), Record()
    alpha = Linear(1.0, 0.0)
    module = distilling(soft_losses={"kd": KD(weight=0.5), "spy": spy}, alpha=alpha, temperature=Linear(4.0, 1.0))
    fit(module, data(), tmp_path, record)
    assert spy.temperatures == pytest.approx([4.0 - 3.0 * step / STEPS for step in range(STEPS)])
    assert "hard" not in record.terms[0]  # alpha is 1 there
    for step, terms in enumerate(record.terms):
        share = 1.0 - step / STEPS
        soft = 0.5 * terms["kd"] + terms["spy"]
        assert terms["loss"] == pytest.approx((1 - share) * terms.get("hard", 0.0) + share * soft, rel=1e-5)


def test_annealed_temperature_changes_the_training(tmp_path: Path) -> None:
    constant, annealed = distilling(temperature=4.0), distilling(temperature=Linear(4.0, 1.0))
    fit(constant, data(), tmp_path)
    fit(annealed, data(), tmp_path)
    assert not torch.equal(constant.network[0].weight, annealed.network[0].weight)


def test_weights_follow_their_curves_and_terms_are_logged_without_them(tmp_path: Path) -> None:
    record, curve = Record(), Step([2.0, 0.5], [0.5], warmup=0.2)
    module = distilling(
        soft_losses={"kd": KD(weight=0.5), "kd2": KD(weight=3.0, temperature=1.0)}, weight_curves={"kd2": curve}
    )
    fit(module, data(), tmp_path, record)
    for step, terms in enumerate(record.terms):
        soft = 0.5 * terms["kd"] + 3.0 * curve(step / STEPS) * terms["kd2"]
        assert terms["loss"] == pytest.approx(0.3 * terms["hard"] + 0.7 * soft, rel=1e-5)
        assert module.in_force(step) == {"weight_kd2": 3.0 * curve(step / STEPS)}
    assert len({module.in_force(step)["weight_kd2"] for step in range(STEPS)}) == 4


def test_a_weight_on_a_constant_curve_is_that_weight_bit_for_bit(tmp_path: Path) -> None:
    plain, curved, falling = (
        distilling(soft_losses={"kd": KD(weight=0.5)}, weight_curves=curves)
        for curves in ({}, {"kd": Constant(1.0)}, {"kd": Linear(1.0, 0.0)})
    )
    for module in (plain, curved, falling):
        fit(module, data(), tmp_path)
    assert_same_bits(plain.network, curved.network)
    assert not torch.equal(plain.network[0].weight, falling.network[0].weight)


def test_what_follows_a_curve_is_said_for_the_log() -> None:
    module = distilling(alpha=Linear(1.0, 0.0), temperature=Linear(4.0, 1.0), weight_curves={"kd": Linear(1.0, 0.0)})
    assert module.in_force(5) == {"alpha": 0.5, "temperature": 2.5, "weight_kd": 0.5}
    assert distilling().in_force(5) == {}


# -- what is not finite ----------------------------------------------------------------------------------------------


def break_student(module: DistillationModule) -> None:
    with torch.no_grad():
        module.network[4].weight.fill_(math.nan)


@pytest.mark.parametrize(("alpha", "term"), [(0.7, "hard"), (1.0, "kd"), (0.0, "hard")])
def test_a_student_that_is_not_finite_stops_the_run_at_that_step(alpha: float, term: str, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError) as error:
        fit(distilling(alpha=alpha), data(), tmp_path, At(3, break_student))
    assert f"term '{term}' is nan at step 3 of the Sequential" in str(error.value)
    assert "optimizer.lr" in str(error.value)


def test_the_first_term_that_is_not_finite_is_named(tmp_path: Path) -> None:
    class Bad(Spy):
        def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
            return super().forward(student, teacher, aligned, temperature) * math.inf

    with pytest.raises(NonFiniteLossError, match=r"term 'bad' is inf at step 0.*no step was taken before it"):
        fit(distilling(soft_losses={"kd": KD(), "bad": Bad(), "kd2": KD()}), data(), tmp_path)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_teacher_that_is_not_finite_is_named_with_its_rows(poison: float, tmp_path: Path) -> None:
    class Sick(nn.Module):
        """Cannot answer for the rows whose first number is above 1."""

        def __init__(self) -> None:
            super().__init__()
            self.well = net(width=9, seed=1)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.well(inputs).masked_fill(inputs[:, :1] > 1, poison)

    seen: list[Batch] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Batch, batch_idx: int) -> None:
            seen.append(batch)

    with pytest.raises(TeacherOutputError) as error:
        fit(distilling(teacher=Sick()), data(), tmp_path, Watch())
    sick = seen[-1]["index"][seen[-1]["inputs"][:, 0] > 1].tolist()
    assert sick
    assert all(rows(24, 0)["inputs"][row, 0] > 1 for row in sick)
    assert f"logits are not finite at step {len(seen) - 1} for {len(sick)} training rows" in str(error.value)
    assert f"index {sick[:5]}" in str(error.value)


def test_a_teacher_may_forbid_classes_and_is_named_where_a_loss_is_infinite_there(tmp_path: Path) -> None:
    class Forbidding(nn.Module):
        """Holds its second class impossible for every row."""

        def __init__(self) -> None:
            super().__init__()
            self.well = net(width=9, seed=1)

        def forward(self, inputs: Tensor) -> Tensor:
            logits = self.well(inputs)
            return logits.masked_fill(torch.arange(logits.shape[-1]) == 1, -math.inf)

    fit(distilling(teacher=Forbidding()), data(), tmp_path)
    with pytest.raises(TeacherOutputError, match=r"forbids classes \(logits of -inf\).*use kd, jsd or skew_kl"):
        fit(distilling(teacher=Forbidding(), soft_losses={"reverse": ReverseKL()}), data(), tmp_path)
