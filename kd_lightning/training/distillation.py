"""Training a student with a frozen teacher inside.

``loss = (1 - alpha) * hard + alpha * sum(weight * term)``, unless a ``weighting`` puts factors before the terms. The article's
lambda is our alpha. The hard loss is the student's own; each soft term says its own formula; T^2 stands in ``tempered_kl``
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, TeacherOutputError
from kd_lightning.losses.base import Loss, all_taps, lasting, teacher_taps
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.weighting.base import HARD, Weighting
from kd_lightning.losses.weighting.fixed import Fixed
from kd_lightning.models.taps import check_taps, tap_network
from kd_lightning.tasks.base import Task
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.training.annealing import Annealing, Mixing
from kd_lightning.training.compilation import compile_network
from kd_lightning.training.supervised import OptimizerFactory, Schedule, SupervisedModule
from kd_lightning.types import Batch, LinearLogits, Outputs


class DistillationModule(SupervisedModule):
    """Minimizes the hard loss and the soft ones, mixed by alpha.

    The teacher is held outside the module tree: it is in no ``state_dict``, no optimizer and no gradient sync, and
    nobody's ``train()`` reaches it; it still follows the module from device to device.

    Args:
        student: The network that is trained.
        teacher: Gives the teacher's Outputs.
        task: As in ``SupervisedModule``.
        soft_losses: name -> term; the names are those of the log.
        alpha: Share of the soft terms in [0, 1], or a schedule over the stage. At 1 no label is read but by losses
            that say so.
        temperature: T > 0, or a schedule over the stage.
        steps: Optimizer steps of this stage, for the schedules of alpha, temperature and weights.
        optimizer: Parameters of the student and of the losses' projections -> optimizer.
        scheduler: As in ``SupervisedModule``.
        seed: As in ``SupervisedModule``.
        total_steps: As in ``SupervisedModule``.
        first_step: As in ``SupervisedModule``.
        compiled: As in ``SupervisedModule``; the teacher's network, too.
        chunked: As in ``SupervisedModule``; losses that cannot be computed so are computed as ever.
        weight_curves: Name of a loss -> schedule over the stage that its weight is multiplied by.
        weighting: Puts the terms together; None = with their weights as they are.

    Raises:
        ConfigError: No loss is given, or the weighting is not possible for a compiled network.
        TapError: A loss taps a module that is not there.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: TeacherOutputs,
        task: Task,
        soft_losses: Mapping[str, Loss],
        alpha: float | Schedule,
        temperature: float | Schedule,
        steps: int,
        optimizer: OptimizerFactory,
        scheduler: Schedule,
        seed: int,
        total_steps: int,
        first_step: int = 0,
        compiled: bool = False,
        chunked: bool = False,
        weight_curves: Mapping[str, Schedule] | None = None,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__(student, task, optimizer, scheduler, seed, total_steps, first_step, compiled, chunked)
        if not soft_losses:
            raise ConfigError("loss is empty: name at least one, for example loss=[kd]")
        self.soft_losses = nn.ModuleDict(dict(soft_losses))
        self.annealing = Annealing(soft_losses, alpha, temperature, weight_curves or {}, steps)
        self.steps = steps
        self.weighting = weighting or Fixed()
        self.weighting.begin([HARD, *soft_losses])
        unbounded = [name for name, term in soft_losses.items() if not term.bounded] if self.weighting.positive else []
        if unbounded:
            raise ConfigError(
                f"weighting: {type(self.weighting).__name__} is for terms that never fall below 0, as loss."
                f"{unbounded[0]} may: use weighting=fixed, or gradient_norm with asymmetry 0, or leave {unbounded[0]} out"
            )
        if self.weighting.measures and compiled:
            raise ConfigError(f"{self._takes_gradients()}, which compile=true does not give: set compile=false")
        self.student_taps = {name: student_path for name, (student_path, _) in all_taps(soft_losses).items()}
        check_taps(student, self.student_taps, "student")
        self.teacher_taps = teacher_taps(soft_losses)
        teacher.connect(self.teacher_taps, by_rows=chunked)
        raw = [] if teacher.keeps_logits else [name for name, term in soft_losses.items() if term.raw_logits]
        if raw:
            raise ConfigError(
                f"loss.{raw[0]} reads the teacher's logits as they are, and teacher_outputs keeps probabilities: use "
                "teacher_outputs=cached or live"
            )
        self._teacher = (teacher,)  # in a tuple, so that it is no submodule

    @property
    def teacher(self) -> TeacherOutputs:
        return self._teacher[0]

    @property
    def asks_of_teacher(self) -> Hashable:
        """What its outputs are connected for: equal for students that one teacher can serve."""
        return tuple(sorted(self.teacher_taps.items())), self.chunked

    def replace_teacher(self, teacher: TeacherOutputs) -> None:
        """Learn from another one, connected, that says the same."""
        self._teacher = (teacher,)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> DistillationModule:
        # What .to(), .cuda(), .half() call: the teacher goes along although it is not in the tree.
        self.teacher._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def trained_parts(self) -> list[nn.Module]:
        beside = [*self.soft_losses.values(), self.weighting]
        return [self.network, *(part for part in beside if any(True for _ in part.parameters()))]

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            self.refuse_splitting()
        super().configure_model()

    def refuse_splitting(self) -> None:
        """Told that the network will be spread over processes.

        Raises:
            ConfigError: The weighting cannot work with that.
        """
        if self.weighting.measures:
            raise ConfigError(f"{self._takes_gradients()}, which trainer=fsdp does not give: use trainer=ddp")

    def _takes_gradients(self) -> str:
        return f"weighting: {type(self.weighting).__name__} takes the gradient of each term by itself"

    def compile_networks(self) -> None:
        super().compile_networks()
        for network in self.teacher.networks():
            compile_network(network, self.chunked)

    def lasting(self) -> nn.ModuleDict:
        """The losses that have something to remember from stage to stage."""
        terms = {name: cast(Loss, term) for name, term in self.soft_losses.items()}
        return nn.ModuleDict(dict(lasting(terms)))

    def carried(self) -> nn.Module | None:
        last = self.first_step + self.steps == self.total_steps
        return None if last else (self.lasting() or None)

    def on_train_start(self) -> None:
        self._teacher_before = self.teacher.content_hash()

    def record(self) -> dict[str, Any]:
        return {"teacher_before": self._teacher_before, "teacher_after": self.teacher.content_hash()}

    def mixing(self, step: int) -> Mixing:
        """Alpha, temperature and weights after ``step`` optimizer steps of this stage."""
        return self.annealing.at(step)

    def in_force(self, step: int) -> dict[str, Any]:
        found: dict[str, Any] = self.annealing.changing(step)
        weights = {HARD: 1.0, **self.mixing(step).weights}
        return found | {f"weight_{name}": weights[name] * f for name, f in self.weighting.factors.items()}

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        student = self._student_outputs(batch)
        mix = self.chunked_mix if self.chunked else self.plain_mix
        loss, terms = mix(student, batch, self.mixing(self.global_step))
        for name, term in self.soft_losses.items():
            cast(Loss, term).advance(self.global_step / self.steps, terms[name].detach())
        return loss, terms

    def plain_mix(self, student: Outputs, batch: Batch, mixing: Mixing) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms from whole logits."""
        alpha, aligned = mixing.alpha, self.task.align(batch, student.logits)
        terms: dict[str, Tensor] = {}
        if alpha < 1:
            terms[HARD] = self.task.loss(student.logits, aligned, batch)
        with nullcontext() if alpha > 0 else torch.no_grad():
            teacher = self.teacher(batch)
            for name, term in self.soft_losses.items():
                terms[name] = term(_view(student, name), _view(teacher, name), aligned, mixing.temperature)
        if self.weighting.measures:
            trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
            self.weighting.observe(terms, trained, self.global_step)
        return self.weighting(terms, alpha, mixing.weights), terms

    def chunked_mix(self, student: Outputs, batch: Batch, mixing: Mixing) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with fixed weights; the hard loss and the divergences without whole logits."""
        source = student.source
        assert isinstance(source, LinearLogits)
        assert not self.weighting.learns
        alpha, temperature = mixing.alpha, mixing.temperature
        aligned, teacher = self.task.align(batch, source.hidden), self.teacher(batch)
        hard = self.task.hard_term(aligned, 1 - alpha) if alpha < 1 else None
        share = {name: alpha * mixing.factors.get(name, 1.0) for name in self.soft_losses}
        soft = {name: cast(Loss, term).soft_term(temperature, share[name]) for name, term in self.soft_losses.items()}
        rowwise = {name: term for name, term in soft.items() if term is not None}
        found = chunked_loss(source, teacher.source, aligned.mask, hard, list(rowwise.values()), compiled=self.compiled)
        values = dict(zip(rowwise, found.soft, strict=True))
        loss, terms = found.total, {} if hard is None else {HARD: found.hard}
        with nullcontext() if alpha > 0 else torch.no_grad():
            for name, term in self.soft_losses.items():
                whole = name not in values
                terms[name] = (
                    term(_view(student, name), _view(teacher, name), aligned, temperature) if whole else values[name]
                )
                if whole and alpha > 0:
                    loss = loss + alpha * mixing.weights[name] * terms[name]
        return loss, terms

    def _student_outputs(self, batch: Batch) -> Outputs:
        logits = self.task.linear_logits if self.chunked else self.task.logits
        if not self.student_taps:
            return Outputs(logits(self.network, batch))
        with tap_network(self.network, self.student_taps) as features:
            made = logits(self.network, batch)
        return Outputs(made, features)

    def explain(self, step: int, terms: dict[str, Tensor], batch: Batch | None) -> None:
        if batch is not None:
            check_teacher_outputs(self.teacher(batch), batch, step)
        super().explain(step, terms, batch)


