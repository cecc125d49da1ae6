"""What everything in an experiment knows of its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kd_lightning.experiment.claims import Claims
from kd_lightning.experiment.settings import Build, Settings
from kd_lightning.experiment.stage import Stage
from kd_lightning.fingerprint import code_fingerprint, targets_of
from kd_lightning.store import Entry, Store
from kd_lightning.training.fit import StageBoard

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """The surroundings of an experiment.

    Attributes:
        settings: The resolved configuration as plain data; ``conf/config.yaml`` documents each key.
        build: Turns a settings node with a ``_target_`` into the object it describes.
        packages: Top-level packages of the user whose code counts in keys.
        board: Where progress is shown.
        name: The run's, or its sweep's: what ``force`` names is made again once under each name.
        claims: Says which job of a sweep does which stage; None = locks alone do.
        made: What was made once, by what it is made of: experiments of one process may have it in common.
    """

    settings: Settings
    build: Build
    packages: Sequence[str]
    board: StageBoard
    name: str
    claims: Claims | None = None
    made: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Where results are kept."""
        return Store(Path(self.settings["outputs"]) / "store")

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives; made at the first call with this key."""
        if key not in self.made:
            self.made[key] = make()
        found: T = self.made[key]
        return found

    def place(self, stage: Stage) -> Entry:
        """The stage's place in the store."""
        return self.store.entry(stage.name, stage.key)

    def force(self, stage: Stage) -> str | None:
        """For whom the stage is made again although it is stored; None = it is not."""
        return self.name if stage.name in self.settings["force"] else None

    def code(self, roots: Sequence[str], nodes: Any) -> str:
        """Fingerprint of the root modules and of all that the nodes name."""
        return code_fingerprint([*roots, *targets_of(nodes)], self.packages)
