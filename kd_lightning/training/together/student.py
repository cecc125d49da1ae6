"""One student of several that are trained in one fit: its own callbacks, loggers and files, as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl

from kd_lightning.training.callbacks.checkpoints import Checkpoints
from kd_lightning.training.callbacks.metrics_log import MetricsLog
from kd_lightning.training.callbacks.progress import StageProgress
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.fit import Training
from kd_lightning.training.together.students import StudentsModule


class StudentTrainer:
    """The trainer as one student's callbacks see it: the one of all, but for what is the student's own.

    Args:
        shared: The trainer of all.
        module: All students.
        student: Which.
        callbacks: The student's.
        loggers: The student's.
        lock: Held while the trainer of all is asked for its state.
    """

    def __init__(
        self,
        shared: pl.Trainer,
        module: StudentsModule,
        student: int,
        callbacks: Sequence[pl.Callback],
        loggers: Sequence[Any],
        lock: threading.Lock,
    ) -> None:
        self._shared = shared
        self._module = module
        self._student = student
        self._lock = lock
        self.callbacks = callbacks
        self.loggers = loggers
        self.should_stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    @property
    def callback_metrics(self) -> dict[str, Any]:
        """The last validation's."""
        return dict(self._module.values[self._student])

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """As much of them as is read: the rate."""
        return [SimpleNamespace(scheduler=SimpleNamespace(_last_lr=[self._module.rate_of(self._student)]))]

    def save_checkpoint(self, filepath: Any, weights_only: bool | None = None) -> None:
        """What the student alone would save here."""
        optimizer, scheduler = self._module.states_of(self._student)
        states = {callback.state_key: callback.state_dict() for callback in self.callbacks}
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


class Student:
    """One student's training among several.

    Args:
        training: The student's.

    Attributes:
        callbacks: All that a training of its own would call, in that order.
        progress: Tells its board.
        log: Writes its ``metrics.csv``.
        keeper: Keeps its best weights and its resume points.
        trainer: As the callbacks see it, once the fit has begun.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        progress, log, keeper = recorders = training.recorders()
        assert isinstance(progress, StageProgress)
        assert isinstance(log, MetricsLog)
        assert isinstance(keeper, Checkpoints)
        self.progress, self.log, self.keeper = progress, log, keeper
        self.callbacks = [*training.settings.callbacks(), *recorders, *training.pruning()]
        self.loggers = training.settings.loggers(training.stage.name)
        self.trainer: Any = None

    def join(self, shared: pl.Trainer, module: StudentsModule, number: int, lock: threading.Lock) -> None:
        """Take part in the fit of all, as its student of that number."""
        self.trainer = StudentTrainer(shared, module, number, self.callbacks, self.loggers, lock)
        self.training.module.trainer = self.trainer
        self.keeper.clock = module.clock_of(number)

    def call(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, hook)(self.trainer, self.training.module, *arguments)

    def conclude(self, status: str) -> None:
        """Tell the loggers that it is over; ``status`` is ``success`` or ``failed``."""
        for logger in self.loggers:
            logger.finalize(status)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take up what the callbacks had kept when the student's resume point was saved."""
        states = checkpoint["callbacks"]
        for callback in self.callbacks:
            if callback.state_key in states:
                callback.load_state_dict(states[callback.state_key])
