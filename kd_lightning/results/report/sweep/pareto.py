"""Quality against a cost: which configurations no other one beats in both.

A point is beaten (dominated) by another that is at least as good in both and better in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kd_lightning.results.numbers import as_finite, format_metric, format_size
from kd_lightning.results.report.sweep.files import Pool, mean_of_finite, read_job_model
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL, find_role
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.sweep_folder import Job


@dataclass(frozen=True)
class Candidate:
    """One mark of the chart.

    Attributes:
        name: What it is.
        cost: Size.
        quality: Mean validation metric.
        kind: ``front``, ``beaten``, ``teacher`` or ``alone``; only configurations compete.
        jobs: Numbers of its jobs; empty for references.
        chosen: It is the chosen configuration.
        words: What shows under the pointer.
    """

    name: str
    cost: float
    quality: float
    kind: str
    jobs: tuple[int, ...] = ()
    chosen: bool = False
    words: str = ""


@dataclass(frozen=True)
class Tradeoff:
    """One chart; ``note`` is its caption, or why there is none where ``candidates`` is empty."""

    title: str
    x_label: str
    y_label: str
    candidates: tuple[Candidate, ...]
    note: str

    @property
    def front(self) -> list[Candidate]:
        """Those on the front, smallest first."""
        return sorted((c for c in self.candidates if c.kind == "front"), key=lambda c: c.cost)


def find_pareto_front(points: Sequence[tuple[float, float]], less_cost: bool, less_quality: bool) -> list[bool]:
    """Which points no other point beats.

    Args:
        points: (cost, quality) of each.
        less_cost: Less of the cost is better.
        less_quality: Less of the quality metric is better.

    Example:
        >>> find_pareto_front([(1, 5.0), (2, 4.0), (2, 6.0), (3, 4.0)], less_cost=True, less_quality=True)
        [True, True, False, False]
    """
    good = [(x if less_cost else -x, y if less_quality else -y) for x, y in points]
    return [not any(o[0] <= p[0] and o[1] <= p[1] and o != p for o in good) for p in good]


def list_tradeoffs(pool: Pool, found: Sequence[Configuration]) -> list[Tradeoff]:
    """Quality against size.

    Not against a measured speed, which differs from hour to hour.
    """
    known = [(c, jobs) for c in found if (jobs := list_scored_jobs(c, pool)) and as_finite(c.val_mean) is not None]
    kinds = {identify_network(jobs[0]) for _, jobs in known}
    one = len(kinds) < 2 and not any(name.startswith("model") for name in pool.plain)
    return [make_tradeoff(pool, known, one)]


def list_scored_jobs(configuration: Configuration, pool: Pool) -> list[Job]:
    """Its jobs with comparable numbers."""
    return [job for job in pool.scored if job.number in configuration.jobs]


def identify_network(job: Job) -> tuple[object, object]:
    """What tells one student network from another in the numbers."""
    record = read_job_model(job, DISTILLED_MODEL)
    return record.get("parameters"), record.get("megabytes")


def make_tradeoff(
    pool: Pool,
    known: Sequence[tuple[Configuration, list[Job]]],
    one_network: bool,
) -> Tradeoff:
    """One chart from the mean size over each configuration's jobs."""
    heading, x_label, y_label = "Quality against size", "size, MB", f"validation {pool.metric}"
    costs = [
        (c, jobs, mean_of_finite([read_job_model(job, DISTILLED_MODEL).get("megabytes") for job in jobs]))
        for c, jobs in known
    ]
    placed = [(c, jobs, cost, float(c.val_mean)) for c, jobs, cost in costs if cost is not None]
    if len(placed) < 2 or one_network:
        return Tradeoff(heading, x_label, y_label, (), explain_no_tradeoff(len(placed)))
    on_front = find_pareto_front([(cost, quality) for *_, cost, quality in placed], True, pool.mode == "min")
    candidates = [
        Candidate(
            name=c.name or "the configuration",
            cost=cost,
            quality=quality,
            kind="front" if front else "beaten",
            jobs=tuple(c.jobs),
            chosen=c.chosen,
            words=describe_candidate(c.name, cost, quality, pool),
        )
        for (c, _, cost, quality), front in zip(placed, on_front, strict=True)
    ]
    jobs = [job for _, found, *_ in placed for job in found]
    candidates += list_references(pool, jobs)
    note = (
        "Means over the seeds. A diamond: no other configuration is at once smaller and better on validation (the "
        "Pareto front). "
    )
    return Tradeoff(heading, x_label, y_label, tuple(candidates), note)


def explain_no_tradeoff(count: int) -> str:
    """Why there is no chart."""
    if count < 2:
        return "Quality against size: fewer than two configurations have both numbers, so there is nothing to compare."
    return "Quality against size: all configurations have the same student network."


def list_references(pool: Pool, jobs: Sequence[Job]) -> list[Candidate]:
    """The teachers, and the students alone: one mark for each network, at its mean."""
    marks = []
    for name, kind in ((TEACHER_MODEL, "teacher"), (BASELINE_MODEL, "alone")):
        groups: dict[object, list[Job]] = {}
        for job in jobs:
            groups.setdefault(
                (read_job_model(job, name).get("parameters"), read_job_model(job, name).get("megabytes")), []
            ).append(job)
        marks += [mark for group in groups.values() if (mark := find_reference(pool, group, name, kind))]
    return marks


def find_reference(pool: Pool, jobs: Sequence[Job], name: str, kind: str) -> Candidate | None:
    """One network that the students are compared with."""
    cost, quality = (
        mean_of_finite([read_job_model(job, name).get(number) for job in jobs]) for number in ("megabytes", "val")
    )
    if cost is None or quality is None:
        return None
    label = find_role(jobs[0].results or {}, name).label
    return Candidate(label, cost, quality, kind, words=describe_candidate(label, cost, quality, pool))


def describe_candidate(name: str, cost: float, quality: float, pool: Pool) -> str:
    """A mark in words."""
    return f"{name}: validation {format_metric(quality, pool.metric, pool.mode)}, {format_size(cost)}"
