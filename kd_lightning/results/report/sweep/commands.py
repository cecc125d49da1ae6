"""Commands that repeat a job, a configuration, a sweep. They can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import product

from kd_lightning.results.sweep_folder import Job, Sweep, parse_params

SEEDS = ("seed", "teacher.seed", "teacher_seed")
UNKNOWN = "# not recorded"


def write_job_command(job: Job) -> str:
    """What runs this job on its own."""
    recorded = (job.results or {}).get("command")
    if recorded:
        return str(recorded)
    return shlex.join(["kd", "run", *job.overrides]) if job.overrides else UNKNOWN


def write_configuration_command(jobs: Sequence[Job]) -> str:
    """What runs a configuration with all its seeds: one sweep where the seeds form a grid, else one run after another."""
    first = jobs[0]
    shared = [word for word in first.overrides if override_name(word) not in SEEDS]
    same = all([word for word in job.overrides if override_name(word) not in SEEDS] == shared for job in jobs)
    if len(jobs) == 1 or not same:
        return " && ".join(dict.fromkeys(map(write_job_command, jobs)))
    taken = [tuple(parse_params(job.overrides).get(seed) for seed in SEEDS) for job in jobs]
    axes = [list(dict.fromkeys(values)) for values in zip(*taken, strict=True)]
    if any(None in axis and len(axis) > 1 for axis in axes) or set(product(*axes)) != set(taken):
        return " && ".join(dict.fromkeys(map(write_job_command, jobs)))
    words = [f"{seed}={','.join(map(str, axis))}" for seed, axis in zip(SEEDS, axes, strict=True) if axis != [None]]
    sweep = ["-m"] if any(len(axis) > 1 for axis in axes) else []
    return shlex.join(["kd", "run", *sweep, *shared, *words])


def write_sweep_command(sweep: Sweep) -> str:
    """What goes on with a sweep, or repeats it."""
    recorded = sweep.info.get("command")
    if recorded:
        return str(recorded)
    commands = dict.fromkeys(write_job_command(job) for job in sweep.jobs)
    return "\n".join(["# sweep.json does not hold the sweep's command; its jobs one by one:", *commands])


def override_name(word: str) -> str:
    """What an override is about."""
    return next(iter(parse_params([word])))
