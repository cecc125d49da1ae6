"""One thread that does the arithmetic of all jobs of a cohort, of which each is a thread itself.

OpenMP gives every thread that enters a parallel region a pool of its own. Where a process has more threads in pools than
it has cores, those of libgomp hardly spin at a barrier, and each small region costs calls into the kernel: a step of a
small student took 17 ms instead of 2.5 (2 cores; docs/performance.md). So one thread has a pool, and the others have none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class ComputeThread:
    """Does what it is handed, one thing after the other.

    Args:
        threads: CPU threads that it computes with.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(1, "compute", use_threads, (threads,))
        self._ident = self._pool.submit(threading.get_ident).result()

    def relieve(self) -> None:
        """Of the calling thread: it has no pool and needs none, for what it computes itself is too small for one."""
        use_threads(1)

    def do(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, or raises.

        Args:
            work: Sees the context variables of the calling thread, but not what that has set in torch (no gradients, autocast).
        """
        if threading.get_ident() == self._ident:  # a part of what is being done
            return work()
        assert torch.is_grad_enabled()
        return self._pool.submit(copy_context().run, work).result()

    def end(self) -> None:
        """There is no more to do."""
        self._pool.shutdown()


def use_threads(count: int) -> None:
    """The calling thread computes with so many CPU threads; so will threads that have not computed yet."""
    torch.get_num_threads()  # Or its first parallel region would take what the last caller in the process has set.
    torch.set_num_threads(count)


@contextmanager
def computing(accelerator: Any) -> Iterator[ComputeThread | None]:
    """Inside, there is a thread that computes for all; None where nobody needs it: on a GPU, or with one CPU thread.

    Args:
        accelerator: The setting of the trainer.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not on_cpu(accelerator):
        yield None
        return
    thread = ComputeThread(threads)
    try:
        yield thread
    finally:
        thread.end()
        torch.set_num_threads(threads)  # of the process; our own number was never another


def on_cpu(accelerator: Any) -> bool:
    """What trains with this setting trains on the CPU."""
    return accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
