"""A sweep's end: one table over all its jobs, and which of them failed. Built from files on disk alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

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
    metric, sign = "metric", 1.0
    if done:
        first = done[0]["results"]
        metric, sign = first["metric"], 1.0 if first["mode"] == "min" else -1.0
    header = ["job", "overrides", f"val {metric}", f"test {metric}", "student alone", "gain", "of the teacher"]
    rows = [
        [
            str(job["number"]),
            " ".join(job["overrides"]),
            f"{r['models']['distilled']['val']:.4g}",
            f"{r['models']['distilled']['test']:.4g}",
            f"{r['models']['baseline']['test']:.4g}",
            f"{r['gain_over_baseline']:+.3g}",
            f"{r['retention']:.1%}",
        ]
        for job in sorted(done, key=lambda job: sign * job["results"]["models"]["distilled"]["val"])
        for r in [job["results"]]
    ]
    failed = [job for job in jobs if job["state"] != "done"]
    return header, rows + [
        [str(job["number"]), " ".join(job["overrides"]), job["state"], "", "", "", ""] for job in failed
    ]


def failures(jobs: list[dict[str, Any]]) -> list[str]:
    """A sentence for each job that did not finish."""
    return [
        f"job {job['number']} ({' '.join(job['overrides'])}) {job['state']}: {job.get('error', 'killed')}"
        for job in jobs
        if job["state"] != "done"
    ]
