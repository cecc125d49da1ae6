"""Wall-clock time of whole sweeps from empty stores, against the same jobs one by one and by hand.

    python -m scripts.bench.sweep                        # "seeds", below; three rounds, about half an hour on 2 cores
    python -m scripts.bench.sweep --work w1 --work w2    # cohorts
    python -m scripts.bench.sweep --rounds 1 --steps 100

Works, each a grid of jobs:
  seeds  12 jobs: digits with 100 labels, temperature 1, 2, 4 x alpha 0.5, 0.9 x seed 0, 1
  w1      8 jobs: LSTM language models, vocabulary 10,000, teacher 2 x 512, student 1 x 128, 20 x 35 tokens a step;
          temperature 1, 2, 4, 8 x alpha 0.5, 0.9
  w2     16 jobs: digits with 100 labels, students of 4 and 8 channels; temperature 1, 2, 3, 4 x alpha 0.3, 0.5, 0.7, 0.9

Sides, interleaved in every round, each from nothing but prepared rows:
  sweep      kd run -m ...                              one warm worker, one teacher, a student alone for each seed
  processes  kd run -m hydra/launcher=process ...       the same, two jobs at once in fresh processes
  cohort     kd run -m hydra/launcher=cohort ...        the same, all students side by side
  stored     the same with teacher_outputs=auto         which stores the teacher's outputs where the rows are few
  fast       the same with matmul_precision=medium                bf16 products, where the processor has them
  at once    fast (w1), or stored with channels_last=true (w2), in two cohorts: hydra.launcher.n_cohorts=2, each with half of
             the cores
  singles    kd run ..., each with a store of its own   a teacher for each job
  by hand    a hand-written PyTorch script for each job: teacher, student alone, distilled student (seeds)
  plain      the script again: each job trains its own teacher and the distilled student, and the student alone is trained once
  careful    the script again, but teacher and student alone are trained once and kept in a file (w1, w2)
  careful x2 the same, and then two jobs at once, each with half of the cores

Before the tables, the sides are compared. Singles, and cohorts that go step by step (w1), must give the sweep's numbers
to the last digit; stacked cohorts (w2) differ in rounding, which grows over the steps, other sides in rounding or in random
order: the means over all jobs must agree within the limits of ``Work``. Times are given with the teacher's training and
without it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from scripts.bench.interleaved import Silent
from scripts.bench.settings import compose_settings
from scripts.bench.sweep_by_hand import script

KD = [sys.executable, "-m", "kd_lightning.cli.main", "run"]
Result = dict[str, float]


@dataclass(frozen=True)
class Work:
    """A grid of jobs.

    Attributes:
        words: Overrides of all jobs.
        grid: Setting -> values.
        sides: Those compared; the first is the one that the others are divided by.
        steps: Of the teacher, and of each student.
        exact: Sides that must give the sweep's numbers.
        quick: What makes the quickest side so, beside cohorts at once.
        limits: Model -> how far the sides' mean test values may lie apart, relative to the largest.
    """

    words: tuple[str, ...]
    grid: dict[str, tuple[float, ...]]
    sides: tuple[str, ...]
    steps: tuple[int, int]
    exact: tuple[str, ...]
    limits: dict[str, float]
    quick: tuple[str, ...] = ()

    @property
    def jobs(self) -> list[dict[str, float]]:
        """The settings of each."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


W1_WORDS = (
    *("data.vocab_size=10000", "data.context=35", "data.batch_size=20", "data.limit=8000", "data.source.test=0.004"),
    *(
        "data.source.val=0.004",
        "student.model.embedding=128",
        "student.model.hidden=128",
        "student.model.layers=1",
        "teacher.model.embedding=256",
    ),
    *("teacher.model.hidden=512", "teacher.model.layers=2", "optimizer.lr=0.005", "teacher.optimizer.lr=0.003"),
)
WORKS = {
    "seeds": Work(
        words=("experiment=digits",),
        grid={"temperature": (1.0, 2.0, 4.0), "alpha": (0.5, 0.9), "seed": (0, 1)},
        sides=("sweep", "processes", "singles", "by hand"),
        steps=(1000, 1000),
        exact=("singles",),
        # Two draws of 100 labels: one draw differs from another by 6 points at 200 steps.
        limits={"teacher": 0.03, "alone": 0.12, "distilled": 0.03},
    ),
    "w1": Work(
        words=W1_WORDS,
        grid={"temperature": (1.0, 2.0, 4.0, 8.0), "alpha": (0.5, 0.9)},
        sides=("at once", "fast", "cohort", "sweep", "plain", "careful", "careful x2"),
        quick=("matmul_precision=medium",),
        steps=(60, 200),
        exact=("cohort",),
        # Far from trained: another random start is 5% away.
        limits={"teacher": 0.15, "alone": 0.15, "distilled": 0.15},
    ),
    "w2": Work(
        words=("experiment=digits", "student=convnet_micro"),
        grid={"temperature": (1.0, 2.0, 3.0, 4.0), "alpha": (0.3, 0.5, 0.7, 0.9)},
        sides=("at once", "stored", "cohort", "sweep", "plain", "careful", "careful x2"),
        quick=("teacher_outputs=auto", "channels_last=true"),
        steps=(1000, 2000),
        exact=(),
        limits={"teacher": 0.03, "alone": 0.15, "distilled": 0.05},
    ),
}
BY_HAND: dict[str, tuple[Sequence[str], str, int]] = {
    "by hand": ((), "all", 1),
    "plain": (("alone",), "plain", 1),
    "careful": (("teacher", "alone"), "distilled", 1),
    "careful x2": (("teacher", "alone"), "distilled", 2),
}
"""Sides of the script: what is done once for all jobs, what each job does, and how many jobs at once."""


