"""Advances a scheme: what it asks for is done, until it returns the models to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.pending import Steps, run_alone
from kd_lightning.experiment.stage import DATA, TEST, Comparison, Request, Stage, Stages
from kd_lightning.results.roles import STAGE_NAME

Obtain = Callable[[Stage, Sequence[Stage]], Steps[None]]


def serial(
    scheme: Stages, obtain: Obtain, elsewhere: Callable[[Stage], bool] = lambda stage: False
) -> Steps[Comparison]:
    """One stage after the other.

    Args:
        scheme: A scheme that has begun nothing yet.
        obtain: Has a stage's result at hand; told which others of its request are still to come.
        elsewhere: Another process is at work on the stage: others that it does not hold up come first.

    Raises:
        ConfigError: The scheme yields or returns something else.
    """
    request: Request = None
    while True:
        try:
            request = scheme.send(request)
        except StopIteration as end:
            return checked_comparison(end.value)
        stages = list_stages(request)
        if len(stages) > 1:
            later = [elsewhere(stage) or any(each in stages for each in stage.after.values()) for stage in stages]
            stages = [
                stage for last in (False, True) for stage, is_last in zip(stages, later, strict=True) if is_last == last
            ]
        for number, stage in enumerate(stages):
            begun = stages[number:]
            yield from obtain(
                stage, [each for each in begun[1:] if not any(need in begun for need in each.after.values())]
            )


def look_ahead(scheme: Stages) -> tuple[list[Stage], Comparison]:
    """The stages that a scheme will ask for, in order, and what it will compare; nothing is done.

    Raises:
        ConfigError: A stage has no name of its own, or one that is no folder's, or is used and not yielded; or as ``serial``.
    """
    stages: list[Stage] = []

    def note(stage: Stage, beside: Sequence[Stage]) -> Steps[None]:
        stages.append(stage)
        yield from ()

    comparison = run_alone(serial(scheme, note))
    names = [stage.name for stage in stages]
    for name in names:
        if not STAGE_NAME.fullmatch(name):
            raise ConfigError(
                f"scheme: a stage is called {name!r}: letters, digits, '_', '-' and '.' are expected, 48 at most"
            )
        if names.count(name) > 1:
            raise ConfigError(f"scheme: {names.count(name)} of its stages are called {name!r}: give each its own name")
        if name in (DATA, TEST):
            raise ConfigError(f"scheme: a stage is called {name!r}, which is what comes before or after every scheme")
    for needed in [
        *comparison.models.values(),
        *(each for stage in stages for each in [*stage.after.values(), *stage.reads]),
    ]:
        if needed not in stages:
            raise ConfigError(f"scheme: it uses the stage {needed.name!r} and never yields it")
    return stages, comparison


def list_stages(request: Request) -> list[Stage]:
    """The stages of one request."""
    wanted = list(request) if isinstance(request, Sequence) else [request]
    for each in wanted:
        if not (each is None or isinstance(each, Stage)):
            raise ConfigError(f"scheme: it yields {each!r}: a stage, a list of stages, or None is expected")
    return [each for each in wanted if each is not None]


def checked_comparison(found: object) -> Comparison:
    """What a scheme has returned."""
    if not isinstance(found, Comparison):
        raise ConfigError(f"scheme: it returns {found!r}: a Comparison is expected")
    return found
