"""Students of equal shapes, trained in one pass: their parameters are stacked, and the network runs once for all.

Each is trained as by its own module: its own loss, clipping and optimizer state, the same batches, and, because all have
the same seed, the same dropout. They share what does not depend on the student: the batch, the teacher's pass, and the
time that a call of an operation takes. Shape legend: K students, B batch, C classes or vocabulary, ``...`` any.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from kd_lightning.errors import KDError
from kd_lightning.seeds import derive_seed
from kd_lightning.tasks.base import Task
from kd_lightning.training.supervised import SupervisedModule, seed_device
from kd_lightning.training.together.students import StudentsModule
from kd_lightning.training.vectorized.losses import StackedLosses, StackedTerms
from kd_lightning.training.vectorized.optimizer import Span, StackedOptimizer
from kd_lightning.training.vectorized.wide_network import SideBySide, apart, side_by_side
from kd_lightning.types import Batch


class StackedNetwork(nn.Module):
    """Networks of equal shapes as one, with parameters and buffers [K, ...] under their own names.

    Args:
        networks: K of them; they stay as they are.
        task: Knows how to get logits from a network and a batch.
        wide: The students are put side by side (see ``side_by_side``); False = the network is mapped over them.
    """

    def __init__(self, networks: Sequence[nn.Module], task: Task, wide: bool) -> None:
        super().__init__()
        self.task = task
        self.students = len(networks)
        self.wide = wide
        self.network = copy.deepcopy(networks[0])
        for stacked, *own in zip(tensors(self.network), *map(tensors, networks), strict=True):
            stacked.data = torch.stack([tensor.detach() for tensor in own])  # in place: tied ones stay tied
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        self._tied = len(names) > len(list(self.parameters()))
        self._by_name: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Tensor:
        """The network's logits, with whatever tensors ``functional_call`` has put in the place of the stacked ones."""
        return self.task.logits(self.network, batch)

    def logits(self, batch: Batch) -> Tensor:
        """Logits [K, B, ..., C]."""

        def called(own: dict[str, Tensor]) -> Tensor:
            return functional_call(self, own, (batch,), tie_weights=self._tied)

        if not self._by_name:
            self._by_name = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        if self.wide:
            with SideBySide(self.students):
                return apart(called(side_by_side(self._by_name)), self.students)
        # The same: every student draws what it would draw alone, since all have the same seed.
        return vmap(called, randomness="same")(self._by_name)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> StackedNetwork:
        self._by_name = {}  # what .to() moves may be a new tensor
        super()._apply(fn, recurse)
        return self

    def trained(self) -> list[nn.Parameter]:
        """The parameters [K, ...] that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def take_out(self, student: int, network: nn.Module) -> None:
        """Copy a student's tensors into a network of its own."""
        for own, stacked in zip(tensors(network), tensors(self.network), strict=True):
            own.copy_(stacked[student])

    @torch.no_grad()
    def clear(self, student: int) -> None:
        """Set a student's tensors to 0."""
        for stacked in tensors(self.network):
            stacked[student] = 0


def tensors(network: nn.Module) -> list[Tensor]:
    """All parameters and buffers, in a fixed order."""
    return [*network.parameters(), *network.buffers()]


class StackedModule(StudentsModule):
    """Trains the students of several modules in one pass. The numbers of a student that ended become 0.

    Args:
        members: A module for each student: of equal networks, task, seed and steps, with the same teacher if any. Their
            own networks are not trained; ``bring_up_to_date`` copies a student into its module's.
        spans: Runs of members whose optimizers and learning-rate curves are equal.
        wide: As in ``StackedNetwork``.
    """

    def __init__(self, members: Sequence[SupervisedModule], spans: Sequence[Span], wide: bool) -> None:
        super().__init__(members)
        self.spans = spans
        self.stack = StackedNetwork([member.network for member in members], members[0].task, wide)
        self.losses = StackedLosses(members)
        self.found: StackedTerms | None = None
        """The last step's losses and terms, without gradient."""
        self._unchecked: list[tuple[int, StackedTerms]] = []
        self._to_clear: list[int] = []

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> StackedModule:
        # What .to() and .cuda() call: the members' own networks, metrics and teachers go along although not in the tree.
        for member in self.members:
            member._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def end(self, student: int, error: BaseException) -> None:
        self._to_clear.append(student)
        super().end(student, error)

    def bring_up_to_date(self, student: int) -> SupervisedModule:
        member = self.members[student]
        self.stack.take_out(student, member.network)
        if self.found is not None:
            member.terms = self.found.of(student)
        return member

    def rate_of(self, student: int) -> float:
        return self.stepping.rate(student)

    def states_of(self, student: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.stepping.states_of(student)

    def configure_optimizers(self) -> Any:
        self.stepping = StackedOptimizer(self.members, self.spans, self.stack.trained())
        scheduler = {"scheduler": self.stepping.scheduler, "interval": "step"}
        return {"optimizer": self.stepping.optimizer, "lr_scheduler": scheduler}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._clear_ended()
        seed_device(derive_seed(self.members[0].seed, "step", batch_idx, self.global_rank), self.device)

    def _clear_ended(self) -> None:
        """NaN and infinity of those who ended: 0 from now on, since their losses count no more."""
        for student in self._to_clear:
            self.stack.clear(student)
            self.stepping.clear(student)
        self._to_clear.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        found = self.losses(self.stack.logits(batch), batch, self.global_step)
        self.found = found.detach()
        self._unchecked.append((self.global_step, self.found))
        if found.loss.device.type == "cpu":
            self.check_finite(batch)
        # The sum: what one student's loss adds to it is nothing to another's gradient.
        return found.loss.sum() if not self.errors else found.loss[self.running].sum()

    def check_finite(self, batch: Batch | None = None) -> None:
        """Look at the losses not yet looked at, as ``SupervisedModule.check_finite``, and end those that are not finite.

        Raises:
            AllEnded: None is.
        """
        unchecked, self._unchecked = self._unchecked, []
        for step, found in unchecked:
            if bool(torch.isfinite(found.loss).all()):
                continue
            for student in torch.isfinite(found.loss).logical_not().nonzero().flatten().tolist():
                if student in self.errors:
                    continue
                try:
                    self.members[student].explain(step, found.of(student), batch)
                except KDError as error:
                    self.end(student, error)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        gradients = [parameter.grad for parameter in self.stepping.stacked if parameter.grad is not None]
        if gradient_clip_val and gradient_clip_val > 0:
            if gradient_clip_algorithm == "value":
                for gradient in gradients:
                    gradient.clamp_(-gradient_clip_val, gradient_clip_val)
            else:
                clip_each(gradients, gradient_clip_val)
        self.stepping.hand_out()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        for parameter in self.stepping.stacked:
            parameter.grad = None

    def on_validation_epoch_start(self) -> None:
        self._clear_ended()
        super().on_validation_epoch_start()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.stack.logits(batch)
        task = self.members[0].task
        aligned = task.align(batch, logits[0])
        for student in self.running:
            task.update(self.members[student].metrics, logits[student], aligned, batch)


def clip_each(gradients: Sequence[Tensor], largest: float) -> None:
    """``torch.nn.utils.clip_grad_norm_`` for each student by itself, in place.

    Args:
        gradients: [K, ...] each.
        largest: Largest norm of one student's gradient.
    """
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    factors = (largest / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.reshape(-1, *[1] * (gradient.dim() - 1)))
