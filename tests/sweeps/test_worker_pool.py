"""How the worker pool closes the jobs of workers that it has to end itself."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_lightning.results.sweep_folder import read_job
from kd_lightning.results.sweep_records import begin_job
from kd_lightning.sweeps.launchers import worker_pool
from kd_lightning.sweeps.launchers.worker import Order
from kd_lightning.sweeps.launchers.worker_pool import WorkerPool


class Unwilling:
    """A process that ends when it is killed, and not before."""

    pid = None
    sentinel = 0
    exitcode: int | None = None

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        self.exitcode = -signal.SIGKILL

    def join(self) -> None: ...


@pytest.mark.parametrize(
    ("number", "state", "error"),
    [
        (signal.SIGINT, "interrupted", "interrupted, and ended before it had saved"),
        (signal.SIGTERM, "preempted", "terminated by SIGTERM, and ended before it had saved"),
    ],
)
def test_who_is_killed_for_not_ending_was_asked_to_end(
    number: signal.Signals, state: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "SHUTDOWN_GRACE_SECONDS", -1.0)
    begin_job(tmp_path / "0", 0, ["alpha=0.5"])
    order = Order("sweep", 0, str(tmp_path / "0"), [], ["alpha=0.5"], ".")
    worker: Any = SimpleNamespace(process=Unwilling(), order=order, slot=0)
    some = WorkerPool(workers=1, fresh=False)
    some.workers.append(worker)
    some._end_all(number)
    job = read_job(tmp_path / "0")
    assert (job.state, job.error) == (state, error)
