"""Hydra's word that a sweep begins: where it writes to, its record there, and that nobody else leads a sweep there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from kd_lightning.config.shorthands import explain_shorthands
from kd_lightning.errors import ConfigError, KDError
from kd_lightning.results.sweep_folder import SWEEP_FILE, read_json_or_none
from kd_lightning.results.sweep_records import begin_sweep
from kd_lightning.safety.redaction import HiddenValues, redact_override
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.sweeps.folder_lock import FolderLock, describe_holder


class SweepWatch(Callback):
    """Hydra callback: locks the sweep's folder, writes ``sweep.json``, and remembers its folder and what it hides."""

    folder: ClassVar[Path | None] = None
    lock: ClassVar[FolderLock | None] = None
    hidden: ClassVar[HiddenValues] = HiddenValues()
    only_planned: ClassVar[bool] = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            if SweepWatch.only_planned:
                refuse_search(config)
            else:
                self.lead(config)
        except KDError as error:
            # Hydra turns exceptions of callbacks into warnings and goes on; leaving is what it lets through.
            print(escape_unprintable(f"kd: {type(error).__name__}: {error}"), file=sys.stderr)
            raise SystemExit(2) from error

    def lead(self, config: DictConfig) -> None:
        """Begin to lead the sweep in its folder.

        Raises:
            ConfigError: Another process does.
            CheckpointWriteError: Nobody may write there.
        """
        folder = Path(config.hydra.sweep.dir)
        lock = FolderLock(folder)
        if not lock.acquire():
            holder = describe_holder(read_json_or_none(folder / SWEEP_FILE))
            raise ConfigError(
                f"{folder}: another sweep is at work here ({holder}); follow it with "
                f"kd status {folder} --watch, or give this one a folder of its own: hydra.sweep.dir={folder}-2"
            )
        SweepWatch.folder, SweepWatch.lock, SweepWatch.hidden = folder, lock, HiddenValues()
        say_shorthands(sys.argv[1:])
        words = [redact_override(word) for word in sys.argv[1:]]
        choices = config.hydra.runtime.choices
        begin_sweep(
            folder,
            command=shlex.join(["kd", "run", *words]),
            words=words,
            launcher=str(choices.get("hydra/launcher")),
            sweeper=str(choices.get("hydra/sweeper")),
            confirm=config.confirm if isinstance(config.confirm, int) else 0,
        )

    @classmethod
    @contextmanager
    def planning(cls) -> Iterator[None]:
        """Inside, the jobs of a sweep are looked at, and none is done: nobody leads it."""
        cls.only_planned = True
        try:
            yield
        finally:
            cls.only_planned = False

    @classmethod
    def over(cls) -> None:
        """The sweep of this process has ended, or there was none."""
        if cls.lock is not None:
            cls.lock.release()
        cls.folder = cls.lock = None

    @classmethod
    def withdraw(cls) -> None:
        """The sweep of this process is refused before its first job: it leaves no record, and no folder if that was all."""
        if cls.folder is not None:
            (cls.folder / SWEEP_FILE).unlink(missing_ok=True)
        if cls.lock is not None:
            cls.lock.discard()
        cls.folder = cls.lock = None


def say_shorthands(words: Sequence[str]) -> None:
    """Say in one line what the shorthands of a command stand for, if it has any."""
    line = explain_shorthands(words)
    if line:
        print(escape_unprintable(line), flush=True)


def refuse_search(config: DictConfig) -> None:
    """A sweep's jobs are known before the first one has ended.

    Raises:
        ConfigError: They are a search's.
    """
    sweeper = config.hydra.runtime.choices.get("hydra/sweeper")
    if sweeper != "basic":
        raise ConfigError(
            f"--plan with hydra/sweeper={sweeper}: a search chooses each job by the results of those before it; plan one of "
            "them, without -m"
        )