def check_teacher_outputs(outputs: Outputs, batch: Batch, step: int) -> None:
    """All that the teacher says about the batch is finite. A loss may be infinite because it forbids classes, too.

    Raises:
        TeacherOutputError: It is not; names what, and the rows.
    """
    forbidden = outputs.logits == -torch.inf
    checked = {"logits": outputs.logits.masked_fill(forbidden, 0.0), **outputs.features}
    for name, tensor in checked.items():
        bad = ~torch.isfinite(tensor.reshape(len(batch["index"]), -1)).all(dim=1)
        if bad.any():
            rows = batch["index"][bad].tolist()
            raise TeacherOutputError(
                f"the teacher's {name} are not finite at step {step} for {len(rows)} training rows, index "
                f"{rows[:5]}: train the teacher again with a lower teacher.optimizer.lr, or choose another"
            )
    if forbidden.any():
        raise TeacherOutputError(
            f"the loss is not finite at step {step}, and the teacher forbids classes (logits of -inf): a loss with a "
            "reverse divergence, or one that reads logits as numbers, is infinite there; use kd, jsd or skew_kl"
        )


def _view(outputs: Outputs, name: str) -> Outputs:
    """The outputs as one loss sees them: its own taps, under its own names."""
    if not outputs.features:
        return outputs
    own = {key.removeprefix(f"{name}/"): value for key, value in outputs.features.items() if key.startswith(f"{name}/")}
    return outputs.with_features(own)
