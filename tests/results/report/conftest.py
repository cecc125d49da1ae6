"""A small finished run on disk, with numbers that are easy to divide by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# stage -> its CSV. Steps count from 0 in each stage; pre-training took 100 steps.
METRICS = {
    "teacher": "50,val,perplexity,90\n200,val,perplexity,30\n",
    "baseline": "50,val,perplexity,120\n100,val,perplexity,80\n200,val,perplexity,50\n",
    "pretrain": "50,train,loss,4.5\n50,train,kd,4.0\n50,train,lr,0.001\n50,val,perplexity,100\n100,val,perplexity,60\n",
    "distill": "50,train,loss,3.0\n50,train,kd,2.0\n50,train,hard,5.0\n50,val,perplexity,45\n100,val,perplexity,40\n",
}


def model(val: float, test: float, parameters: int, steps: int, **more: Any) -> dict[str, Any]:
    """One entry of ``models``."""
    sizes = {"parameters": parameters, "megabytes": parameters * 4 / 1e6, "seconds": 12.34, "latency": 1.234}
    return {"val": val, "test": test, "steps": steps, "best_step": steps, **sizes, **more}


@pytest.fixture
def results() -> dict[str, Any]:
    """What the sample run's ``results.json`` holds."""
    return {
        "task": "language_modeling",
        "metric": "perplexity",
        "mode": "min",
        "seed": 0,
        "batch_size": 32,
        "temperature": 2.0,
        "alpha": 0.9,
        "models": {
            "teacher": model(29.0, 30.0, 688000, 200, store_key="3f9a", reused=True),
            "baseline": model(49.0, 50.0, 174000, 200, store_key="77ab"),
            "pretrained": model(59.0, 60.0, 174000, 100),
            "distilled": model(39.0, 40.0, 174000, 100),
        },
        "gain_over_baseline": 10.0,
        "gap_closed": 0.5,
        "interval": {
            "low": 9.0,
            "high": 11.0,
            "level": 0.95,
            "method": "paired bootstrap over 25 groups",
            "groups": 25,
        },
        "verdict": "The student closes half of the gap.",
        "teacher_unchanged": True,
        "data_fingerprint": "9c1185a5",
        "command": "kd run temperature=2",
        "a_key_of_next_year": 1,
    }


HOSTILE_LABEL = "<b>born</b> \x1b[31magain"
RECORDED = {  # name -> label, stage, role, start, steps_before
    "teacher": ("teacher", "teacher", "teacher", None, 0),
    "baseline": ("student alone", "baseline", "student", None, 0),
    "pretrained": ("pre-trained", "pretrain", "student", None, 0),
    "distilled": ("distilled", "distill", "student", "pretrain", 100),
}


def recorded(found: dict[str, Any], role: tuple[str, str, str, str | None, int]) -> dict[str, Any]:
    """A model's record with what a run tells of its role."""
    return found | dict(zip(("label", "stage", "role", "start", "steps_before"), role, strict=True))


@pytest.fixture
def results_now(results: dict[str, Any]) -> dict[str, Any]:
    """The same run as it is recorded today: with labels, stages, roles and what each model went on from."""
    models = {name: recorded(found, RECORDED[name]) for name, found in results["models"].items()}
    return results | {"models": models}


@pytest.fixture
def results_of_six(results_now: dict[str, Any]) -> dict[str, Any]:
    """With an assistant between the teacher and its students, and a student that goes on from the distilled one."""
    teacher, *students = results_now["models"].items()
    assistant = recorded(model(34.0, 35.0, 300000, 150), ("assistant", "help", "teacher", None, 0))
    again = recorded(model(37.0, 38.0, 174000, 50), (HOSTILE_LABEL, "again", "student", "distill", 200))
    return results_now | {"models": dict([teacher, ("assistant", assistant), *students, ("born_again", again)])}


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder: ``write_run(results)``, with other CSVs or other files where given."""

    def write(results: dict[str, Any], metrics: dict[str, str] = METRICS, **files: str) -> Path:
        folder = tmp_path / "run-7"
        (folder / "metrics").mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
        for stage, lines in metrics.items():
            header = "step,split,name,value\n" if lines else ""
            (folder / "metrics" / f"{stage}.csv").write_text(header + lines, encoding="utf-8")
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return folder

    return write
