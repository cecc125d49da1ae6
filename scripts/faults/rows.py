"""The rows of the fault matrix."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.faults.damage import checkpoints, store
from scripts.faults.disk import disk
from scripts.faults.processes import Outcome
from scripts.faults.runs import ranks, runs, signals
from scripts.faults.saves import saves
from scripts.faults.shared_store import forced, teachers
from scripts.faults.sweeps import SIDE_BY_SIDE, jobs, sweeps
from scripts.faults.sweeps_at_once import together, two_sweeps
from scripts.faults.teacher_outputs import cache_damage, cache_kills


def strangers(rng: random.Random, n: int, folder: Path) -> Outcome:
    """``kd`` in folders that a stranger made: every root of ``hostile/``, or so many of them."""
    from scripts.faults.hostile.attempt import problems_of
    from scripts.faults.hostile.roots import all_roots

    multiprocessing.set_forkserver_preload(
        ["kd_lightning.cli.main", "kd_lightning.cli.run", "kd_lightning.experiment.run"]
    )
    roots = list(all_roots().values())
    outcome = Outcome()
    for root in rng.sample(roots, min(n, len(roots))):
        struck, problems = problems_of(root, folder / root.name)
        outcome.add(struck, problems, root.name)
    outcome.note = "struck: the same payload runs where the user allows it"
    return outcome


@dataclass(frozen=True)
class Row:
    """A row of the fault matrix.

    Attributes:
        fault: What happens.
        where: To what.
        tries: In full.
        passes: What must be so.
        body: (rng, tries, folder) -> Outcome.
    """

    fault: str
    where: str
    tries: int
    passes: str
    body: Callable[[random.Random, int, Path], Outcome]


ROWS = {
    "saves": Row(
        "kill -9 at a uniform time", "checkpoint save, temp folder on the same / another file system", 600,
        "newest resume point is whole, none is refused, no confirmed save is lost", saves,
    ),
    "runs": Row(
        "kill -9 at a uniform time", "a whole run, then the same again", 100, "weights and metrics.csv bit-equal", runs
    ),
    "signals": Row(
        "SIGTERM, SIGINT", "in training and in validation", 80, "exit code 143 / 130; the same again: bit-equal", signals
    ),
    "sweeps": Row(
        "kill -9 at a uniform time", "a sweep's leader or a worker, launchers worker and process", 50,
        "again: all jobs done, finished entries untouched, nothing trained twice, bit-equal, no process stays", sweeps,
    ),
    "cohorts": Row(
        "kill -9 at a uniform time", "a sweep's leader or its worker, cohort launcher, step by step", 20,
        "as sweeps; a killed worker costs no job: they go on one by one", partial(sweeps, cells=SIDE_BY_SIDE),
    ),
    "jobs": Row(
        "raise, exit(0), exit(1), os._exit(0), SIGTERM, SIGKILL", "job 3 of 6; worker, process, cohort", 17,
        "5 results, job 3 with its reason, exit code 1; again: job 3 alone", jobs,
    ),
    "disk": Row(
        "ENOSPC, RLIMIT_FSIZE, EACCES", "every writer, and whole runs", 58,
        "typed error with the path, old file intact, nothing torn; the run's exit code is 2, again: bit-equal", disk,
    ),
    "checkpoints": Row(
        "bit flip, truncation, zero length, swap", "the newest resume point", 1000,
        "refused with its path, the one before it serves", checkpoints,
    ),
    "store": Row(
        "bit flip, truncation, zero length, swap", "an entry of the store", 1000, "seen, and made again", store
    ),
    "cache_kills": Row(
        "kill -9 at a uniform time", "one of 4 processes that need the same teacher outputs", 100,
        "the others have the rows, bit-equal; the entry is whole", cache_kills,
    ),
    "cache": Row(
        "bit flip, truncation, zero length, swap", "teacher outputs on disk", 1000, "seen, and written again, bit-equal",
        cache_damage,
    ),
    "teachers": Row(
        "8 processes need the same teacher; in half the rounds the first is killed", "one store", 50,
        "trained once (resumed once), equal digests, no deadlock, the dead owner's lock is taken over", teachers,
    ),
    "ranks": Row(
        "kill -9", "rank 1 of 2 in training (DDP)", 10, "exit code 1 within 60 s; again: bit-equal", ranks
    ),
    "together": Row(
        "8 sweeps of the same command at once", "one store", 3, "all have all results, each stage is trained once", together
    ),
    "two-sweeps": Row(
        "two sweeps with other temperatures at once", "one folder (hydra.sweep.dir)", 20,
        "one is refused with exit code 2 and a line; every result stands under its own temperature", two_sweeps,
    ),
    "forced": Row(
        "force=[teacher]", "a stage made again while three processes read it", 50, "nobody reads a torn entry", forced
    ),
    "hostile": Row(
        "a stranger's files", "./conf and others in the working folder", 100, "no payload runs; refused in one line", strangers
    ),
}  # fmt: skip
