"""The losses of students that are trained side by side, from their stacked logits: each what its own module computes.

``loss_k = (1 - alpha_k) * hard_k + alpha_k * sum(weight * term_k at T_k)``, as in ``DistillationModule``; alpha is 0 for
a module that trains on labels alone. The teacher runs once for all. Shape legend: K students, n of them, B batch, C
classes or vocabulary, ``...`` any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from kd_lightning.losses.base import Loss
from kd_lightning.training.annealing import Mixing
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.training.vectorized.mapping import without_fallback
from kd_lightning.types import Aligned, Batch, Outputs

Term = Callable[[Tensor, Any], Tensor]
"""A scalar from the logits [..., C] of one student and its temperature."""
SMALL = 2**16
"""Numbers in the teacher's logits up to which one call for all temperatures is faster than the teacher's softmax once for
each temperature: there, calls cost more than numbers."""


@dataclass(frozen=True)
class StackedTerms:
    """Losses and terms of one batch.

    Attributes:
        loss: [K].
        hard: [K], or None where no student reads labels.
        soft: The soft losses' values: name, students, [n].
        alphas: The students'.
        names: The students' soft losses, each in its own order.
    """

    loss: Tensor
    hard: Tensor | None
    soft: tuple[tuple[str, tuple[int, ...], Tensor], ...]
    alphas: tuple[float, ...]
    names: tuple[tuple[str, ...], ...]

    def of(self, student: int) -> dict[str, Tensor]:
        """Loss and terms of a student, as its own module names them."""
        found = {"loss": self.loss[student]}
        if self.alphas[student] < 1 and self.hard is not None:
            found["hard"] = self.hard[student]
        soft = {name: values[who.index(student)] for name, who, values in self.soft if student in who}
        return found | {name: soft[name] for name in self.names[student]}

    def detach(self) -> StackedTerms:
        """The same without gradient."""
        hard = None if self.hard is None else self.hard.detach()
        return replace(
            self,
            loss=self.loss.detach(),
            hard=hard,
            soft=tuple((name, who, values.detach()) for name, who, values in self.soft),
        )


class ForAll:
    """A term of several students' logits, with one call where ``vmap`` can, else with one for each.

    Which of the two is found out on the first batch: a term may be a user's own.
    """

    TOLERANCE = 1e-5

    def __init__(self) -> None:
        self._mapped: dict[bool, bool] = {}

    def __call__(self, term: Term, logits: Tensor, temperatures: Sequence[float]) -> Tensor:
        """[n] for logits [n, ..., C] and the students' temperatures."""
        if len(logits) == 1:
            return one_by_one(term, logits, temperatures)
        equal = len(set(temperatures)) == 1  # else the term sees a tensor in the place of a number
        if equal not in self._mapped:
            self._mapped[equal] = self._agrees(term, logits.detach(), temperatures)
        return (mapped if self._mapped[equal] else one_by_one)(term, logits, temperatures)

    @torch.no_grad()
    def _agrees(self, term: Term, logits: Tensor, temperatures: Sequence[float]) -> bool:
        expected = one_by_one(term, logits, temperatures)
        try:
            with without_fallback():
                found = mapped(term, logits, temperatures)
        except (RuntimeError, ValueError, TypeError):  # what vmap raises where code looks at its numbers
            return False
        return torch.allclose(found, expected, rtol=self.TOLERANCE, atol=self.TOLERANCE, equal_nan=True)


def mapped(term: Term, logits: Tensor, temperatures: Sequence[float]) -> Tensor:
    """[n] at once; temperatures stay plain numbers, and what depends on them alone is computed once, where they agree."""
    if len(set(temperatures)) == 1:
        return vmap(lambda own: term(own, temperatures[0]))(logits)
    return vmap(term)(logits, row(tuple(temperatures), logits.device))


def one_by_one(term: Term, logits: Tensor, temperatures: Sequence[float]) -> Tensor:
    """[n], one student after the other."""
    return torch.stack([term(own, temperature) for own, temperature in zip(logits, temperatures, strict=True)])


@dataclass(frozen=True)
class SharedTerm:
    """A term that is the same function of logits and temperature for several students.

    Attributes:
        name: The loss's.
        term: The first student's.
        students: Which.
        for_all: Computes it.
    """

    name: str
    term: Loss
    students: tuple[int, ...]
    for_all: ForAll

    def values(self, logits: Tensor, teacher: Outputs, aligned: Aligned, temperatures: Sequence[float]) -> Tensor:
        """[n] for all students' logits [K, ..., C] and temperatures."""
        own = logits if len(self.students) == len(logits) else logits[list(self.students)]

        def term(student_logits: Tensor, temperature: Any) -> Tensor:
            return self.term(Outputs(student_logits), teacher, aligned, temperature)

        return self.for_all(term, own, [temperatures[student] for student in self.students])

    def by_temperature(self, temperatures: Sequence[float]) -> list[SharedTerm]:
        """The same for the students of each temperature apart."""
        parts: dict[float, list[int]] = {}
        for student in self.students:
            parts.setdefault(temperatures[student], []).append(student)
        return [replace(self, students=tuple(students)) for students in parts.values()]