@dataclass
class Side:
    """What a side has done.

    Attributes:
        seconds: From nothing to the last result.
        teacher_seconds: Of these, the training of teachers.
        results: Of each job.
    """

    seconds: float = 0.0
    teacher_seconds: float = 0.0
    results: list[Result] = field(default_factory=list)


def call(command: list[str], **environ: str) -> str:
    """Run a command, with some environment variables set; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Bench:
    """One work.

    Args:
        name: Of the work.
        steps: Of the teacher, and of each student.
        place: A folder with ``rows.pt`` and ``store/data``: prepared rows.
    """

    def __init__(self, name: str, steps: tuple[int, int], place: Path) -> None:
        self.name, self.steps, self.place = name, steps, place
        self.work = WORKS[name]

    def words(self, outputs: Path) -> list[str]:
        """Overrides that all of our sides share."""
        budget = [f"teacher.steps={self.steps[0]}", f"student.steps={self.steps[1]}", "student.pretrain_steps=0"]
        return [*self.work.words, *budget, "progress=false", f"outputs={outputs}"]

    def fresh(self, outputs: Path) -> Path:
        """A store that holds the prepared rows and nothing else."""
        shutil.copytree(self.place / "store", outputs / "store")
        return outputs

    def timed(self, side: str) -> Side:
        """Do all jobs from nothing."""
        more = {
            "processes": ["hydra/launcher=process"],
            "cohort": ["hydra/launcher=cohort"],
            "stored": ["hydra/launcher=cohort", "teacher_outputs=auto"],
            "fast": ["hydra/launcher=cohort", "matmul_precision=medium"],
            "at once": ["hydra/launcher=cohort", "hydra.launcher.n_cohorts=2", *self.work.quick],
        }
        with tempfile.TemporaryDirectory() as folder:
            outputs = self.fresh(Path(folder) / "outputs")
            started = time.perf_counter()
            if side in BY_HAND:
                done = self.by_hand(*BY_HAND[side])
            elif side == "singles":
                done = self.singles(outputs)
            else:
                done = self.sweep(outputs, *more.get(side, []))
            done.seconds = time.perf_counter() - started
            return done

    def by_hand(self, shared_parts: Sequence[str], own_part: str, at_once: int) -> Side:
        """A process of the script for each part that all jobs share, and for each job."""
        side = Side()
        budget = ["--steps", *map(str, self.steps), "--by-hand", str(self.place / "rows.pt")]
        command = [sys.executable, "-m", "scripts.bench.sweep", "--work", self.name, *budget]

        def part(name: str, job: dict[str, float], at_once: int = 1) -> Result:
            threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))} if at_once > 1 else {}
            found: Result = json.loads(call([*command, name, json.dumps(job)], **threads))
            side.teacher_seconds += found.pop("teacher seconds", 0.0)
            return found

        shared: Result = {}
        for name in shared_parts:
            shared |= part(name, {})
        with ThreadPoolExecutor(at_once) as pool:
            parts = pool.map(lambda job: part(own_part, job, at_once), self.work.jobs)
            side.results = [{**shared, **found} for found in parts]
        return side

    def sweep(self, outputs: Path, *more: str) -> Side:
        """All jobs by one command."""
        grid = [f"{name}={','.join(map(str, values))}" for name, values in self.work.grid.items()]
        call([*KD, "-m", *self.words(outputs), *grid, *more])
        (folder,) = (outputs / "sweeps").iterdir()
        found = [json.loads((folder / str(n) / "results.json").read_text()) for n in range(len(self.work.jobs))]
        seconds = next(each["models"]["teacher"]["seconds"] for each in found)
        return Side(teacher_seconds=seconds, results=[tests(each) for each in found])

    def singles(self, outputs: Path) -> Side:
        """A command and a store for each job."""
        side = Side()
        for number, job in enumerate(self.work.jobs):
            own = self.fresh(outputs / str(number))
            call([*KD, *self.words(own), *(f"{name}={value}" for name, value in job.items())])
            (folder,) = (own / "runs").iterdir()
            found = json.loads((folder / "results.json").read_text())
            side.results.append(tests(found))
            side.teacher_seconds += found["models"]["teacher"]["seconds"]
        return side

    def compare(self, done: dict[str, Side]) -> None:
        """The sides have done the same work.

        Raises:
            SystemExit: They have not.
        """
        for side in self.work.exact:
            if {side, "sweep"} <= set(done) and done[side].results != done["sweep"].results:
                raise SystemExit(f"{side} and sweep differ: {done[side].results} {done['sweep'].results}")
        for name, limit in self.work.limits.items():
            means = {side: statistics.mean(each[name] for each in found.results) for side, found in done.items()}
            print(f"mean test value, {name}:", {side: round(value, 4) for side, value in means.items()})
            if max(means.values()) - min(means.values()) > limit * max(means.values()):
                raise SystemExit(f"{name}: the sides do not do the same work")


def tests(results: dict[str, Any]) -> Result:
    """Test values of a run."""
    models = results["models"]
    return {
        name: models[role]["test"] for name, role in (("teacher", "teacher"), ("alone", "baseline"), ("distilled",) * 2)
    }


def prepare(name: str, place: Path) -> None:
    """The work's rows: in a store, as a run would have prepared them, and in a file for the script."""
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.experiment.experiment import Experiment

    settings = compose_settings(*WORKS[name].words, f"outputs={place}", "folder=x")
    splits = Experiment(settings, build_node, [], Silent()).builder.dataset.prepared.splits
    rows = {split: {name: table[name].clone() for name in table.columns} for split, table in splits.items()}
    torch.save(rows, place / "rows.pt")


