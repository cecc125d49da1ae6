"""Networks of one's own: what must be true of them, and the teacher as it was before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kd_lightning.errors import ClassMismatchError, ConfigError, did_you_mean
from kd_lightning.losses.base import Loss
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import Batch


class GivenExample(ArrayExample):
    """Rows of a loader as a task's example.

    Args:
        batch: Its first two rows are taken.
    """

    def __init__(self, batch: Batch) -> None:
        rows = batch["inputs"][:2].cpu()
        super().__init__(rows.shape[1:])
        self.rows = rows
        self.targets_shape = tuple(batch["targets"][:2].shape)

    def inputs(self) -> Tensor:
        return self.rows

    def leading(self) -> tuple[int, ...]:
        return self.targets_shape


def build_own_task(classes: int, example: Batch, monitor: str) -> PositionTask:
    """One class for each target.

    Args:
        classes: C.
        example: A batch.
        monitor: ``accuracy`` or ``cross_entropy``.

    Raises:
        ConfigError: ``monitor`` is another, or there is one class.
    """
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    if monitor not in metrics:
        raise ConfigError(
            f"monitor={monitor!r}: one of {', '.join(metrics)} is expected{did_you_mean(monitor, metrics)}"
        )
    if classes < 2:
        raise ConfigError("the student's logits have 1 class: a softmax needs at least 2")
    return PositionTask(classes, metrics, monitor, GivenExample(example), unit="rows")


def check_own_networks(teacher: nn.Module, student: nn.Module) -> None:
    """They are two networks, whose sizes are known, and the student can be trained.

    Raises:
        ConfigError: Not so.
    """
    for who, network in (("teacher", teacher), ("student", student)):
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{who} is of type {type(network).__name__}: a torch.nn.Module is expected")
        lazy = [name for name, each in [*network.named_parameters(), *network.named_buffers()] if is_lazy(each)]
        if lazy:
            raise ConfigError(f"the {who}'s {lazy[0]} has no size yet: run the {who} once on a batch before")
    if student is teacher:
        raise ConfigError(
            "student and teacher are the same network: pass two, or copy.deepcopy(teacher) as the student"
        )
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ConfigError("the student has no parameter that asks for a gradient: there is nothing to train")
    places = {each.device for each in (*teacher.parameters(), *teacher.buffers())}
    if len(places) > 1:
        raise ConfigError(f"the teacher lies on {', '.join(sorted(map(str, places)))}: put it on one device")


def count_classes(teacher: nn.Module, student: nn.Module, batch: Batch, losses: Mapping[str, Loss]) -> int:
    """C, the student's classes, from its logits of two rows; the teacher's are as many, or more where no loss minds.

    Args:
        teacher: In eval mode.
        student: Likewise.
        batch: Two rows at least, where there are two.
        losses: name -> term.

    Raises:
        ConfigError: One cannot read the rows, or answers with something else than logits for each target.
        ClassMismatchError: The numbers of classes differ.
    """
    its, own = ask_classes(teacher, batch, "teacher"), ask_classes(student, batch, "student")
    minds = [name for name, term in losses.items() if term.classwise]
    if its < own or (its > own and minds):
        why = f"loss {', '.join(minds)} compares them class by class" if its > own else "the student's are too many"
        raise ClassMismatchError(f"the teacher's logits have {its} classes, the student's {own}: {why}")
    return own


@torch.no_grad()
def ask_classes(network: nn.Module, batch: Batch, who: str) -> int:
    """Classes of the network's logits of two rows.

    Raises:
        ConfigError: See ``count_classes``.
    """
    tensor = next(network.parameters(), torch.empty(0))
    rows, targets = batch["inputs"][:2].to(tensor.device), batch["targets"][:2]
    try:
        logits = network(rows)
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the {who} ({type(network).__name__}) cannot read inputs {tuple(rows.shape)}: {take_first_line(error)}"
        ) from error
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f"the {who} ({type(network).__name__}) returns {type(logits).__name__}: a tensor of logits is expected; wrap it "
            "in a module that returns them"
        )
    if logits.shape[:-1] != targets.shape:
        raise ConfigError(
            f"the {who} ({type(network).__name__}) makes logits {tuple(logits.shape)} for targets {tuple(targets.shape)}: "
            "logits [..., C] for targets [...] are expected"
        )
    return int(logits.shape[-1])


@contextmanager
def borrow_teacher(teacher: nn.Module) -> Iterator[None]:
    """Inside, the teacher is in eval mode, and may be frozen and moved; afterwards modes, ``requires_grad`` and place are
    those of before."""
    modes = [(module, module.training) for module in teacher.modules()]
    asking = [(parameter, parameter.requires_grad) for parameter in teacher.parameters()]
    tensor = next(iter((*teacher.parameters(), *teacher.buffers())), None)
    device = None if tensor is None else tensor.device
    teacher.eval()
    try:
        yield
    finally:
        teacher.to(device)
        for module, mode in modes:
            module.training = mode
        for parameter, asks in asking:
            parameter.requires_grad_(asks)