class StackedLosses:
    """The losses of all students, from their logits.

    Args:
        members: Modules of the same task, either all on labels alone or all with the same teacher; their losses read
            logits alone, have no state, and draw no random numbers.
    """

    def __init__(self, members: Sequence[SupervisedModule]) -> None:
        self.members = tuple(members)
        self.task = members[0].task
        self._hard = ForAll()
        terms = [soft_losses(member) for member in members]
        self._names = tuple(tuple(own) for own in terms)
        self._shared = [
            shared
            for name in dict.fromkeys(name for own in terms for name in own)
            for shared in shared_terms(name, {k: own[name] for k, own in enumerate(terms) if name in own})
        ]

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> StackedTerms:
        """For logits [K, B, ..., C] of a batch after ``step`` optimizer steps."""
        mixings = [mixing(member, step) for member in self.members]
        alphas = tuple(each.alpha for each in mixings)
        aligned = self.task.align(batch, logits[0])
        loss, hard = logits.new_zeros(len(logits)), None
        if min(alphas) < 1:
            reads = [alpha < 1 for alpha in alphas]

            def term(own: Tensor, _: Any) -> Tensor:
                return self.task.loss(own, aligned, batch)

            hard = self._hard(term, gradient_for(reads, logits), [1.0] * len(logits))
            loss = only(reads, hard * row(tuple(1 - alpha for alpha in alphas), logits.device))
        soft = self._soft(logits, batch, aligned, mixings)
        if max(alphas) > 0:
            loss = loss + only(
                [alpha > 0 for alpha in alphas], weighted(soft, loss, mixings) * row(alphas, logits.device)
            )
        values = tuple((shared.name, shared.students, found) for shared, found in soft)
        return StackedTerms(loss, hard, values, alphas, self._names)

    def _soft(
        self, logits: Tensor, batch: Batch, aligned: Aligned, mixings: Sequence[Mixing]
    ) -> list[tuple[SharedTerm, Tensor]]:
        """The soft losses' values [n]."""
        if not self._shared:
            return []
        first = self.members[0]
        assert isinstance(first, DistillationModule)
        teacher, shared, temperatures = first.teacher(batch), self._shared, [each.temperature for each in mixings]
        if teacher.logits.numel() > SMALL:
            shared = [part for each in shared for part in each.by_temperature(temperatures)]
        learning = gradient_for([each.alpha > 0 for each in mixings], logits)
        return [(each, each.values(learning, teacher, aligned, temperatures)) for each in shared]


LABELS_ALONE = Mixing(alpha=0.0, temperature=1.0, weights={}, factors={})


def mixing(member: SupervisedModule, step: int) -> Mixing:
    """Alpha, temperature and weights of a module after ``step`` optimizer steps."""
    return member.mixing(step) if isinstance(member, DistillationModule) else LABELS_ALONE


def soft_losses(member: SupervisedModule) -> dict[str, Loss]:
    """The soft terms of a module by name."""
    return dict(member.soft_losses.items()) if isinstance(member, DistillationModule) else {}  # type: ignore[arg-type]


def shared_terms(name: str, terms: Mapping[int, Loss]) -> list[SharedTerm]:
    """The terms of one name, put together where they are the same function.

    Args:
        name: The loss's.
        terms: Student -> its term.
    """
    found: list[list[int]] = []
    for student, term in terms.items():
        equal = next((students for students in found if same_function(terms[students[0]], term)), None)
        if equal is None:
            found.append([student])
        else:
            equal.append(student)
    return [SharedTerm(name, terms[students[0]], tuple(students), ForAll()) for students in found]


NOT_SETTINGS = frozenset(vars(nn.Module())) | {"weight"}


def same_function(one: Loss, other: Loss) -> bool:
    """The two terms differ in nothing but their weight, as far as can be seen."""
    if type(one) is not type(other) or list(one.children()) or list(other.children()):
        return False
    ours, theirs = ({k: v for k, v in vars(term).items() if k not in NOT_SETTINGS} for term in (one, other))
    if any(isinstance(value, Tensor) for value in ours.values()):
        return False
    return bool(ours == theirs)


def weighted(soft: Sequence[tuple[SharedTerm, Tensor]], like: Tensor, mixings: Sequence[Mixing]) -> Tensor:
    """``sum(weight * term)`` of every student; [K] as ``like``."""
    total = torch.zeros_like(like)
    for shared, values in soft:
        weights = tuple(mixings[student].weights[shared.name] for student in shared.students)
        share = values * row(weights, values.device)
        if len(shared.students) == len(like):
            total = total + share
        else:
            total = total.index_add(0, torch.tensor(shared.students, device=like.device), share)
    return total


def gradient_for(kept: Sequence[bool], logits: Tensor) -> Tensor:
    """The logits [K, ...], of which some students' get no gradient, not even 0 times infinity."""
    if all(kept):
        return logits
    mask = torch.tensor(kept, device=logits.device).reshape(-1, *[1] * (logits.dim() - 1))
    return torch.where(mask, logits, logits.detach())


def only(kept: Sequence[bool], values: Tensor) -> Tensor:
    """The values [K] of some students, 0 for the others, whatever theirs are."""
    return values if all(kept) else torch.where(torch.tensor(kept, device=values.device), values, 0.0)


@lru_cache(maxsize=256)
def row(values: tuple[float, ...], device: torch.device) -> Tensor:
    """[n] float32. Kept: settings are the same at every step, unless they are annealed."""
    return torch.tensor(values, dtype=torch.float32, device=device)
