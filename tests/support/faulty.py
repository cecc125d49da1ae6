"""A package of the user's own, written into a folder: a callback that harms the job it is told to."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
import os
import signal
import sys
from pathlib import Path

import pytorch_lightning as pl


class Fault(pl.Callback):
    """Strikes in the distill stage of the job with this temperature, while the file ``armed`` is there."""

    def __init__(self, temperature, kind, armed):
        self.temperature, self.kind, self.armed = temperature, kind, Path(armed)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        soft = module.mixing(0).temperature if hasattr(module, "mixing") else None
        if soft != self.temperature or not module.first_step or batch_idx != 1 or not self.armed.exists():
            return
        with self.armed.with_name("struck").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        if self.kind == "raise":
            raise RuntimeError("on purpose")
        if self.kind.startswith("exit"):
            sys.exit(int(self.kind[-1]))
        if self.kind == "leave":
            os._exit(0)
        os.kill(os.getpid(), getattr(signal, self.kind))
'''


def write_package(folder: Path) -> None:
    """``faulty.py`` in the folder, and the file that arms it."""
    (folder / "faulty.py").write_text(SOURCE)
    (folder / "armed").touch()


def strikes(folder: Path) -> int:
    """How often it struck."""
    struck = folder / "struck"
    return len(struck.read_text().splitlines()) if struck.exists() else 0


def fault_words(folder: Path, temperature: float, kind: str) -> tuple[str, ...]:
    """Overrides that put the callback into every job."""
    return (
        "+callbacks.fault._target_=faulty.Fault",
        f"+callbacks.fault.temperature={temperature}",
        f"+callbacks.fault.kind={kind}",
        f"+callbacks.fault.armed={folder}/armed",
    )
