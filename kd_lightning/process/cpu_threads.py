"""How many CPU threads a training has: chosen once, when it begins, and kept when it is resumed.

The number is part of the rounding, so it must not change in the middle of a training. On a machine that others use, a thread
for each core is too many: threads wait for each other at every operation, and all wait for the one whose core is taken.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from kd_lightning.process.machine_load import LoadMeter, usable_cores
from kd_lightning.process.openmp import shorten_waits_beside_others

THREAD_COUNT_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user decides."""

_fixed_by_launcher: list[int] = []
_load = LoadMeter()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_load.restart)  # what the parent has spent is not the child's


def fix_threads(count: int) -> None:
    """Give this process so many CPU threads, for all that it does."""
    _fixed_by_launcher[:] = [count]
    torch.set_num_threads(count)


def are_threads_fixed() -> bool:
    """The user or a launcher has decided, or there is nothing to choose from."""
    return (
        any(name in os.environ for name in THREAD_COUNT_VARIABLES)
        or bool(_fixed_by_launcher)
        or torch.get_num_threads() == 1
    )


def on_cpu(accelerator: object) -> bool:
    """What trains with this setting of the trainer trains on the CPU."""
    return accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


@contextmanager
def adapt_threads(recorded: int | None, say: Callable[[str], None]) -> Iterator[None]:
    """Around a training on the CPU: it has a thread for each core that is free, at least one, and at most torch's number.

    Args:
        recorded: The number with which the training began, if it is resumed.
        say: Gets one line where other programs keep cores busy.
    """
    before = torch.get_num_threads()
    if not are_threads_fixed():
        torch.set_num_threads(min(recorded, usable_cores()) if recorded else choose_threads(before, say))
    try:
        with shorten_waits_beside_others():
            yield
    finally:
        torch.set_num_threads(before)


def choose_threads(most: int, say: Callable[[str], None]) -> int:
    """A thread for each core that is free, at least one and at most ``most``; ``say`` gets a line if it is fewer."""
    cores, busy = usable_cores(), _load.measure()
    count = max(1, min(most, cores - math.floor(busy + 0.5)))
    if count < most:
        threads = "1 CPU thread" if count == 1 else f"{count} CPU threads"
        say(
            f"the machine is busy: other programs use {busy:.1f} of {cores} cores; training with {threads} "
            f"(OMP_NUM_THREADS={most}: with all)"
        )
    return count
