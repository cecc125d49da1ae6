"""Threads that take turns: who works when, who waits for whom, and how all of them are told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from kd_lightning.process import turns
from kd_lightning.process.turns import Interrupted, Turns

PATIENCE = 10.0


def run(turn: Turns, *works: Callable[[], Any]) -> list[BaseException | None]:
    """Run each work in a thread of its own; what each has raised."""
    errors: list[BaseException | None] = [None] * len(works)

    def body(number: int) -> None:
        try:
            with turn.member():
                works[number]()
        except BaseException as error:
            errors[number] = error

    threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    return errors


def test_outside_of_a_cohort_nothing_happens() -> None:
    turns.step(in_line=True)
    with turns.holding("a", waiting=lambda: pytest.fail("nobody else is there")), turns.idle():
        group = turns.gather("key", "mine")
    assert group.trainings == ["mine"]
    assert turns.clock()() == 0.0


def test_one_works_at_a_time_and_steps_go_round() -> None:
    seen: list[tuple[str, int]] = []
    inside = 0

    def train(name: str) -> None:
        nonlocal inside
        turns.gather("same", name)
        for step in range(4):
            turns.step(in_line=True)
            inside += 1
            time.sleep(0.001)  # whoever broke in would be seen
            assert inside == 1
            seen.append((name, step))
            inside -= 1

    assert run(Turns(3), *(lambda name=name: train(name) for name in "abc")) == [None] * 3
    order = [name for name, _ in seen[:3]]
    assert sorted(order) == ["a", "b", "c"]
    assert seen == [(name, step) for step in range(4) for name in order]


def test_who_is_not_in_line_runs_through() -> None:
    seen: list[str] = []

    def train(name: str) -> None:
        for _ in range(3):
            turns.step(in_line=False)
            seen.append(name)

    run(Turns(2), lambda: train("a"), lambda: train("b"))
    assert seen in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


def test_trainings_of_one_key_are_let_go_together_when_nobody_can_work_any_more() -> None:
    groups: dict[str, list[str]] = {}
    late = threading.Event()

    def train(name: str, key: str, work: float = 0.0) -> None:
        time.sleep(work)
        assert not late.is_set() or name in "cd"
        groups[name] = turns.gather(key, name).trainings
        late.set()

    run(
        Turns(4),
        lambda: train("a", "x"),
        lambda: train("b", "x", work=0.05),
        lambda: train("c", "y"),
        lambda: train("d", "y"),
    )
    assert {name: sorted(group) for name, group in groups.items()} == {
        **{name: ["a", "b"] for name in "ab"},
        **{name: ["c", "d"] for name in "cd"},
    }


def test_no_more_go_together_than_fit() -> None:
    sizes: list[int] = []
    run(Turns(5, most=2), *[lambda: sizes.append(len(turns.gather("same", None).trainings))] * 5)
    assert sorted(sizes) == [1, 2, 2, 2, 2]


def test_who_waits_for_a_thing_does_not_keep_its_holder_from_gathering() -> None:
    """Two jobs need the same pre-training: the one that trains it holds its entry's lock."""
    seen: list[str] = []

    def job(name: str) -> None:
        with turns.holding("pretrain", waiting=lambda: seen.append(f"{name} waits")):
            if "trained" not in seen:
                turns.gather("pretrain", name)
                seen.append("trained")
        assert len(turns.gather("distill", name).trainings) == 2

    assert run(Turns(2), lambda: job("a"), lambda: job("b")) == [None, None]
    assert seen.count("trained") == 1
    assert sum(line.endswith("waits") for line in seen) == 1


def test_a_thing_is_free_again_after_an_error() -> None:
    def fails() -> None:
        with turns.holding("thing", waiting=lambda: None):
            turns.gather("key", None)
            raise RuntimeError("on purpose")

    def waits() -> None:
        with turns.holding("thing", waiting=lambda: None):
            pass

    errors = run(Turns(2), fails, waits)
    assert isinstance(errors[0], RuntimeError)
    assert errors[1] is None


def test_others_work_while_one_waits_for_another_process() -> None:
    arrived = threading.Event()

    def waits() -> None:
        with turns.idle():
            assert arrived.wait(PATIENCE)

    assert run(Turns(2), waits, arrived.set) == [None, None]
    assert not turns.clock()()


def test_time_spent_waiting_is_told() -> None:
    told: dict[str, float] = {}

    def first() -> None:
        time.sleep(0.1)

    def second() -> None:
        told["before"] = turns.clock()()

    run(Turns(2), first, second)
    assert told["before"] >= 0.05 or told["before"] < 0.01  # whoever came first did not wait


@pytest.mark.parametrize("error", [Interrupted, KeyError])
def test_the_end_reaches_those_who_wait(error: type[BaseException]) -> None:
    turn = Turns(3)
    in_step = threading.Event()

    def trains() -> None:
        in_step.set()
        time.sleep(0.05)
        for _ in range(3):
            turns.step(in_line=False)

    def ends() -> None:
        in_step.wait(PATIENCE)
        turn.end(error)

    def gathers() -> None:
        with turns.holding("thing", waiting=lambda: None):
            turns.gather("key", None)

    ender = threading.Thread(target=ends)
    ender.start()
    errors = run(turn, trains, gathers, gathers)
    ender.join()
    # A step under way is the training's own to end, but for Ctrl-C.
    assert isinstance(errors[0], Interrupted) if error is Interrupted else errors[0] is None
    assert all(isinstance(each, error) for each in errors[1:])
