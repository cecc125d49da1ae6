"""How many cores this process may use, and how many of them other processes keep busy."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

STAT = Path("/proc/stat")
WINDOW = 0.1
"""Seconds of a look at what goes on now; the kernel counts in hundredths of a second."""
IDLE, IOWAIT, GUEST = 3, 4, 8
"""Places in a line of ``/proc/stat``; what stands from ``GUEST`` on is counted before."""


def usable_core_ids() -> set[int]:
    """Numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(usable_core_ids())


def read_core_times() -> dict[int, list[int]]:
    """Core -> its time so far for each purpose, in the kernel's order and unit; empty where there is no ``/proc``."""
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    cores = [line.split() for line in lines if line.startswith("cpu") and line[3].isdigit()]
    return {int(name.removeprefix("cpu")): [int(time) for time in times] for name, *times in cores}


def read_own_seconds() -> float:
    """CPU seconds that this process and the children it has waited for have spent."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Reading:
    """What the machine and this process have spent up to now."""

    seconds: float = field(default_factory=time.monotonic)
    cores: dict[int, list[int]] = field(default_factory=read_core_times)
    own: float = field(default_factory=read_own_seconds)


def busy_with_others(before: Reading, after: Reading) -> float:
    """How many of the usable cores other processes kept busy between two readings, on average."""
    ids = usable_core_ids() & before.cores.keys() & after.cores.keys()
    busy = sum(busy_share(before.cores[core], after.cores[core]) for core in ids)
    return max(0.0, busy - (after.own - before.own) / (after.seconds - before.seconds))


def busy_share(before: list[int], after: list[int]) -> float:
    """The share of its time in which a core was busy between two readings, in [0, 1]."""
    spent = [max(0, late - early) for early, late in zip(before[:GUEST], after[:GUEST], strict=True)]
    return 1 - (spent[IDLE] + spent[IOWAIT]) / sum(spent) if any(spent) else 0.0


class LoadMeter:
    """Tells how many of the usable cores other processes keep busy."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was before."""
        self._last = Reading()

    def measure(self) -> float:
        """Cores busy with others: now, or since the last measurement if those are fewer; 0 where the system does not tell.

        Fewer of the two, because neither what has just ended nor what has just begun says how the next hour will be. The
        load average would be no help: it lags by a minute and counts this process.
        """
        now = Reading()
        time.sleep(WINDOW)
        before, self._last = self._last, Reading()
        return min(busy_with_others(before, now), busy_with_others(now, self._last))
