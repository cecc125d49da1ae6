"""Sweeps on disk as a sweep writes them, with numbers that follow a formula: every test can compute its own expectation.

perplexity(T, alpha, seed) = 40 + (T - 2)^2 - 5 alpha + seed / 4; the student alone has 42 + seed / 4.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from kd_lightning.results.report.sweep.files import Pool, pool_jobs
from kd_lightning.results.sweep_folder import Job, parse_params

GRID: Mapping[str, Sequence[object]] = {"temperature": (1, 2, 4), "alpha": (0.3, 0.9), "seed": (0, 1, 2)}
COMMAND = "kd run -m temperature=1,2,4 alpha=0.3,0.9 seed=0,1,2"
GONE = 2**22 + 1  # a process number that this kernel never gives


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def val(temperature: float, alpha: float, seed: int) -> float:
    """The distilled student's validation perplexity; its test perplexity is 1 more."""
    return 40 + (temperature - 2) ** 2 - 5 * alpha + seed / 4


def results(value: float, seed: int, **more: Any) -> dict[str, Any]:
    """``results.json`` of a job whose distilled student reached this validation perplexity."""
    alone = 42 + seed / 4

    def model(v: float, parameters: int, steps: int, **extra: Any) -> dict[str, Any]:
        sizes = {"parameters": parameters, "megabytes": parameters * 4e-6, "latency": parameters / 1e5}
        return {"val": v, "test": v + 1, "steps": steps, "best_step": steps, "seconds": 3.5, **sizes, **extra}

    found = {
        "task": "language_modeling",
        "metric": "perplexity",
        "mode": "min",
        "seed": seed,
        "teacher_seed": 0,
        "batch_size": 32,
        "temperature": 2.0,
        "alpha": 0.5,
        "models": {
            "teacher": model(30.0, 688_000, 800, reused=seed > 0),
            "baseline": model(alone, 174_000, 800, store_key=f"alone-{seed}"),
            "pretrained": model(60.0, 174_000, 400),
            "distilled": model(value, 174_000, 400),
        },
        "gain_over_baseline": alone - value,
        "gap_closed": (alone - value) / (alone - 30),
        "teacher_unchanged": True,
        "teacher_hash": "8d75",
        "data_fingerprint": "9c11",
    }
    return {**found, **more}


def curve(value: float, points: int, steps: int = 400) -> str:
    """``distill.csv``: validation falls towards ``value``; training lines stand between, as in a real file."""
    lines = ["step,split,name,value"]
    for k in range(1, points + 1):
        step = k * steps // points
        lines += [f"{step},train,{name},{value / 10:.3f}" for name in ("loss", "hard", "kd", "lr")]
        lines.append(f"{step},val,perplexity,{value * (1 + 0.8 * math.exp(-5 * k / points))!r}")
    return "\n".join(lines) + "\n"


def write_job(
    sweep: Path,
    number: int,
    overrides: Iterable[str],
    found: Mapping[str, Any] | None = None,
    state: str = "done",
    points: int = 8,
    **record: Any,
) -> Path:
    """One job's folder."""
    folder = sweep / str(number)
    words = list(overrides)
    job = {"number": number, "overrides": words, "state": state, "seconds": 12.3, **record}
    write_json(folder / "job.json", job)
    if found is not None:
        write_json(folder / "results.json", found)
        (folder / "metrics").mkdir(exist_ok=True)
        value = found["models"]["distilled"]["val"]
        (folder / "metrics" / "distill.csv").write_text(curve(value, points), encoding="utf-8")
    return folder


def write_grid(sweep: Path, grid: Mapping[str, Sequence[object]] = GRID, points: int = 8, state: str = "done") -> Path:
    """A sweep over a grid, all jobs done."""
    names = list(grid)
    combinations = list(product(*grid.values()))
    write_sweep(sweep, len(combinations), state)
    for number, values in enumerate(combinations):
        setting = dict(zip(names, values, strict=True))
        seed = int(str(setting.get("seed", 0)))
        value = val(float(str(setting.get("temperature", 1))), float(str(setting.get("alpha", 0.5))), seed)
        # a little of every job's own, so that the gains of a configuration's seeds are not all the same
        value += math.sin(7 * number + 1) / 5
        overrides = [f"{name}={given}" for name, given in setting.items()]
        write_job(sweep, number, overrides, results(value, seed), points=points)
    return sweep


def write_sweep(sweep: Path, jobs: int | None, state: str = "done", **info: Any) -> None:
    """``sweep.json``."""
    found = {"version": 1, "id": sweep.name, "command": COMMAND, "jobs": jobs, "state": state, **info}
    write_json(sweep / "sweep.json", found)


