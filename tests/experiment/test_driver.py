"""A scheme is advanced: what it asks for is done in order, and what it may not do is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.driver import look_ahead, serial
from kd_lightning.experiment.pending import Steps, run_alone
from kd_lightning.experiment.stage import Comparison, Stage, Stages


class NoWork:
    def obtain(self, stage: Stage) -> Steps[None]:
        """Nothing."""
        yield from ()


def stage(name: str, label: str = "", **more: Any) -> Stage:
    fields = {"title": name, "role": "student", "work": NoWork(), "ingredients": lambda: {"name": name}}
    return Stage(name=name, label=label or name, **{**fields, **more})


def four_steps() -> Stages:
    teacher, alone = yield [stage("teacher"), stage("alone")]
    none = yield None
    assert none is None
    start = yield stage("start", steps=4, after={"teacher": teacher})
    student = yield stage("student", steps=6, after={"teacher": teacher, "start": start})
    return Comparison(teacher=teacher, baseline=alone, skipped=None, pretrained=start, distilled=student)


def names(scheme: Stages, **more: Any) -> list[str]:
    done: list[str] = []

    def obtain(each: Stage, beside: Sequence[Stage]) -> Steps[None]:
        done.append(each.name)
        yield from ()

    run_alone(serial(scheme, obtain, **more))
    return done


def test_stages_are_done_in_the_order_of_the_scheme() -> None:
    assert names(four_steps()) == ["teacher", "alone", "start", "student"]
    stages, compared = look_ahead(four_steps())
    assert [each.name for each in stages] == ["teacher", "alone", "start", "student"]
    assert list(compared.models) == ["teacher", "baseline", "pretrained", "distilled"]


def test_what_another_process_is_at_waits_for_the_others_of_its_request() -> None:
    assert names(four_steps(), elsewhere=lambda each: each.name == "teacher")[:2] == ["alone", "teacher"]


def test_what_comes_after_another_of_its_request_waits_for_it() -> None:
    def scheme() -> Stages:
        teacher = stage("teacher")
        teacher, _, alone = yield [teacher, stage("other"), stage("alone", after={"init": teacher})]
        return Comparison(teacher=teacher, baseline=alone, distilled=stage("student"))

    assert names(scheme(), elsewhere=lambda each: each.name == "teacher") == ["other", "teacher", "alone"]
    told: dict[str, list[str]] = {}

    def obtain(each: Stage, beside: Sequence[Stage]) -> Steps[None]:
        told[each.name] = [other.name for other in beside]
        yield from ()

    run_alone(serial(scheme(), obtain))
    assert told == {"teacher": ["other"], "other": ["alone"], "alone": []}, "nobody else may begin what waits"


def test_a_failure_reaches_the_caller_and_nothing_more_is_done() -> None:
    done: list[str] = []

    def obtain(each: Stage, beside: Sequence[Stage]) -> Steps[None]:
        done.append(each.name)
        yield from ()
        if each.name == "alone":
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_alone(serial(four_steps(), obtain))
    assert done == ["teacher", "alone"]


def test_keys_and_steps_come_from_the_stages_before() -> None:
    (teacher, _, start, student), _ = look_ahead(four_steps())
    assert start.contents == {"name": "start", "teacher": teacher.key}
    assert student.contents == {"name": "student", "teacher": teacher.key, "start": start.key}
    assert (start.start, student.start) == (None, start)
    assert [(each.steps_before, each.steps_after) for each in (start, student)] == [(0, 4), (4, 10)]
    other = stage("student", after={"teacher": stage("other")})
    assert other.key != stage("student", after={"teacher": teacher}).key
    assert stage("student", reads=(teacher,)).key == stage("student").key, "what is read alone does not count"


def whole(**models: Stage) -> Comparison:
    return Comparison(**{name: stage(name) for name in Comparison.NEEDED} | models)


def yielding(what: Any) -> Stages:
    yield what
    return whole()


def forgetting(**more: Any) -> Stages:
    three = [stage(name) for name in Comparison.NEEDED]
    yield [*three, stage("more", **more)]
    return Comparison(**{each.name: each for each in three})


def returning(what: Any) -> Stages:
    yield stage("teacher")
    return what()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (lambda: yielding("teacher"), "it yields 't': a stage, a list of stages, or None is expected"),
        (lambda: yielding(7), "it yields 7: a stage"),
        (lambda: yielding([stage("a"), 7]), "it yields 7: a stage"),
        (lambda: yielding([stage("a"), stage("a")]), "2 of its stages are called 'a': give each its own name"),
        (lambda: yielding(stage("../a")), r"a stage is called '\.\./a': letters, digits"),
        (lambda: yielding(stage("a" * 49)), "48 at most"),
        (lambda: yielding(stage("test")), "is called 'test', which is what comes before or after every scheme"),
        (lambda: yielding(stage("a")), "it uses the stage 'teacher' and never yields it"),
        (lambda: forgetting(after={"start": stage("b")}), "it uses the stage 'b' and never yields it"),
        (lambda: forgetting(reads=(stage("c"),)), "it uses the stage 'c' and never yields it"),
        (lambda: returning(lambda: None), "it returns None: a Comparison is expected"),
        (lambda: returning(lambda: Comparison(teacher=stage("a"), distilled=stage("b"))), r"no baseline=\.\.\."),
        (lambda: returning(lambda: whole(more=stage("teacher"))), "has the label 'teacher': give each model"),
        (lambda: returning(lambda: whole(more=stage("more", label="baseline"))), "label 'baseline'"),
    ],
)
def test_what_a_scheme_may_not_do(scheme: Callable[[], Stages], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^scheme: .*{message}"):
        look_ahead(scheme())
