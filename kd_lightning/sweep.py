"""A sweep's end: one table over all its jobs, and which of them failed. Built from files on disk alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from kd_lightning.report.numbers import metric_value, percent
from kd_lightning.verdict import difference

JOB = "job.json"


class SweepWatch(Callback):
    """Hydra callback: remembers which folder the sweep of this process writes to."""

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        SweepWatch.folder = Path(config.hydra.sweep.dir)


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """Each job's ``job.json`` with its ``results`` where it has any, by number."""
    jobs = []
    for path in sorted(folder.glob(f"*/{JOB}")):
        job = json.loads(path.read_text(encoding="utf-8"))
        results = path.with_name("results.json")
        job["results"] = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else None
        jobs.append(job)
    return sorted(jobs, key=lambda job: job["number"])


def sweep_rows(jobs: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a row for each job, ordered by the validation value, failed ones last.

    Choosing is done on validation; the test columns say what the chosen one is worth.
    """
    done = [job for job in jobs if job["state"] == "done"]
    metric, mode = (done[0]["results"][key] for key in ("metric", "mode")) if done else ("metric", "min")
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    header = ["job", "overrides", f"val {metric}", f"test {metric}", "student alone", "gain", "of the teacher"]

    def own(job: dict[str, Any]) -> str:
        return " ".join(override for override in job["overrides"] if override not in shared)

    def value(job: dict[str, Any]) -> float:
        chosen = job["results"]["models"]["distilled"]["val"]
        return chosen if mode == "min" else -chosen

    def cells(job: dict[str, Any]) -> list[str]:
        results = job["results"]
        baseline, student = results["models"]["baseline"], results["models"]["distilled"]
        shown = [metric_value(v, metric, mode) for v in (student["val"], student["test"], baseline["test"])]
        gained = difference(results["gain_over_baseline"], student["test"], metric, mode)
        return [str(job["number"]), own(job), *shown, gained, percent(results["retention"])]

    failed = [[str(job["number"]), own(job), job["state"], *[""] * 4] for job in jobs if job["state"] != "done"]
    return header, [cells(job) for job in sorted(done, key=value)] + failed


def failures(jobs: list[dict[str, Any]]) -> list[str]:
    """A sentence for each job that did not finish."""
    return [
        f"job {job['number']} ({' '.join(job['overrides'])}) {job['state']}: {job.get('error', 'killed')}"
        for job in jobs
        if job["state"] != "done"
    ]
