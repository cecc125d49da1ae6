"""Hydra's word that a sweep begins: where it writes to, and its record there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from kd_lightning.redaction import HiddenValues, redacted_override
from kd_lightning.sweeps.records import begin_sweep


class SweepWatch(Callback):
    """Hydra callback: writes ``sweep.json``, and remembers of the sweep of this process what it writes to and hides."""

    folder: ClassVar[Path | None] = None
    hidden: ClassVar[HiddenValues] = HiddenValues()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        SweepWatch.folder = Path(config.hydra.sweep.dir)
        SweepWatch.hidden = HiddenValues()
        words = [redacted_override(word) for word in sys.argv[1:]]
        choices = config.hydra.runtime.choices
        begin_sweep(
            SweepWatch.folder,
            command=shlex.join(["kd", "run", *words]),
            words=words,
            launcher=str(choices.get("hydra/launcher")),
            sweeper=str(choices.get("hydra/sweeper")),
        )