def bench(name: str, rounds: int, steps: tuple[int, int], sides: Sequence[str] | None) -> None:
    """Print a work's table; ``sides`` = None stands for all."""
    work = WORKS[name]
    work = replace(work, sides=tuple(side for side in work.sides if sides is None or side in sides))
    print(f"\n{name}: {len(work.jobs)} jobs, {steps[0]} steps of the teacher, {steps[1]} of each student", flush=True)
    measured: list[dict[str, Side]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(name, place)
        one = Bench(name, steps, place)
        for _ in range(rounds):
            measured.append({side: one.timed(side) for side in work.sides})
            print({side: round(done.seconds, 1) for side, done in measured[-1].items()}, flush=True)
            one.compare(measured[-1])
    print(
        f"| side | seconds, median | times {work.sides[0]}'s, median [range] | the same without the teachers' training |"
    )
    print("|---|---|---|---|")
    for side in work.sides:
        seconds = statistics.median(each[side].seconds for each in measured)
        print(f"| {side} | {seconds:.0f} | {' | '.join(ratios(measured, side, work.sides[0]))} |")


def ratios(measured: list[dict[str, Side]], side: str, base: str) -> Iterator[str]:
    """A side's time in units of the base's, with and without the training of teachers; median and range."""
    for share in (0, 1):
        found = sorted(
            (each[side].seconds - share * each[side].teacher_seconds)
            / (each[base].seconds - share * each[base].teacher_seconds)
            for each in measured
        )
        yield f"{statistics.median(found):.2f} [{found[0]:.2f}-{found[-1]:.2f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=WORKS, action="append", help="default: seeds")
    known = sorted({side for work in WORKS.values() for side in work.sides})
    parser.add_argument("--side", action="append", choices=known, help="only these; default: all of the work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", nargs=2, type=int, metavar=("TEACHER", "STUDENT"), help="default: the work's")
    parser.add_argument("--by-hand", nargs=3, metavar=("ROWS", "PART", "JOB"), help="run the hand-written script once")
    arguments = parser.parse_args()
    works = arguments.work or ["seeds"]
    if arguments.by_hand:
        rows, part, job = arguments.by_hand
        print(json.dumps(script(works[0], Path(rows), tuple(arguments.steps), part, json.loads(job))))
        return
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, {arguments.rounds} rounds")
    for name in works:
        bench(name, arguments.rounds, tuple(arguments.steps or WORKS[name].steps), arguments.side)


if __name__ == "__main__":
    main()
