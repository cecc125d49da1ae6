"""SIGTERM: inside a training a wish that is granted at the step's end, elsewhere an exception at once.

A scheduler that needs the machine sends SIGTERM and kills some seconds later. A training then saves a resume point
and raises ``Terminated``; the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end. No ``Exception``, so that nothing that survives errors survives it."""


@contextmanager
def raise_hidden_stop() -> Iterator[None]:
    """A wish to end that hides behind an error is raised in its place.

    A library that is interrupted between two of its own steps may stumble, in its ``finally``, over what is half done.
    """
    try:
        yield
    except Exception as error:
        stop = find_stop(error)
        if stop is None:
            raise
        raise stop from error


def find_stop(error: BaseException) -> BaseException | None:
    """The wish to end in whose course an error was raised; None = there was none."""
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in seen:
        if isinstance(behind, KeyboardInterrupt | Terminated):
            return behind
        seen.append(behind)
        behind = behind.__cause__ or behind.__context__
    return None


ECHO_SECONDS = 1.0
"""A second SIGTERM within this time is the same request: ``timeout`` and schedulers send it to a process and to its group."""

_requested = False
_deferred = False
_insists: float | None = None
"""From when on another SIGTERM ends the process at once; None = never: whoever leads this process repeats its request."""


def is_stop_requested() -> bool:
    """SIGTERM has come."""
    return _requested


def on_sigterm(signum: int, frame: FrameType | None) -> None:
    """The signal handler. A second signal ends the user's own process at once; every file is whole at every moment."""
    global _requested, _insists
    first, _requested = not _requested, True
    if first and _insists is not None:
        _insists = time.monotonic() + ECHO_SECONDS
    if not first and _insists is not None and time.monotonic() > _insists:
        os.write(2, b"terminated at once; the same command goes on from the last resume point\n")
        os._exit(128 + signal.SIGTERM)
    if first and not _deferred:
        raise Terminated


def note_sigterm() -> None:
    """For a training that has begun: SIGTERM is only noted, whatever handler a library has put in front of ours."""
    global _deferred
    if threading.current_thread() is threading.main_thread():
        _deferred = True
        signal.signal(signal.SIGTERM, on_sigterm)


@contextmanager
def raise_on_sigterm(second_ends: bool = False) -> Iterator[None]:
    """SIGTERM raises ``Terminated``; the handler that was there comes back afterwards.

    Args:
        second_ends: A second SIGTERM ends the process at once, whatever it is doing: for the process that the user started.
    """
    global _requested, _insists
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, on_sigterm)
    _requested, _insists = False, 0.0 if second_ends else None
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _requested, _insists = False, None


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Inside, Ctrl-C does nothing: whoever cleans up is left to it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def defer_sigterm() -> Iterator[None]:
    """Inside, SIGTERM is only noted: whoever is at work asks ``is_stop_requested()`` where it can stop and raises.

    Signals come to the main thread: what other threads do side by side does not change how it takes them.

    Raises:
        Terminated: At the end, if SIGTERM came and nobody asked.
    """
    global _deferred
    if threading.current_thread() is threading.main_thread():
        outer, _deferred = _deferred, True
        try:
            yield
        finally:
            _deferred = outer
    else:
        yield
    if _requested:
        raise Terminated