def write_troubled(sweep: Path) -> Path:
    """The grid of 18 with trouble: jobs 3 failed, 4 killed, 5 running, 6 torn, 7 without a record, 20 planned."""
    write_grid(sweep)
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    write_sweep(sweep, 20, "running", **me)
    words = {n: json.loads((sweep / str(n) / "job.json").read_text())["overrides"] for n in range(18)}
    for number in (3, 4, 5, 7):
        (sweep / str(number) / "results.json").unlink()
    error = "NonFiniteLossError: the term 'kd' is NaN at step 120; lower optimizer.lr"
    write_job(sweep, 3, words[3], state="failed", error=error, traceback="Traceback:\n  line 1\n" + error)
    write_job(sweep, 4, words[4], state="running", pid=GONE, host=socket.gethostname())
    write_job(sweep, 5, words[5], state="running", **me)
    progress = {"stage": "distill", "step": 120, "steps": 400, "note": "validation 41.2"}
    write_json(sweep / "5" / "progress.json", progress)
    (sweep / "6" / "metrics" / "distill.csv").write_text("step,split,name,value\n50,val,perplexity,44\n100,val,per")
    (sweep / "7" / "job.json").unlink()
    return sweep


def write_students(sweep: Path) -> Path:
    """Three student sizes, two temperatures, two seeds: better when larger, slower too."""
    sizes = {"lstm_lm_tiny": (30_000, 6.0), "lstm_lm_small": (174_000, 0.0), "lstm_lm": (688_000, -4.0)}
    write_sweep(sweep, 12)
    for number, (name, temperature, seed) in enumerate(product(sizes, (1, 4), (0, 1))):
        parameters, worse = sizes[name]
        found = results(val(temperature, 0.5, seed) + worse + math.sin(number) / 5, seed)
        for role in ("baseline", "distilled"):
            change = {"parameters": parameters, "megabytes": parameters * 4e-6, "latency": parameters**0.7 / 1e5}
            found["models"][role] |= change
        found["models"]["baseline"]["val"] += worse
        write_job(sweep, number, [f"student={name}", f"temperature={temperature}", f"seed={seed}"], found)
    return sweep


def write_study(sweep: Path, jobs: int = 30) -> Path:
    """A random search over numbers of several magnitudes and a choice, with ``study.json``."""
    write_sweep(sweep, None)
    for number in range(jobs):
        rate = 10 ** (-4 + 3 * ((number * 7) % jobs) / jobs)
        temperature = 1 + 9 * ((number * 11) % jobs) / jobs
        optimizer = ("adam", "sgd")[number % 2]
        value = 38 + (math.log10(rate) + 2.6) ** 2 * 4 + (temperature - 4) ** 2 / 6 + 2 * (number % 2)
        overrides = [f"optimizer.lr={rate:.6g}", f"temperature={temperature:.4g}", f"optimizer={optimizer}"]
        folder = write_job(sweep, number, overrides, results(value, 0))
        write_json(folder / "trial.json", {"number": number, "params": {}})
    write_json(
        sweep / "study.json",
        {
            "name": "tpe_default",
            "storage": "sqlite:///study.db",
            "sampler": "TPE",
            "pruner": "median",
            "objectives": [{"value": "models.distilled.val", "direction": "minimize"}],
            "trials": {"complete": jobs, "failed": 0, "pruned": 2, "running": 0},
            "best": [4],
            "importances": {"optimizer.lr": 0.71, "temperature": 0.21, "optimizer": 0.08},
            "dashboard": "optuna-dashboard sqlite:///study.db",
        },
    )
    return sweep


def jobs_of(overrides: Sequence[Sequence[str]], values: Sequence[float | None] | None = None) -> list[Job]:
    """Jobs in memory, done where they have a value; those without overrides have no record."""
    jobs = []
    for number, words in enumerate(overrides):
        value = values[number] if values else None
        seed = int(parse_params(words).get("seed", "0"))
        found = results(value, seed) if value is not None else None
        record = {"number": number, "overrides": list(words), "state": "done" if found else "failed"} if words else {}
        jobs.append(Job(number, Path(str(number)), record, found))
    return jobs


def pool_of(overrides: Sequence[Sequence[str]], values: Sequence[float | None]) -> Pool:
    """A pool of jobs in memory."""
    jobs = jobs_of(overrides, values)
    return pool_jobs([], [(str(job.number), job) for job in jobs], single=True)
