"""One optimizer for the stacked parameters of many students, and each student's own state cut out of it.

Students whose optimizers and learning-rate curves are equal stand side by side and share a parameter group. What an
optimizer does to a stacked tensor is what it would do to each slice, as long as it treats every number by itself.
Shape legend: K students, n of them in a group, ``...`` the shape of a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kd_lightning.training.supervised import SupervisedModule

ELEMENTWISE: tuple[type[Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.ASGD,
)
"""Optimizers that treat every number by itself. Not among them: those that look at the norm of a tensor, or at a matrix."""


@dataclass(frozen=True)
class Span:
    """Students that stand side by side and share a parameter group: ``start`` to ``stop``, the latter not included."""

    start: int
    stop: int


def spans_of(kinds: Sequence[Any]) -> list[Span]:
    """Runs of equal neighbors.

    Example:
        >>> spans_of("aab")
        [Span(start=0, stop=2), Span(start=2, stop=3)]
    """
    starts = [k for k in range(len(kinds)) if k == 0 or kinds[k] != kinds[k - 1]]
    return [Span(start, stop) for start, stop in zip(starts, [*starts[1:], len(kinds)], strict=True)]


class StackedOptimizer:
    """The optimizer of all students, with its scheduler.

    A group's parameters are leaves of their own that share the memory of the stacked ones [K, ...]; ``hand_out`` gives
    them their part of the gradient.

    Args:
        members: One module for each student, of equal optimizer classes; equal settings stand side by side.
        spans: The runs of equal settings.
        stacked: The trained parameters [K, ...].
    """

    def __init__(
        self, members: Sequence[SupervisedModule], spans: Sequence[Span], stacked: Sequence[nn.Parameter]
    ) -> None:
        self.spans = list(spans)
        self.stacked = list(stacked)
        own = [members[span.start].configure_optimizers() for span in spans]
        self.defaults = [made["optimizer"].defaults for made in own]
        self.leaves = [
            self.stacked
            if len(spans) == 1
            else [nn.Parameter(parameter.data[span.start : span.stop]) for parameter in stacked]
            for span in spans
        ]
        groups = [
            {**quick(defaults), "params": leaves} for defaults, leaves in zip(self.defaults, self.leaves, strict=True)
        ]
        self.optimizer = members[0].optimizer(groups)  # type: ignore[arg-type]  # torch's take groups as well
        self.scheduler = LambdaLR(self.optimizer, [made["lr_scheduler"]["scheduler"].lr_lambdas[0] for made in own])

    def hand_out(self) -> None:
        """Give every group its part of the stacked gradients."""
        if len(self.spans) == 1:
            return
        for span, leaves in zip(self.spans, self.leaves, strict=True):
            for leaf, parameter in zip(leaves, self.stacked, strict=True):
                leaf.grad = None if parameter.grad is None else parameter.grad[span.start : span.stop]

    def group_of(self, student: int) -> int:
        """Which parameter group is the student's."""
        return next(group for group, span in enumerate(self.spans) if span.start <= student < span.stop)

    def rate(self, student: int) -> float:
        """The learning rate of the student's last step."""
        return float(self.scheduler._last_lr[self.group_of(student)])

    def clear(self, student: int) -> None:
        """Set the student's state to 0."""
        group = self.group_of(student)
        for leaf in self.leaves[group]:
            for value in self.optimizer.state.get(leaf, {}).values():
                if is_stacked(value):
                    value[student - self.spans[group].start] = 0

    def states_of(self, student: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``state_dict()`` of the student's own optimizer and of its own scheduler would be."""
        group = self.group_of(student)
        place = student - self.spans[group].start
        leaves = self.leaves[group]
        state = {
            number: {name: cut(value, place) for name, value in self.optimizer.state[leaf].items()}
            for number, leaf in enumerate(leaves)
            if leaf in self.optimizer.state
        }
        settings = {name: value for name, value in self.optimizer.param_groups[group].items() if name != "params"}
        if "fused" in settings:
            settings["fused"] = self.defaults[group]["fused"]
        optimizer = {"state": state, "param_groups": [{**settings, "params": list(range(len(leaves)))}]}
        scheduler = {
            name: [value[group]] if isinstance(value, list) else value
            for name, value in self.scheduler.state_dict().items()
        }
        return optimizer, scheduler


def joined_states(
    optimizers: Sequence[Mapping[str, Any]], schedulers: Sequence[Mapping[str, Any]], spans: Sequence[Span]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other way: states for ``StackedOptimizer`` from those of the students' own optimizers and schedulers."""
    state: dict[int, Any] = {}
    groups = []
    count = len(optimizers[0]["param_groups"][0]["params"])
    for group, span in enumerate(spans):
        states = [optimizer["state"] for optimizer in optimizers[span.start : span.stop]]
        for number in states[0]:
            parts = [each[number] for each in states]
            state[group * count + number] = {name: join([part[name] for part in parts]) for name in parts[0]}
        settings = quick(optimizers[span.start]["param_groups"][0])
        groups.append({**settings, "params": list(range(group * count, (group + 1) * count))})
    scheduler = {
        name: [each for span in spans for each in schedulers[span.start][name]] if isinstance(value, list) else value
        for name, value in schedulers[0].items()
    }
    return {"state": state, "param_groups": groups}, scheduler


def quick(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's settings, with one kernel for the whole step where nothing was chosen."""
    chosen = any(settings.get(name) is not None for name in ("fused", "foreach"))
    special = settings.get("differentiable") or settings.get("capturable")
    return {**settings, "fused": True} if "fused" in settings and not chosen and not special else dict(settings)


def is_stacked(value: Any) -> bool:
    """The state is one for each student; a single number, such as the count of steps, is all students'."""
    return isinstance(value, Tensor) and value.dim() > 0


def cut(value: Any, place: int) -> Any:
    """A student's part of a state: memory of its own."""
    if not isinstance(value, Tensor):
        return value
    return value[place].clone() if is_stacked(value) else value.clone()


def join(values: Sequence[Any]) -> Any:
    """The students' parts of a state, stacked."""
    return torch.stack(list(values)) if is_stacked(values[0]) else values[0]
