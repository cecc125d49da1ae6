"""Eight sweeps of the same command at once, and two that lead the same folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from kd_lightning.results.sweep_folder import DONE, read_sweep
from scripts.faults.processes import BASE, FORK, PATIENCE, SHORT, TEMPERATURES, WORDS, Outcome, command, end, start
from scripts.faults.sweeps import sweeps_in, trainings


def together(rng: random.Random, n: int, folder: Path) -> Outcome:
    """All begin in the same second, on one store."""
    outcome = Outcome()
    trained = 0
    for number in range(n):
        outputs, gate = folder / str(number), FORK.Barrier(8)
        words = ["-m", *WORDS, TEMPERATURES, f"outputs={outputs}"]
        children = [start(folder / f"log-{number}-{i}", at_gate, gate, words) for i in range(8)]
        codes = [end(child) for child in children]
        problems = [f"exit codes {codes}"] if any(codes) else []
        found = [read_sweep(path) for path in sweeps_in(outputs)]
        problems += [f"{len(found)} folders, not 8"] if len(found) != 8 else []
        lost = [sweep.folder.name for sweep in found if [job.state for job in sweep.jobs] != [DONE] * 4]
        problems += [f"{name} lacks results" for name in lost]
        counts = trainings(found)
        problems += [f"{name} is trained {count} times" for name, count in counts.items() if count != 1]
        trained += len(counts)
        starts = {sweep.info.get("started") for sweep in found}
        outcome.add(len(starts) < 8, problems)
    outcome.note = f"struck: sweeps begun in the same second; {trained} entries, each trained once; {32 * n} results"
    return outcome


def at_gate(gate: Any, words: list[str]) -> None:
    """``kd run`` when all are there."""
    gate.wait(PATIENCE)
    command(*words)


def two_sweeps(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Other temperatures, the same ``hydra.sweep.dir``, begun at once; afterwards the one that was refused, again."""
    outcome = Outcome()
    for number in range(n):
        outputs, gate = folder / str(number), FORK.Barrier(2)
        one = outputs / "sweeps" / "one"
        launcher = "hydra/launcher=inline"  # the folder's lock is the leader's, whatever the launcher
        shared = ["-m", launcher, *BASE, *SHORT, f"outputs={outputs}", f"hydra.sweep.dir={one}"]
        commands = [[*shared, words] for words in ("temperature=1,2", "temperature=5,6")]
        logs = [folder / f"log-{number}-{i}" for i in range(2)]
        codes = [
            end(child)
            for child in [start(log, at_gate, gate, words) for log, words in zip(logs, commands, strict=True)]
        ]
        refused = [
            code == 2 and "another sweep is at work here" in log.read_text()
            for code, log in zip(codes, logs, strict=True)
        ]
        problems = [f"exit codes {codes}"] if sorted(codes, key=str) != [0, 2] else []
        problems += wrong_temperatures(one, commands[codes.index(0)]) if 0 in codes else []
        if not problems:
            again = end(start(folder / f"log-{number}-again", command, *commands[codes.index(2)]))
            problems += [f"the refused one ends with {again}"] if again else []
            problems += wrong_temperatures(one, commands[codes.index(2)])
        outcome.add(any(refused), problems)
    outcome.note = "struck: the second one came while the first was at work"
    return outcome


def wrong_temperatures(sweep: Path, words: list[str]) -> list[str]:
    """What is wrong with the sweep of a command: each job has its own temperature's results, and there are no others."""
    wanted = words[-1].partition("=")[2].split(",")
    jobs = read_sweep(sweep).jobs
    told = [(job.overrides[-1].partition("=")[2], (job.results or {}).get("temperature")) for job in jobs]
    return [] if told == [(each, float(each)) for each in wanted] else [f"{words[-1]}: the folder has {told}"]
