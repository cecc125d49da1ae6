"""Jobs of a sweep as ``read_sweep`` returns them, made in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kd_lightning.results.sweep_folder import Job


def results(
    seed: int,
    val: float,
    test: float,
    baseline: float,
    *,
    metric: str = "perplexity",
    mode: str = "min",
    teacher_seed: int = 0,
    data: str = "rows",
    steps: tuple[int, int, int] = (800, 400, 400),
    baseline_val: float = 50.0,
    baseline_key: str | None = None,
) -> dict[str, Any]:
    """What a verdict reads of ``results.json``; ``steps`` of the student alone, of pre-training and of distillation."""
    alone, before, distilled = steps
    return {
        "task": "language_modeling",
        "metric": metric,
        "mode": mode,
        "seed": seed,
        "teacher_seed": teacher_seed,
        "data_fingerprint": data,
        "models": {
            "teacher": {"val": 30.0, "test": 31.0, "steps": 800},
            "baseline": {
                "val": baseline_val,
                "test": baseline,
                "steps": alone,
                "store_key": f"alone{seed}" if baseline_key is None else baseline_key,
            },
            "pretrained": {"val": 60.0, "test": 61.0, "steps": before} if before else None,
            "distilled": {"val": val, "test": test, "steps": distilled},
        },
    }


def job(
    number: int,
    words: str,
    found: dict[str, Any] | None = None,
    state: str = "done",
    error: str = "",
    confirm: bool = False,
) -> Job:
    """A job with the overrides ``words``, and what it found where it is done."""
    record = {"number": number, "overrides": words.split(), "state": state, "error": error, "confirm": confirm}
    return Job(number, Path("sweep") / str(number), record, found)
