"""How OpenMP's threads wait for each other: on a busy machine they sleep at once, else they look for a while first.

A step has thousands of short parallel regions, and at the end of each the threads wait for the last one. GNU's libgomp, which
torch's wheels for Linux bring along, looks 300,000 times (some milliseconds) before a thread sleeps. On a quiet machine that is
the fastest way. Beside another busy process, the thread that waits keeps a core from the one it waits for, and a step takes
more than three times as long: see "Beside other programs" in docs/explanation/speed.md.

The environment fixes the number of looks when libgomp is loaded. But libgomp looks only 100 times as long as a process has more
OpenMP threads than cores. So while others are busy, an idle thread of ours has OpenMP threads of its own. No bit depends on it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kd_lightning.process.machine_load import Reading, busy_with_others

WAIT_POLICY_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables by which a user decides how threads wait."""
FIRST_LOOK, LOOK_EVERY = 0.1, 1.0
"""Seconds until the first look at the machine, and at most between two; in between they double."""
BUSY = 0.5
"""Cores that others use on a busy machine."""
LARGE = 1 << 20
"""Elements of a tensor that torch divides among threads."""


@contextmanager
def shorten_waits_beside_others() -> Iterator[None]:
    """Inside, OpenMP's threads sleep at once while other programs keep cores busy, unless the user has decided."""
    if torch.get_num_threads() == 1 or any(name in os.environ for name in WAIT_POLICY_VARIABLES):
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=watch_machine, args=(ended,), name="kd-openmp-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def watch_machine(ended: threading.Event) -> None:
    """Have more OpenMP threads than cores while the machine is busy, until ``ended``."""
    crowd, before, pause = None, Reading(), FIRST_LOOK
    while not ended.wait(pause):
        now, pause = Reading(), min(2 * pause, LOOK_EVERY)
        is_busy = busy_with_others(before, now) > BUSY
        before = now
        if is_busy and crowd is None:
            crowd = Crowd()
        elif crowd and not is_busy:
            crowd.leave()
            crowd = None
    if crowd:
        crowd.leave()


class Crowd:
    """A thread that has OpenMP threads of its own, all asleep, until it leaves."""

    def __init__(self) -> None:
        self._leaves = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="kd-openmp-crowd", daemon=True)
        self._thread.start()

    def _stay(self) -> None:
        torch.zeros(LARGE, device="cpu").add_(1)  # the first parallel region of a thread gives it its OpenMP threads
        self._leaves.wait()

    def leave(self) -> None:
        """End the thread; its OpenMP threads end with it."""
        self._leaves.set()
        self._thread.join()
