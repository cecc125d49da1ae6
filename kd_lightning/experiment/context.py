"""What everything in an experiment knows of its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_lightning.experiment.settings import Build, Settings
from kd_lightning.experiment.sharing import Alone
from kd_lightning.experiment.stage import Stage
from kd_lightning.fingerprint import code_fingerprint, targets_of
from kd_lightning.store import Entry, Store
from kd_lightning.training.fit import StageBoard


@dataclass(frozen=True)
class Context:
    """The surroundings of an experiment.

    Attributes:
        settings: The resolved configuration as plain data; ``conf/config.yaml`` documents each key.
        build: Turns a settings node with a ``_target_`` into the object it describes.
        packages: Top-level packages of the user whose code counts in keys.
        board: Where progress is shown.
        name: The run's, or its sweep's: what ``force`` names is made again once under each name.
        sharing: What it has in common with other jobs of this process.
    """

    settings: Settings
    build: Build
    packages: Sequence[str]
    board: StageBoard
    name: str
    sharing: Alone

    @property
    def store(self) -> Store:
        """Where results are kept."""
        return Store(Path(self.settings["outputs"]) / "store")

    def place(self, stage: Stage) -> Entry:
        """The stage's place in the store."""
        return self.store.entry(stage.name, stage.key)

    def force(self, stage: Stage) -> str | None:
        """For whom the stage is made again although it is stored; None = it is not."""
        return self.name if stage.name in self.settings["force"] else None

    def code(self, roots: Sequence[str], nodes: Any) -> str:
        """Fingerprint of the root modules and of all that the nodes name."""
        return code_fingerprint([*roots, *targets_of(nodes)], self.packages)
