"""Students that are stepped one after the other: of any kind, each as a training of its own would step it, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.training.together.student import Student
from kd_lightning.training.together.students import StudentsModule
from kd_lightning.types import Batch


class OneByOneModule(StudentsModule):
    """Steps each student with its own loss, optimizer, learning rate and random state.

    Lightning sees one module with one optimizer, which holds nothing: it counts steps, reads batches and validates.

    Args:
        students: In the order in which they are stepped; on the same rows, from the same step on.
    """

    def __init__(self, students: Sequence[Student]) -> None:
        members = [student.training.module for student in students]
        super().__init__(members)
        self.students = students
        self.networks = nn.ModuleList(members)  # so that they follow from device to device, and from train to eval
        self.nothing = nn.Parameter(torch.zeros(()))
        self.points: dict[int, dict[str, Any]] = {}
        """The resume points from which the students go on, until their optimizers have them; empty = from the beginning."""
        self.steppers: dict[int, tuple[Optimizer, LRScheduler]] = {}

    def configure_optimizers(self) -> Optimizer:
        for student in self.running:
            with self.guarded(student):
                found = self.members[student].configure_optimizers()
                optimizer, scheduler = found["optimizer"], found["lr_scheduler"]["scheduler"]
                if point := self.points.pop(student, None):
                    optimizer.load_state_dict(point["optimizer_states"][0])
                    scheduler.load_state_dict(point["lr_schedulers"][0])
                self.steppers[student] = optimizer, scheduler
        return torch.optim.SGD([self.nothing], lr=0.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        for student in self.running:
            with self.guarded(student):
                self._step(student, batch, batch_idx)
        return torch.zeros(())

    def _step(self, student: int, batch: Batch, batch_idx: int) -> None:
        """What Lightning does with a batch for one module that is alone, in its order."""
        member, trainer = self.members[student], self.students[student].trainer
        optimizer, scheduler = self.steppers[student]
        count = trainer.accumulate_grad_batches

        def closure() -> Tensor:
            with trainer.precision_plugin.train_step_context():
                loss = member.training_step(batch, batch_idx)
            if batch_idx % count == 0:
                optimizer.zero_grad()
            member.backward(loss / count)
            if (batch_idx + 1) % count == 0:
                clip = {name: getattr(trainer, name) for name in ("gradient_clip_val", "gradient_clip_algorithm")}
                member.configure_gradient_clipping(optimizer, **clip)
            return loss

        # Lightning has entered autocast around the steps of all; each enters its own.
        with torch.autocast(self.device.type, enabled=False):
            self.students[student].call("on_train_batch_start", batch, batch_idx)
            member.on_train_batch_start(batch, batch_idx)
            if (batch_idx + 1) % count:
                closure()
                return
            optimizer.step(closure)  # type: ignore[arg-type]
            scheduler.step()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Done in the steps, and so are the next three."""

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def optimizer_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer_closure()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for student in self.running:
            with self.guarded(student):
                self.members[student].validation_step(batch, batch_idx)

    def check_finite(self, batch: Batch | None = None) -> None:
        for student in self.running:
            with self.guarded(student):
                self.members[student].check_finite(batch)

    def bring_up_to_date(self, student: int) -> SupervisedModule:
        return self.members[student]

    def rate_of(self, student: int) -> float:
        return float(self.steppers[student][1].get_last_lr()[0])

    def states_of(self, student: int) -> tuple[dict[str, Any], dict[str, Any]]:
        optimizer, scheduler = self.steppers[student]
        return optimizer.state_dict(), scheduler.state_dict()


class ResumePoints(AtomicCheckpointIO):
    """Loads the resume point of each student into its own module, whichever path is asked for.

    Args:
        module: Of all.
    """

    def __init__(self, module: OneByOneModule) -> None:
        self.module = module

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        module = self.module
        for number, student in enumerate(module.students):
            with module.guarded(number):
                point = module.points[number] = AtomicCheckpointIO().load_checkpoint(student.training.resume)
                student.training.module.load_state_dict(point["state_dict"])
                student.restore(point)
        own = {"state_dict": module.state_dict(), "optimizer_states": [], "lr_schedulers": [], "callbacks": {}}
        return {**module.points[module.running[0]], **own}
