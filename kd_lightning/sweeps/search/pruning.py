"""Between a search and its jobs while they run, by files: a job reports its validations, the search may stop it.

<n>/trial.json   written before the job starts: the trial's number and values, and whether it may be pruned
<n>/reports.csv  a line ``step,value`` for each validation of the distill stage, by the job
<n>/prune.json   by the search: the job is to end at its next validation

So pruning works whatever process or machine a job runs in, and whatever the storage: only the search talks to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from kd_lightning.store import publish_json
from kd_lightning.sweeps.search.storage import first_line
from kd_lightning.sweeps.search.study import HEARTBEAT_ATTRIBUTE, Claimed
from kd_lightning.training.callbacks.pruning_files import PRUNE, REPORTS

PRUNING_POLL_SECONDS = 0.3
BEAT_SECONDS = 30.0
"""A tenth of the silence after which a trial on another machine counts as lost."""


class Watch:
    """A thread that follows running jobs. A context manager.

    Args:
        claimed: The trials at work.
        pruning: Poor ones are to be stopped.
    """

    def __init__(self, claimed: Sequence[Claimed], pruning: bool) -> None:
        self.followed = [Followed(each) for each in claimed]
        self.pruning = pruning
        self.trouble = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="search watch", daemon=True)
        self._next_beat = time.monotonic() + BEAT_SECONDS

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        # What was reported since the last look: later trials are measured by it.
        self._look(stop_poor_ones=False)

    def _run(self) -> None:
        while not self._over.wait(PRUNING_POLL_SECONDS):
            self._look(stop_poor_ones=True)

    def _look(self, stop_poor_ones: bool) -> None:
        beats = time.monotonic() >= self._next_beat
        if beats:
            self._next_beat = time.monotonic() + BEAT_SECONDS
        for each in self.followed:
            try:
                if beats:
                    each.claimed.trial.set_user_attr(HEARTBEAT_ATTRIBUTE, time.time())
                if self.pruning:
                    each.look(stop_poor_ones)
            except (OptunaError, SQLAlchemyError, OSError) as error:  # the jobs go on; they only cannot be pruned
                self.trouble = first_line(error)


class Followed:
    """One running job and its trial.

    Args:
        claimed: Both.
    """

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.steps: set[int] = set()
        self.stopped = False

    def look(self, stop_if_poor: bool) -> None:
        """Pass on what the job has reported since, and stop it if that is poor."""
        for step, value in read_reports(self.claimed.folder / REPORTS):
            if step in self.steps:
                continue  # a resumed stage says the same thing twice
            self.steps.add(step)
            self.claimed.trial.report(value, step)
            if stop_if_poor and not self.stopped and self.claimed.trial.should_prune():
                publish_json(self.claimed.folder / PRUNE, {"step": step, "value": value})
                self.stopped = True


def read_reports(path: Path) -> list[tuple[int, float]]:
    """The whole lines of a job's reports."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return []
    whole = [line.strip().split(",") for line in lines if line.endswith("\n")]
    return [(int(parts[0]), float(parts[1])) for parts in whole if len(parts) == 2]
