"""How many cores this process may use, and how many of them are busy."""

from __future__ import annotations

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
WINDOW = 0.1
"""Seconds of a measurement; the kernel counts in hundredths of a second."""
IDLE, IOWAIT, GUEST = 3, 4, 8
"""Places in a line of ``/proc/stat``; what stands from ``GUEST`` on is counted before."""


def usable_core_ids() -> set[int]:
    """Numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(usable_core_ids())


def measure_busy_cores(seconds: float = WINDOW) -> float:
    """How many of the usable cores are busy while this process sleeps, on average; 0 where the system does not tell.

    The load average would be no help: it follows with a delay of a minute, and counts ourselves.
    """
    before = read_core_times()
    time.sleep(seconds)
    after = read_core_times()
    shares = [busy_share(before[core], after[core]) for core in usable_core_ids() if core in before and core in after]
    return sum(shares)


def busy_share(before: list[int], after: list[int]) -> float:
    """The share of its time in which a core was busy between two readings, in [0, 1]."""
    spent = [max(0, late - early) for early, late in zip(before[:GUEST], after[:GUEST], strict=True)]
    return 1 - (spent[IDLE] + spent[IOWAIT]) / sum(spent) if any(spent) else 0.0


def read_core_times() -> dict[int, list[int]]:
    """Core -> its time so far for each purpose, in the kernel's order and unit; empty where there is no ``/proc``."""
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    cores = [line.split() for line in lines if line.startswith("cpu") and line[3].isdigit()]
    return {int(name.removeprefix("cpu")): [int(time) for time in times] for name, *times in cores}
