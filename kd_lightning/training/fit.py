"""One training inside a folder: begun or gone on with, until its last step is taken."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
import torchmetrics
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from kd_lightning.process import stopping
from kd_lightning.process.cpu_threads import adapt_threads
from kd_lightning.store import Entry, publish_json
from kd_lightning.training.callbacks.checkpoints import (
    Checkpoints,
    newest_resume_point,
    resume_files,
)
from kd_lightning.training.callbacks.metrics_log import MetricsLog
from kd_lightning.training.callbacks.progress import Board, StageProgress
from kd_lightning.training.callbacks.pruning import pruning_reports
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.supervised import SupervisedModule

WEIGHTS = "weights.safetensors"


class StageBoard(Board, Protocol):
    """Where a run reports."""

    def start(self, stage: str, steps: int | None = None) -> None:
        """Work on the stage begins; ``steps`` where they are known only now."""

    def done(self, stage: str, note: str) -> None:
        """The stage is finished."""

    def say(self, text: str) -> None:
        """One plain line."""


class Trainable(Protocol):
    """What a training is of: a stage of a scheme."""

    @property
    def name(self) -> str:
        """The stage's."""
        ...

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        ...

    @property
    def contents(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        ...

    @property
    def module(self) -> Callable[[], SupervisedModule]:
        """Builds the LightningModule as it is before the first step."""
        ...

    @property
    def data(self) -> Callable[[], pl.LightningDataModule]:
        """Builds its rows and their order."""
        ...


@dataclass(frozen=True)
class TrainerSettings:
    """How stages are trained, beyond what they are.

    Attributes:
        trainer: ``pytorch_lightning.Trainer`` with the trainer group's settings filled in.
        callbacks: Builds the user's callbacks, fresh for each stage.
        loggers: Builds the chosen loggers for a stage's name.
        validate_every: Optimizer steps between validations.
        checkpoint_every: Optimizer steps between resume points.
        log_every: Optimizer steps between logged values.
        accumulate: Batches for each optimizer step.
        folder: The run folder, where a search may ask a job to end early; None = there is none.
        judged: Name of the stage whose validations a search compares; it alone is ended early.
        on_cpu: They are trained in this process, on the CPU, so that its number of threads is part of the rounding.
    """

    trainer: Callable[..., pl.Trainer]
    callbacks: Callable[[], Sequence[pl.Callback]]
    loggers: Callable[[str], Sequence[Any]]
    validate_every: int
    checkpoint_every: int
    log_every: int
    accumulate: int
    folder: str | None = None
    on_cpu: bool = False
    judged: str = ""


def begun(entry: Entry) -> bool:
    """A training of the entry has left something to go on from."""
    return entry.path("description.json").is_file()


@dataclass(frozen=True)
class PendingTraining:
    """A training to be done inside an entry's folder, or to be gone on with.

    Attributes:
        stage: What is trained.
        entry: Its place in the store; whoever trains holds its lock.
        settings: How to train.
        board: Where progress is shown.
    """

    stage: Trainable
    entry: Entry
    settings: TrainerSettings
    board: StageBoard

    def do(self) -> None:
        """Train alone."""
        with self.threads():
            fit(self.begin())

    def threads(self) -> AbstractContextManager[None]:
        """Around it: it has the CPU threads that it began with, or as many as are free."""
        return adapt_threads(recorded_threads(self.entry), self.board.say) if self.settings.on_cpu else nullcontext()

    def begin(self) -> Training:
        """See ``begin``."""
        return begin(self.stage, self.entry, self.settings, self.board)


def recorded_threads(entry: Entry) -> int | None:
    """CPU threads of the training that has left a resume point here; None = there is none, or nobody knows."""
    if not (begun(entry) and resume_files(entry.folder)):
        return None
    try:
        return entry.read_json("description.json").get("threads")
    except ValueError:  # damaged; what the training goes on from is its resume points
        return None


@dataclass(frozen=True)
class Training:
    """A training inside an entry's folder, about to start or to go on.

    Attributes:
        stage: What is trained.
        entry: Its place in the store.
        settings: How to train.
        board: Where progress is shown.
        module: The module, as it is before the first step.
        resume: The point from which it goes on; None = from the beginning.
    """

    stage: Trainable
    entry: Entry
    settings: TrainerSettings
    board: StageBoard
    module: SupervisedModule
    resume: Path | None

    def recorders(self) -> list[pl.Callback]:
        """The callbacks that write all that a training leaves, in the order in which they are called."""
        task = self.module.task
        log = MetricsLog(self.entry.path("metrics.csv"), self.settings.log_every)
        keeper = Checkpoints(self.entry.folder, self.settings.checkpoint_every, task.monitor, task.mode, log)
        return [StageProgress(self.board, self.stage.name, task.monitor), log, keeper]

    def pruning(self) -> list[pl.Callback]:
        """What a search has put upon this training."""
        if (
            self.stage.name != self.settings.judged
        ):  # the stages before it are shared by trials, and made whole for the next
            return []
        return pruning_reports(self.settings.folder, self.module.task.monitor)

    def trainer(
        self, callbacks: Sequence[pl.Callback], loggers: Sequence[Any], checkpoint_io: CheckpointIO
    ) -> pl.Trainer:
        """A trainer for the stage's steps and validations."""
        accumulate = self.settings.accumulate
        batches = self.stage.steps * accumulate
        return self.settings.trainer(
            max_steps=self.stage.steps,
            max_epochs=-1,
            accumulate_grad_batches=accumulate,
            val_check_interval=min(self.settings.validate_every * accumulate, batches),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=list(callbacks),
            logger=list(loggers) or False,
            plugins=[checkpoint_io],
            default_root_dir=self.entry.folder,
            **QUIET,
        )


def begin(stage: Trainable, entry: Entry, settings: TrainerSettings, board: StageBoard) -> Training:
    """Describe the training in its folder, build what is trained, and find the point from which it goes on."""
    description = {"stage": stage.name, "key": entry.key, "versions": versions(), **stage.contents}
    if settings.on_cpu:
        began_with, threads = recorded_threads(entry), torch.get_num_threads()
        description["threads"] = began_with or threads
        if began_with not in (None, threads):
            board.say(
                f"{stage.name}: began with {began_with} CPU threads, goes on with {threads}: the last digits may differ "
                f"(OMP_NUM_THREADS={began_with}: they do not)"
            )
    publish_json(entry.path("description.json"), description)
    module = stage.module()
    resume, refused = newest_resume_point(entry.folder)
    for sentence in refused:
        board.say(f"{stage.name}: {sentence}")
    if resume:
        board.say(f"{stage.name}: goes on from {resume.name}")
    return Training(stage, entry, settings, board, module, resume)


def fit(training: Training) -> None:
    """Train alone."""
    settings = training.settings
    trainer = training.trainer(
        callbacks=[*settings.callbacks(), *training.recorders(), *training.pruning()],
        loggers=settings.loggers(training.stage.name),
        checkpoint_io=AtomicCheckpointIO(),
    )
    run_trainer(trainer, training.module, training)


def run_trainer(trainer: pl.Trainer, module: pl.LightningModule, training: Training) -> None:
    """Let the trainer train the module on the rows of ``training``, from its resume point if it has one."""
    with lightning_is_quiet(), interrupts_pass(), stopping.defer_sigterm():
        trainer.fit(module, datamodule=training.stage.data(), ckpt_path=training.resume, weights_only=True)


QUIET: dict[str, Any] = {
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


@contextmanager
def lightning_is_quiet() -> Any:
    """Without the warnings that do not hold for us."""
    with warnings.catch_warnings():
        # Rows are tensors in memory: workers would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Lightning's own use of torch, in 2.6 with torch 2.13.
        warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\).*")
        # Nothing of ours is done in place to what a network returns.
        warnings.filterwarnings("ignore", ".*FSDP2-wrapped module.*returned a view tensor.*")
        # Ours to decide: log_every.
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
        # Ours is: it starts at the trainer's step.
        warnings.filterwarnings("ignore", ".*dataloader is not resumable.*")
        yield


@contextmanager
def interrupts_pass() -> Any:
    """Ctrl-C stays KeyboardInterrupt: Lightning turns it into ``SystemExit(1)`` and ignores further ones for good."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main_thread else None
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def versions() -> dict[str, str]:
    """Of the libraries that compute: for the record; no key asks for them."""
    return {"torch": torch.__version__, "pytorch-lightning": pl.__version__, "torchmetrics": torchmetrics.__version__}
