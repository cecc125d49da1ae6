"""How a sweep was decided, in plain sentences. The page and the Markdown file print the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kd_lightning.results.numbers import shorten_hash
from kd_lightning.results.report.run import evidence
from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.table import join_labels
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.sweep_folder import Job

MOST_KINDS = 4  # different sentences that are told apart


def make_sweep_title(pool: Pool) -> str:
    """The page's heading."""
    tasks = sorted({str((job.results or {}).get("task")) for job in pool.scored})
    total = len(pool.jobs)
    about = " and ".join(tasks).replace("_", " ") or "no results yet"
    return f"Sweep report: {about}, {total} job{'' if total == 1 else 's'}"


def list_sweep_facts(pool: Pool, found: Sequence[Configuration]) -> list[evidence.Fact]:
    """Everything a reader needs in order to doubt the choice, in the order of importance."""
    repeats = describe_repeated_jobs(pool, found)
    all_of_them = [
        ("Metric", join_statements(pool, evidence.describe_metric)),
        ("Choice", describe_choice(pool)),
        ("Test", TEST_NOTE),
        ("Comparisons", describe_comparisons(found)),
        ("Seeds", describe_seeds(pool, found)),
        ("Budget", join_statements(pool, evidence.describe_training_budget)),
        ("Teacher", join_statements(pool, describe_teacher_hash)),
        ("Data", join_statements(pool, describe_fingerprint)),
        *([("Repeats", repeats)] if repeats else []),
        *([("Gaps", " ".join(pool.gaps))] if pool.gaps else []),
    ]
    return [(about, sentences) for about, sentences in all_of_them if sentences]


TEST_NOTE = (
    "Measured once for each model, after its checkpoint had been chosen, and never used to choose between configurations. "
    "The best test value of the table is not the result: the largest of many numbers flatters."
)


def describe_choice(pool: Pool) -> str:
    """What decides between checkpoints and between configurations."""
    return (
        f"Of each stage the checkpoint with the best validation {pool.metric}; of the configurations the one with the best "
        "mean validation over its seeds (marked with a star)."
    )


def describe_comparisons(found: Sequence[Configuration]) -> str:
    """How many comparisons there are, and how they are corrected."""
    tested = [c for c in found if c.p_adjusted is not None]
    if not tested:
        return "None: a comparison with the student alone needs two seeds at least." if found else ""
    if len(tested) == 1:
        return "One, so nothing needs to be corrected: a paired t test of distilled against alone, seed by seed."
    return (
        f"{len(tested)} of distilled against alone, paired by seed. Of so many, some look good by luck: intervals hold for all "
        "of them at once, p is adjusted for them, and the verdicts go by both."
    )


def describe_seeds(pool: Pool, found: Sequence[Configuration]) -> str:
    """What counts as one configuration, and on how many seeds each rests."""
    if not found:
        return ""
    counts = sorted({len(c.seeds) for c in found})
    rests = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    one = counts == [1]
    used = sorted({seed for c in found for seed in c.seeds})
    shown = ", ".join(map(str, used)) if len(used) <= 12 else f"{len(used)} different ones"
    return (
        f"Jobs that differ in their seeds alone are one configuration: {len(found)} of them with a result, each on {rests} "
        f"seed{'' if one else 's'} ({shown})."
    )


def join_statements(pool: Pool, say: Callable[[dict[str, Any]], str]) -> str:
    """One sentence where all jobs say the same; else each with the jobs that say it."""
    said: dict[str, list[Job]] = {}
    for job in pool.scored:
        said.setdefault(say(job.results or {}), []).append(job)
    if len(said) <= 1:
        return next(iter(said), "")
    parts = [f"Jobs {join_labels(jobs, pool)}: {sentence}" for sentence, jobs in list(said.items())[:MOST_KINDS]]
    more = len(said) - MOST_KINDS
    return "Not the same for all jobs. " + " ".join(parts) + (f" And {more} more kinds." if more > 0 else "")


def describe_teacher_hash(results: dict[str, Any]) -> str:
    """Whether the frozen teacher stayed as it was; not which one it was."""
    return evidence.describe_frozen_teacher({"models": {}, "teacher_unchanged": results.get("teacher_unchanged")})


def describe_fingerprint(results: dict[str, Any]) -> str:
    """Which data."""
    found = results.get("data_fingerprint")
    return f"Fingerprint {shorten_hash(found) if found else 'not recorded'}."


def describe_repeated_jobs(pool: Pool, found: Sequence[Configuration]) -> str:
    """Jobs that are done and counted under another job's number."""
    counted = {number for c in found for number in c.jobs}
    twice = [job for job in pool.scored if job.number not in counted and not job.confirm]
    if not twice:
        return ""
    return f"Job {join_labels(twice, pool)} repeats the settings and seeds of another one and is not counted again."


def describe_studies(pool: Pool) -> list[str]:
    """What is known of the search behind a sweep, a few sentences for each study."""
    return [describe_study(found) for found in pool.studies]


def describe_study(found: dict[str, Any]) -> str:
    """One study in words."""
    trials = found.get("trials") if isinstance(found.get("trials"), dict) else {}
    states = ", ".join(f"{number} {state}" for state, number in (trials or {}).items() if number)
    goals = [
        f"{goal.get('direction', '')} {goal.get('value', '')}".strip()
        for goal in found.get("objectives") or []
        if isinstance(goal, dict)
    ]
    best = found.get("best") or []
    parts = [
        f"Study {found.get('name', 'without a name')}: sampler {found.get('sampler')}, pruner {found.get('pruner')}.",
        f"Goal: {', '.join(goals)}." if goals else "",
        f"Trials: {states}." if states else "",
        f"Best trial{'s (Pareto front)' if len(best) > 1 else ''}: {', '.join(map(str, best))}." if best else "",
        f"Stored in {found['storage']}." if found.get("storage") else "",
    ]
    return " ".join(part for part in parts if part)


def list_importances(found: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Parameter, share of one and its text, most important first; empty where the study has none."""
    values = found.get("importances")
    known = (
        {str(name): float(v) for name, v in values.items() if isinstance(v, int | float)}
        if isinstance(values, dict)
        else {}
    )
    return [
        (name, max(0.0, min(1.0, value)), f"{100 * value:.0f}%")
        for name, value in sorted(known.items(), key=lambda item: -item[1])
        if value == value  # a NaN says nothing
    ]
