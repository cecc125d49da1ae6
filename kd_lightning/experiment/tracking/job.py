"""One job as trackers see it, and what a tracker is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedJob:
    """A job.

    Attributes:
        folder: The run folder.
        sweep: Name of its sweep; None for a single run. A sweep's jobs lie side by side in the sweep's folder.
        settings: The resolved settings.
        overrides: Its words, secrets out.
    """

    folder: Path
    sweep: str | None
    settings: Mapping[str, Any]
    overrides: Sequence[str]

    @property
    def name(self) -> str:
        """Unlike all others: ``<sweep>/<number>``, or the folder's name."""
        return self.folder.name if self.sweep is None else f"{self.sweep}/{self.folder.name}"


class Tracker(Protocol):
    """Keeps a chosen logger's record of the whole job, beside the curves of its stages."""

    def begin(self) -> Mapping[str, Any]:
        """Before the first stage; settings that the logger of each stage gets in addition."""
        ...

    def finish(self, results: Mapping[str, Any]) -> None:
        """The run folder is whole; ``results`` is the content of ``results.json``."""
        ...

    def stop(self, error: BaseException) -> None:
        """The job ends with an error."""
        ...
