"""Jobs that run as threads of one process and take turns: one works, the others wait.

Random states, warnings and the memory of a step belong to the process, so two steps must not run into each other; and
jobs that train on the same batches in step can share what is the same for all of them. A thread that takes no turns (every
run outside a cohort) passes through all functions here as if they were not there.

A member is at work, in line, waiting for something that another holds, or gathered: ready for a training that others may
join. When nobody can work any more, the gathered members whose training has the key of the first are let go together.

What computes may be done by one thread for all (``computed``); nobody waits for another member in there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Interrupted(BaseException):
    """Ctrl-C, as it reaches a thread. No ``Exception``, so that nothing that survives errors survives it."""


class Arithmetic(Protocol):
    """Computes for all members."""

    def relieve(self) -> None:
        """The calling thread is a member's, and has not computed yet."""

    def do(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, or raises; it sees the caller's context variables."""


@dataclass(eq=False)
class Group:
    """Members whose trainings are the same but for what their students learn.

    Attributes:
        trainings: What each has brought to ``gather``, in order of arrival.
        notes: For the members: what the first one finds out for all.
        gone: Members whose training is over.
        newest: The last step that a member has done.
        wish: What the first to do it has wished.
    """

    trainings: list[Any]
    notes: dict[Any, Any] = field(default_factory=dict)
    gone: int = 0
    newest: int = -1
    wish: bool = False


@dataclass(eq=False)
class Member:
    """One thread.

    Attributes:
        turns: Whose.
        waited: Seconds that it has waited so far.
    """

    turns: Turns
    waited: float = 0.0
    group: Group | None = None
    error: type[BaseException] | None = None
    _thread: int = field(default_factory=threading.get_ident)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def assert_own_thread(self) -> None:
        """Where it waits, or may have to."""
        assert threading.get_ident() == self._thread, "who waits in the thread that computes for all keeps all waiting"


class Turns:
    """The right to work, which one member has at a time.

    Args:
        members: How many there will be; nobody begins before all are there.
        most: Members that are let go together, at most; None = all.
        arithmetic: Where they compute; None = each in its own thread.
    """

    def __init__(self, members: int, most: int | None = None, arithmetic: Arithmetic | None = None) -> None:
        self.most = most
        self.arithmetic = arithmetic
        self._missing = members
        self._mutex = threading.Lock()
        self._line: deque[Member] = deque()
        self._busy = False
        self._gathered: list[tuple[Member, Hashable, Any]] = []
        self._held: dict[Hashable, deque[Member]] = {}
        self._ended: type[BaseException] | None = None

    @contextmanager
    def member(self) -> Iterator[None]:
        """Around all that a thread does: it begins in its turn, and goes when it ends."""
        member = Member(self)
        if self.arithmetic is not None:
            self.arithmetic.relieve()
        with self._mutex:
            self._line.append(member)
            self._missing -= 1
            self._let_go()
        self._wait(member)
        token = _member.set(member)
        try:
            self._refuse()
            yield
        finally:
            _member.reset(token)
            with self._mutex:
                self._busy = False
                self._let_go()

    def end(self, error: type[BaseException]) -> None:
        """Who waits for others now or later gets the error instead; ``Interrupted`` reaches those at work, too."""
        with self._mutex:
            self._ended = error
            self._missing = 0  # those who have not come will not
            waiting = [member for queue in self._held.values() for member in queue]
            for member in [*waiting, *(member for member, _, _ in self._gathered)]:
                member.error = error
                self._line.append(member)
            for queue in self._held.values():
                queue.clear()
            self._gathered.clear()
            self._let_go()

    def step(self, member: Member, in_line: bool) -> None:
        """A step of the member's training begins: others first, if it is in line with them."""
        if self._ended is Interrupted:
            raise Interrupted
        if in_line:
            member.assert_own_thread()
            with self._mutex:
                if not self._line:
                    return
                self._line.append(member)
                self._busy = False
                self._let_go()
            self._wait(member)

    def gather(self, member: Member, key: Hashable, training: Any) -> Group:
        """Wait until nobody can work, then go on with the others of the same key; the group."""
        member.assert_own_thread()
        with self._mutex:
            self._refuse()
            self._gathered.append((member, key, training))
            self._busy = False
            self._let_go()
        self._wait(member)
        assert member.group is not None
        return member.group

    def hold(self, member: Member, what: Hashable, waiting: Callable[[], None]) -> None:
        """Get hold of something that one member has at a time; ``waiting`` is called if another has it."""
        member.assert_own_thread()
        if self._took(what):
            return
        waiting()  # it may fail, and nobody who has may stay in the queue
        with self._mutex:
            self._refuse()
            self._held[what].append(member)
            self._busy = False
            self._let_go()
        self._wait(member)

    def _took(self, what: Hashable) -> bool:
        """It was free, and is held now."""
        with self._mutex:
            free = what not in self._held
            if free:
                self._held[what] = deque()
            return free

    def release(self, what: Hashable) -> None:
        """Let go of it: whoever waited first has it now, and is in line."""
        with self._mutex:
            queue = self._held[what]
            if queue:
                self._line.append(queue.popleft())
            else:
                del self._held[what]

    @contextmanager
    def idle(self, member: Member) -> Iterator[None]:
        """Around a wait for something outside: others work meanwhile."""
        member.assert_own_thread()
        with self._mutex:
            self._busy = False
            self._let_go()
        try:
            yield
        finally:
            with self._mutex:
                self._line.append(member)
                self._let_go()
            self._wait(member)

    def _refuse(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _let_go(self) -> None:
        """The next one in line works, if nobody does. The mutex is held."""
        if self._busy or self._missing:
            return
        if not self._line and self._gathered:
            self._open()
        if self._line:
            self._busy = True
            self._line.popleft()._go.release()

    def _open(self) -> None:
        """Put the first of the gathered in line, with those of the same key."""
        first = self._gathered[0][1]
        chosen = [each for each in self._gathered if each[1] == first][: self.most]
        self._gathered = [each for each in self._gathered if each not in chosen]
        group = Group([training for _, _, training in chosen])
        for member, _, _ in chosen:
            member.group = group
            self._line.append(member)

    def _wait(self, member: Member) -> None:
        began = time.perf_counter()
        member._go.acquire()
        member.waited += time.perf_counter() - began
        if member.error is not None:
            error, member.error = member.error, None
            raise error


_member: ContextVar[Member | None] = ContextVar("member", default=None)
"""Of the calling thread, or for whom it computes."""


def computed(work: Callable[[], T]) -> T:
    """What ``work`` gives: done in the thread that computes for all members, if they have one.

    Args:
        work: Computes, and waits for no other member.
    """
    member = _member.get()
    arithmetic = None if member is None else member.turns.arithmetic
    return work() if arithmetic is None else arithmetic.do(work)


def step(in_line: bool) -> None:
    """A step of a training begins.

    Args:
        in_line: Others of the same group go first.

    Raises:
        Interrupted: Ctrl-C has come.
    """
    if (member := _member.get()) is not None:
        member.turns.step(member, in_line)


def gather(key: Hashable, training: Any) -> Group:
    """Wait for the others who come to a training of the same key; the group of those who go on together."""
    member = _member.get()
    return Group([training]) if member is None else member.turns.gather(member, key, training)


@contextmanager
def holding(what: Hashable, waiting: Callable[[], None]) -> Iterator[None]:
    """Inside, no other member of the cohort holds the same thing.

    Args:
        what: The thing.
        waiting: Called once if another has it.
    """
    member = _member.get()
    if member is None:
        yield
        return
    member.turns.hold(member, what, waiting)
    try:
        yield
    finally:
        member.turns.release(what)


def disband(group: Group) -> bool:
    """This thread's training is over: it is in no group any more, and holds nothing of it. True = it was the last."""
    if (member := _member.get()) is not None:
        member.group = None
    group.gone += 1
    return group.gone == len(group.trainings)


def agreed(step: int, wish: bool) -> bool:
    """What all of a group do after a step, so that they stay in step: the wish of the first who has done it.

    Args:
        step: Steps done.
        wish: This thread's.
    """
    member = _member.get()
    group = None if member is None else member.group
    if group is None:
        return wish
    if step > group.newest:
        group.newest, group.wish = step, wish
    return group.wish if step == group.newest else wish


def check() -> None:
    """For who waits for something outside.

    Raises:
        BaseException: What ``end`` has been told.
    """
    if (member := _member.get()) is not None:
        member.turns._refuse()


@contextmanager
def idle() -> Iterator[None]:
    """Around a wait for another process."""
    member = _member.get()
    if member is None:
        yield
        return
    with member.turns.idle(member):
        yield


def clock(since_now: bool = False) -> Callable[[], float]:
    """Seconds that this thread has waited for its turn, from its beginning or from now on, whoever asks."""
    member = _member.get()
    return partial(_waited, member, _waited(member, 0.0) if since_now else 0.0)


def _waited(member: Member | None, before: float) -> float:
    return 0.0 if member is None else member.waited - before
