"""Each student's own files while many are trained in one pass: its own callbacks write them, as if it were alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl

from kd_lightning.process import stopping
from kd_lightning.training.callbacks.checkpoints import Checkpoints
from kd_lightning.training.callbacks.metrics_log import MetricsLog
from kd_lightning.training.callbacks.progress import StageProgress
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.fit import Training
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.training.vectorized.module import StackedModule


class MemberTrainer:
    """The trainer as one student's callbacks see it: the one of all, but for what is the student's own.

    Args:
        shared: The trainer of all.
        module: All students.
        student: Which.
        callbacks: The student's.
        lock: Held while the trainer of all is asked for its state.
    """

    def __init__(
        self,
        shared: pl.Trainer,
        module: StackedModule,
        student: int,
        callbacks: Sequence[pl.Callback],
        lock: threading.Lock,
    ) -> None:
        self._shared = shared
        self._module = module
        self._student = student
        self._callbacks = callbacks
        self._lock = lock
        self.should_stop = False
        self.loggers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    @property
    def callback_metrics(self) -> dict[str, Any]:
        """The last validation's."""
        return dict(self._module.values[self._student])

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """As much of them as is read: the rate."""
        return [SimpleNamespace(scheduler=SimpleNamespace(_last_lr=[self._module.stepping.rate(self._student)]))]

    def save_checkpoint(self, filepath: Any, weights_only: bool | None = None) -> None:
        """What the student alone would save here."""
        optimizer, scheduler = self._module.stepping.states_of(self._student)
        states = {callback.state_key: callback.state_dict() for callback in self._callbacks}
        with self._lock:  # it calls hooks of the module of all
            shared = self._shared._checkpoint_connector.dump_checkpoint(weights_only)
        checkpoint = {
            **shared,  # where the loops are, which is the same for all
            "state_dict": self._module.members[self._student].state_dict(),
            "optimizer_states": [optimizer],
            "lr_schedulers": [scheduler],
            "callbacks": {key: state for key, state in states.items() if state},
        }
        AtomicCheckpointIO().save_checkpoint(checkpoint, filepath)


class Member:
    """One student's training among many.

    Args:
        training: The student's.

    Attributes:
        progress: Tells its board.
        log: Writes its ``metrics.csv``.
        keeper: Keeps its best weights and its resume points.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.callbacks = training.recorders()
        progress, log, keeper = self.callbacks
        assert isinstance(progress, StageProgress)
        assert isinstance(log, MetricsLog)
        assert isinstance(keeper, Checkpoints)
        self.progress, self.log, self.keeper = progress, log, keeper
        self.trainer: Any = None

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take up what the callbacks had kept when the student's resume point was saved."""
        states = checkpoint["callbacks"]
        for callback in self.callbacks:
            if callback.state_key in states:
                callback.load_state_dict(states[callback.state_key])


Chosen = Callable[[Member], Sequence[pl.Callback]]
"""Some of a student's callbacks."""
THREADS = 16


def judge(module: StackedModule, students: Sequence[int], outcomes: Sequence[BaseException | None]) -> None:
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


class MemberCallbacks(pl.Callback):
    """Calls every student's own callbacks when they have something to do.

    Args:
        members: All students, in the order of the stack.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        settings = members[0].training.settings
        self.log_every = settings.log_every
        self.checkpoint_every = settings.checkpoint_every
        self._turn = 0
        self._next = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StackedModule)
        lock = threading.Lock()
        for student, member in enumerate(self.members):
            member.trainer = MemberTrainer(trainer, module, student, member.callbacks, lock)
        self._each(module, "on_train_start", lambda member: member.callbacks)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, StackedModule)
        step = trainer.global_step
        self._show(module, batch_idx)
        logs = step % self.log_every == 0
        saves = step % self.checkpoint_every == 0 or stopping.requested()
        if logs or saves:
            module.check_finite()
        if logs:
            self._each(module, "on_train_batch_end", lambda member: [member.log], outputs, batch, batch_idx)
        if saves:
            self._each_at_once(module, "on_train_batch_end", lambda member: [member.keeper], outputs, batch, batch_idx)
        if step == trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate after the last step, whatever the interval

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StackedModule)
        module.check_finite()
        self._each(module, "on_validation_end", lambda member: [member.progress])
        self._each_at_once(module, "on_validation_end", lambda member: [member.log, member.keeper])

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StackedModule)
        self._each_at_once(module, "on_train_end", lambda member: [member.log, member.keeper])

    def _each(self, module: StackedModule, hook: str, chosen: Chosen, *arguments: Any) -> None:
        """Call a hook of every running student's chosen callbacks. What one raises ends that student alone.

        Raises:
            Terminated: A callback wished to end, after all have been called.
            AllEnded: No student is left.
        """
        students = module.running
        own = [module.bring_up_to_date(student) for student in students]
        judge(
            module, students, [self._called(*each, hook, chosen, arguments) for each in zip(students, own, strict=True)]
        )

    def _each_at_once(self, module: StackedModule, hook: str, chosen: Chosen, *arguments: Any) -> None:
        """The same for callbacks that write, in threads: each waits for the disk several times, and all may wait together
        (16 students: 1/10 of the time)."""
        students = module.running
        own = [module.bring_up_to_date(student) for student in students]
        with ThreadPoolExecutor(THREADS) as pool:
            waited = [
                pool.submit(self._called, *each, hook, chosen, arguments) for each in zip(students, own, strict=True)
            ]
        judge(module, students, [each.result() for each in waited])

    def _called(
        self, student: int, own: SupervisedModule, hook: str, chosen: Chosen, arguments: Sequence[Any]
    ) -> BaseException | None:
        """Call the hook of one student's callbacks; what they raised."""
        member = self.members[student]
        try:
            for callback in chosen(member):
                getattr(callback, hook)(member.trainer, own, *arguments)
        except (stopping.Terminated, Exception) as error:
            return error
        return None

    def _show(self, module: StackedModule, batch_idx: int) -> None:
        """One board at a time, in turn, so that all together cost no more than one."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + StageProgress.INTERVAL
        running = module.running
        student = running[self._turn % len(running)]
        self._turn += 1
        member = self.members[student]
        member.progress.on_train_batch_end(member.trainer, module.members[student], None, None, batch_idx)
