"""The thread that computes for all jobs of a cohort: what it sees, what comes back, and who has CPU threads."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import torch

from kd_lightning.process import turns
from kd_lightning.process.compute_thread import ComputeThread, computing, use_threads
from kd_lightning.process.turns import Interrupted, Turns
from tests.test_turns import run

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


@pytest.fixture
def compute() -> Iterator[ComputeThread]:
    thread = ComputeThread(2)
    yield thread
    thread.end()
    use_threads(1)  # as in every test: threads that begin later take the last number


def in_thread(work: Callable[[], Any]) -> Any:
    """What the work gives in a new thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_results_and_errors_come_back(compute: ComputeThread) -> None:
    def breaks() -> None:
        raise Interrupted("on purpose")

    assert compute.do(lambda: compute.do(threading.get_ident)) != threading.get_ident(), "a part of a whole, too"
    with pytest.raises(Interrupted, match="on purpose") as caught:
        compute.do(breaks)
    assert "breaks" in [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert compute.do(lambda: 1) == 1


def test_the_caller_s_context_is_seen(compute: ComputeThread) -> None:
    def named(name: str) -> str:
        NAME.set(name)
        return compute.do(NAME.get)

    assert [in_thread(lambda name=name: named(name)) for name in "ab"] == ["a", "b"]
    assert compute.do(NAME.get) == "nobody"


def test_relieved_threads_have_no_pool(compute: ComputeThread) -> None:
    def relieved() -> int:
        compute.relieve()
        compute.do(lambda: torch.ones(10**6).sum())
        return torch.get_num_threads()

    assert [in_thread(relieved) for _ in range(2)] == [1, 1]
    assert compute.do(torch.get_num_threads) == 2
    assert in_thread(torch.get_num_threads) == 1, "nor have those that begin later"


def test_the_process_has_its_threads_again() -> None:
    def fails() -> None:
        with computing("cpu") as compute:
            assert compute is not None
            in_thread(compute.relieve)
            raise RuntimeError("on purpose")

    use_threads(2)
    try:
        with pytest.raises(RuntimeError, match="on purpose"):
            fails()
        assert all(thread.name != "compute_0" for thread in threading.enumerate())
        assert torch.get_num_threads() == in_thread(torch.get_num_threads) == 2
    finally:
        use_threads(1)


@pytest.mark.parametrize(("threads", "accelerator"), [(1, "cpu"), (2, "gpu"), (2, "auto")])
def test_nobody_computes_for_others_where_nobody_needs_it(
    threads: int, accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    use_threads(threads)
    try:
        with computing(accelerator) as compute:
            assert compute is None
    finally:
        use_threads(1)


def test_members_compute_there_and_outside_of_a_cohort_everybody_for_himself(compute: ComputeThread) -> None:
    found: list[int] = []
    work = lambda: found.append(turns.computed(threading.get_ident))  # noqa: E731
    assert run(Turns(2, arithmetic=compute), work, work) == [None, None]
    assert found == [compute.do(threading.get_ident)] * 2
    assert turns.computed(threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize(
    "waits",
    [
        lambda: turns.gather("key", None),
        lambda: turns.step(in_line=True),
        lambda: turns.holding("thing", waiting=lambda: None).__enter__(),
        lambda: turns.idle().__enter__(),
    ],
)
def test_who_waits_where_all_compute_is_told_so(compute: ComputeThread, waits: Callable[[], Any]) -> None:
    errors = run(Turns(2, arithmetic=compute), lambda: turns.computed(waits), lambda: None)
    assert isinstance(errors[0], AssertionError)
    assert errors[1] is None


def test_ctrl_c_reaches_what_is_being_computed(compute: ComputeThread) -> None:
    turn = Turns(1, arithmetic=compute)

    def trains() -> None:
        turn.end(Interrupted)
        turns.computed(lambda: turns.step(in_line=False))

    assert [type(error) for error in run(turn, trains)] == [Interrupted]
