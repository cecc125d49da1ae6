"""``kd.distill``: networks and loaders of one's own, without configuration and store.

A training is the same here as in a run: ``DistillationModule`` or ``SupervisedModule``, ``training/fit.py``, validation that
chooses the weights, and one evaluation of each model. Its folder is a temporary one.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Unpack

from torch import Tensor, nn

from kd_lightning.experiment.console import Line, QuietBoard, TerminalBoard
from kd_lightning.experiment.settings import STUDENT, TEACHER
from kd_lightning.losses.base import Loss
from kd_lightning.python.bench import Bench
from kd_lightning.python.caller_state import keep_caller_state
from kd_lightning.python.distilled import Distilled, compare_models
from kd_lightning.python.loaders import LoaderBatches, LoaderData
from kd_lightning.python.own_losses import build_losses, fit_losses
from kd_lightning.python.own_networks import borrow_teacher, build_own_task, check_own_networks, count_classes
from kd_lightning.python.plan import DistillOptions, Plan
from kd_lightning.python.wording import translate_errors
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import StageBoard
from kd_lightning.training.loss_setup import prepare_module
from kd_lightning.training.supervised import Schedule, SupervisedModule

PairLoader = Iterable[Sequence[Tensor]]
"""A ``DataLoader``, or anything that can be read again and again."""


def distill(
    teacher: nn.Module,
    student: nn.Module,
    train: PairLoader,
    val: PairLoader,
    *,
    steps: int,
    test: PairLoader | None = None,
    loss: str | Loss | Sequence[str | Loss] = "kd",
    temperature: float | Schedule = 4.0,
    alpha: float | Schedule = 0.5,
    lr: float = 1e-3,
    baseline: bool = True,
    seed: int = 0,
    **options: Unpack[DistillOptions],
) -> Distilled:
    """Train a copy of the student on ``(1 - alpha) * cross-entropy + alpha * loss``, and compare it.

    A gain is one over the same student alone: another copy learns from the labels only, with the same steps, batches, seed,
    optimizer and rate. Both keep the weights that are best on ``val``. Without ``test``, they are compared on ``val``, too, and
    the verdict says so. The networks given stay as they are; the teacher is frozen and in eval mode meanwhile.

    Args:
        teacher: ``inputs -> logits [..., C]``.
        student: Likewise. Its copies begin with its weights, and are in train mode while they are trained.
        train: Batches ``(inputs [B, ...], targets [...])`` of class numbers from 0 up; -100 = does not count. Read again and
            again, until all steps are taken.
        val: Likewise, read at each validation.
        steps: Optimizer steps of each copy, a batch each.
        test: Likewise, read once for each model; None = ``val``.
        loss: A name from ``kd ls loss``, a ``Loss``, or several. One on features is told which modules meet:
            ``Hint(match=[{"student": "0", "teacher": "0"}])``.
        temperature: T > 0, or a curve of the progress in [0, 1].
        alpha: Share of the losses in [0, 1], or a curve.
        lr: Learning rate.
        baseline: False = no student alone, and no word on what the teacher is worth.
        seed: Of the batches' order, dropout and the losses' projections.
        options: See ``DistillOptions``: ``optimizer``, ``scheduler``, ``monitor``, ``accelerator``, ``progress``, ...

    Raises:
        KDError: An argument makes no sense, or networks, losses and batches do not fit together; names which and the fix.
    """
    with translate_errors():
        plan = Plan(steps, temperature, alpha, lr, seed, **options)
        check_own_networks(teacher, student)
        losses_given = [loss] if isinstance(loss, str | Loss) or not isinstance(loss, Iterable) else list(loss)
        loaders = [LoaderBatches(train, "train", seed, steps), LoaderBatches(val, "val", seed)]
        loaders.append(LoaderBatches(val, "val", seed) if test is None else LoaderBatches(test, "test", seed))
        untrained = copy.deepcopy(
            student
        ).train()  # now: the teacher, which may share parameters with it, is frozen soon
        with keep_caller_state(), borrow_teacher(teacher):
            return train_and_compare(teacher, untrained, LoaderData(*loaders), losses_given, plan, baseline)


def train_and_compare(
    teacher: nn.Module,
    untrained: nn.Module,
    data: LoaderData,
    losses_given: Sequence[str | Loss],
    plan: Plan,
    baseline: bool,
) -> Distilled:
    """The student alone and the student that is taught, each from ``untrained`` on, beside the teacher.

    Args:
        teacher: In eval mode.
        untrained: The student, in train mode.
        data: Loaders.
        losses_given: Names or terms.
        plan: Numbers and curves.
        baseline: Train the student alone, too.
    """
    fresh = partial(copy.deepcopy, untrained)
    example = data.read_example()
    losses = build_losses(losses_given, plan.seed)
    task = build_own_task(count_classes(teacher, fresh().eval(), example, losses), example, plan.monitor)
    data.expect_classes(task.num_classes)
    fit_losses(losses, {TEACHER: teacher, STUDENT: untrained}, task, data, plan.seed)
    rule = (plan.build_optimizer, plan.scheduler, plan.seed, plan.steps)

    def build_alone() -> SupervisedModule:
        return SupervisedModule(fresh(), task, *rule)

    def build_taught() -> DistillationModule:
        soft = (losses, plan.alpha, plan.temperature, plan.steps)
        module = DistillationModule(fresh(), LiveTeacher(teacher, task), task, *soft, *rule)
        return prepare_module(module, partial(copy.deepcopy, teacher))

    students: dict[str, tuple[str, Callable[[], SupervisedModule]]] = {}
    if baseline:
        students[BASELINE_MODEL] = ("student alone", build_alone)
    students[DISTILLED_MODEL] = ("distilled", build_taught)
    board: AbstractContextManager[StageBoard] = TerminalBoard() if plan.progress else nullcontext(QuietBoard())
    with board as shown, tempfile.TemporaryDirectory(prefix="kd-distill-") as folder:
        bench = Bench(Path(folder), task, data, plan, shown)
        models = {TEACHER_MODEL: bench.evaluate(TEACHER_MODEL, teacher, {"label": "teacher", "role": TEACHER})}
        if isinstance(shown, TerminalBoard):
            shown.expect([Line(name, title, plan.steps) for name, (title, _) in students.items()])
        for name, (title, build) in students.items():
            models[name] = bench.train(name, title, build, fresh())
    return compare_models(models, task, data)
