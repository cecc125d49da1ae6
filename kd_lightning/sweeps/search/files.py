"""What a search writes into the sweep's folder after every batch: ``trials.csv`` and ``study.json``; and its last words.

Both hold the whole study, the trials of earlier and of other sweeps too.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kd_lightning.results.report.cells import quote_cell
from kd_lightning.safety.inside import check_inside
from kd_lightning.store import publish, publish_json
from kd_lightning.sweeps.search.study import FOLDER_ATTRIBUTE, SharedStudy, format_params, job_of, list_best_trials

TRIALS, STUDY = "trials.csv", "study.json"
LEAST_TRIALS = 4
"""Complete trials before the importance of a parameter means anything."""
SHOWN = 10
"""Trials of a Pareto front that are printed; the files have all."""
COUNTED = {
    "complete": (TrialState.COMPLETE,),
    "failed": (TrialState.FAIL,),
    "pruned": (TrialState.PRUNED,),
    "running": (TrialState.RUNNING,),
}


def write_files(folder: Path, shared: SharedStudy) -> None:
    """Both files, each whole or as it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / TRIALS, format_trials_csv(folder, shared))
    publish_json(folder / STUDY, make_study_record(shared))


def format_trials_csv(folder: Path, shared: SharedStudy) -> str:
    """A row for each trial."""
    names, paths = list(shared.space.distributions), [objective.value for objective in shared.objectives]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [*(f"params.{name}" for name in names), *(f"values.{path}" for path in paths)]
    writer.writerow(["number", "state", *columns, "seconds", "folder"])
    for trial in shared.trials():
        params = [trial.params.get(name, "") for name in names]
        values = trial.values if trial.values and trial.state == TrialState.COMPLETE else [""] * len(paths)
        place = shown_folder(trial, folder)
        cells = [trial.number, trial.state.name.lower(), *params, *values, seconds_of(trial), place]
        writer.writerow(map(quote_cell, cells))
    return text.getvalue()


def seconds_of(trial: FrozenTrial) -> float | str:
    """Of the job where that is known; else between asking and telling."""
    job = job_of(trial)
    if job is not None and "seconds" in job.record:
        return float(job.record["seconds"])
    return round(trial.duration.total_seconds(), 1) if trial.duration else ""


def shown_folder(trial: FrozenTrial, sweep: Path) -> str:
    """The job's folder, from the sweep's on where it lies inside."""
    path = Path(trial.user_attrs.get(FOLDER_ATTRIBUTE, ""))
    here = sweep.absolute()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(trial.user_attrs.get(FOLDER_ATTRIBUTE, ""))


def make_study_record(shared: SharedStudy) -> dict[str, Any]:
    """The content of ``study.json``."""
    study = shared.study
    return {
        "name": shared.name,
        "storage": shared.storage.shown,
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        "objectives": [{"value": each.value, "direction": each.direction} for each in shared.objectives],
        "n_trials": shared.n_trials,
        "trials": {name: len(shared.trials(*states)) for name, states in COUNTED.items()},
        "best": [trial.number for trial in list_best_trials(study)],
        "importances": measure_importances(shared),
        "dashboard": shared.storage.dashboard,
    }


def measure_importances(shared: SharedStudy) -> dict[str, float] | None:
    """How much of the first objective's spread each parameter explains, in sum 1; None where that cannot be told."""
    complete = shared.trials(TrialState.COMPLETE)
    varied = [name for name in shared.space.distributions if len({str(t.params.get(name)) for t in complete}) > 1]
    if len(complete) < LEAST_TRIALS or len(varied) < 2:
        return None

    def first(trial: FrozenTrial) -> float:
        return trial.values[0]

    with warnings.catch_warnings():
        # Optuna only warns where it has nothing to go by, and then calls all parameters equal.
        warnings.simplefilter("error", UserWarning)
        try:
            target = first if len(shared.objectives) > 1 else None
            found = optuna.importance.get_param_importances(shared.study, params=varied, target=target)
        except (UserWarning, ValueError, RuntimeError, ZeroDivisionError):
            return None
    return {name: float(value) for name, value in found.items()}


# -- what is printed --------------------------------------------------------------------------------------------------


def describe_best_trials(shared: SharedStudy) -> list[str]:
    """The best trials, what repeats them, and how to look at the study."""
    best = list_best_trials(shared.study)
    counts = {name: len(shared.trials(*states)) for name, states in COUNTED.items()}
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    lines = [f"study {shared.name}: {told or 'no trials'} of {shared.n_trials}"]
    if len(best) > 1 or (best and len(shared.objectives) > 1):
        lines.append(f"{len(best)} trials that no other one beats in everything:")
    for trial in best[:SHOWN]:
        lines.append(
            f"{'best ' if len(shared.objectives) == 1 else ''}trial {trial.number}: {describe_trial(shared, trial)}"
        )
        command = write_trial_command(trial)
        if command:
            lines.append(f"  {command}")
    if len(best) > SHOWN:
        lines.append(f"and {len(best) - SHOWN} more: {TRIALS}")
    if shared.storage.dashboard:
        lines.append(f"to look at the study: {shared.storage.dashboard}")
    return lines


def describe_trial(shared: SharedStudy, trial: FrozenTrial) -> str:
    """A trial's values and parameters."""
    values = zip(shared.objectives, trial.values or (), strict=False)
    told = ", ".join(f"{objective.value} {value:.6g}" for objective, value in values)
    return f"{told} with {format_params(trial.params)}"


def write_trial_command(trial: FrozenTrial) -> str:
    """What repeats the trial, from its job's folder; empty if that is gone."""
    job = job_of(trial)
    return shlex.join(["kd", "run", *job.overrides]) if job is not None and job.overrides else ""


def write_trial(folder: Path, number: int, params: dict[str, Any], pruning: bool, name: str) -> None:
    """``trial.json`` in the folder of a job that is about to start."""
    check_inside(folder.parent, folder).mkdir(parents=True, exist_ok=True)
    content: dict[str, Sequence[Any] | Any] = {"number": number, "params": params, "pruning": pruning}
    publish(folder / name, json.dumps(content, indent=2) + "\n")
