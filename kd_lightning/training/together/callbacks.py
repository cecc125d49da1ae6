"""Calls every student's own callbacks, which write its files, while several are trained in one fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytorch_lightning as pl

from kd_lightning.process import stopping
from kd_lightning.training.callbacks import checkpoints
from kd_lightning.training.callbacks.progress import StageProgress
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.training.together.student import Student
from kd_lightning.training.together.students import StudentsModule

Chosen = Callable[[Student], Sequence[pl.Callback]]
"""Some of a student's callbacks."""
THREADS = 16


class StudentsCallback(pl.Callback):
    """What both ways to train several students have in common.

    Args:
        students: All, in the module's order.
    """

    def __init__(self, students: Sequence[Student]) -> None:
        self.students = list(students)
        self.stop = False
        """SIGTERM has come: asked once a step, so that all students save at the same one."""

    def join(self, trainer: pl.Trainer, module: StudentsModule) -> None:
        """Let all students take part."""
        lock = threading.Lock()
        for number, student in enumerate(self.students):
            student.join(trainer, module, number, lock)
            student.keeper.asked_to_stop = lambda _: self.stop

    def call_each(self, module: StudentsModule, hook: str, chosen: Chosen, *arguments: Any) -> None:
        """Call a hook of every running student's chosen callbacks. What one raises ends that student alone.

        Raises:
            Terminated: A callback wished to end, after all have been called.
            AllEnded: No student is left.
        """
        running = module.running
        outcomes = []
        for each in running:
            own = module.bring_up_to_date(each)
            with module.time_of(each):
                outcomes.append(called(self.students[each], own, hook, chosen, arguments))
        judge(module, running, outcomes)

    def call_at_once(self, module: StudentsModule, hook: str, chosen: Chosen, *arguments: Any) -> None:
        """The same for callbacks that write, in threads: each waits for the disk several times, and all may wait together
        (16 students: 1/10 of the time)."""
        running = module.running
        own = [module.bring_up_to_date(each) for each in running]
        students = [self.students[each] for each in running]
        with ThreadPoolExecutor(THREADS) as pool:
            waited = [pool.submit(called, *each, hook, chosen, arguments) for each in zip(students, own, strict=True)]
        judge(module, running, [each.result() for each in waited])


def called(
    student: Student, own: SupervisedModule, hook: str, chosen: Chosen, arguments: Sequence[Any]
) -> BaseException | None:
    """Call a hook of one student's callbacks; what they raised."""
    try:
        for callback in chosen(student):
            getattr(callback, hook)(student.trainer, own, *arguments)
    except (stopping.Terminated, Exception, SystemExit) as error:
        return error
    return None


def judge(module: StudentsModule, students: Sequence[int], outcomes: Sequence[BaseException | None]) -> None:
    """End the students whose callbacks have raised.

    Raises:
        Terminated: One wished to end all.
        AllEnded: No student is left.
    """
    wish: BaseException | None = None
    for student, error in zip(students, outcomes, strict=True):
        if isinstance(error, stopping.Terminated):
            wish = error
        elif error is not None:
            module.end(student, error)
    if wish is not None:
        raise wish


def all_of(student: Student) -> Sequence[pl.Callback]:
    """All callbacks of a student."""
    return student.callbacks


class OneByOneCallbacks(StudentsCallback):
    """Calls all callbacks of all students, as a training of its own would."""

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        assert isinstance(module, StudentsModule)
        self.join(trainer, module)
        self.call_each(module, "setup", all_of, stage)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.call_each(module, "on_fit_start", all_of)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.call_each(module, "on_train_start", all_of)
        self._finish_stopped(trainer, module)  # early, before a crash

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.call_each(module, "on_train_epoch_start", all_of)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, StudentsModule)
        self.stop = checkpoints.asked_to_stop(trainer)
        self.call_each(module, "on_train_batch_end", all_of, outputs, batch, batch_idx)
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate after the last step, whatever the interval

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.call_each(module, "on_validation_start", all_of)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.stop = checkpoints.asked_to_stop(trainer)
        self.call_each(module, "on_validation_end", all_of)
        if trainer.global_step < trainer.max_steps:
            self._finish_stopped(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self._finish(module, module.running)

    def _finish_stopped(self, trainer: pl.Trainer, module: StudentsModule) -> None:
        """The training of those whose callbacks wish so is over."""
        self._finish(module, [each for each in module.running if self.students[each].trainer.should_stop])
        if not module.running:
            trainer.should_stop = True

    def _finish(self, module: StudentsModule, students: Sequence[int]) -> None:
        """What comes at the end of a student's training."""
        for number in students:
            for hook in ("on_train_epoch_end", "on_train_end", "on_fit_end"):
                error = called(self.students[number], module.bring_up_to_date(number), hook, all_of, ())
                if error is not None:
                    module.errors[number] = error
                    break
            module.finished.add(number)


class VectorizedCallbacks(StudentsCallback):
    """Calls the recorders of all students, and each only when it has something to do: a look at one student is a copy."""

    def __init__(self, students: Sequence[Student]) -> None:
        super().__init__(students)
        settings = students[0].training.settings
        self.log_every = settings.log_every
        self.checkpoint_every = settings.checkpoint_every
        self._turn = 0
        self._next = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.join(trainer, module)
        self.call_each(module, "on_train_start", all_of)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, StudentsModule)
        step = trainer.global_step
        self.stop = checkpoints.asked_to_stop(trainer)
        self._show(module, batch_idx)
        logs = step % self.log_every == 0
        saves = step % self.checkpoint_every == 0 or self.stop
        if logs or saves:
            module.check_finite()
        if logs:
            self.call_each(module, "on_train_batch_end", lambda each: [each.log], outputs, batch, batch_idx)
        if saves:
            self.call_at_once(module, "on_train_batch_end", lambda each: [each.keeper], outputs, batch, batch_idx)
        if step == trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate after the last step, whatever the interval

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.stop = checkpoints.asked_to_stop(trainer)
        module.check_finite()
        self.call_each(module, "on_validation_end", lambda each: [each.progress])
        self.call_at_once(module, "on_validation_end", lambda each: [each.log, each.keeper])

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StudentsModule)
        self.call_at_once(module, "on_train_end", lambda each: [each.log, each.keeper])

    def _show(self, module: StudentsModule, batch_idx: int) -> None:
        """One board at a time, in turn, so that all together cost no more than one."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + StageProgress.INTERVAL
        running = module.running
        number = running[self._turn % len(running)]
        self._turn += 1
        student = self.students[number]
        student.progress.on_train_batch_end(student.trainer, module.members[number], None, None, batch_idx)
