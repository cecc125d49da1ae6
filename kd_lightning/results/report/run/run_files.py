"""What a run folder holds, read once and tolerantly: the last line of a killed run's CSV may be torn.

Nothing is read through a link: what it points to, wherever that is, would stand in the page.

results.json            needed: the numbers and the verdict
metrics/<stage>.csv     step,split,name,value; step counts optimizer steps of that stage, split is train or val
config.yaml  overrides.txt  environment.json            shown when there
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kd_lightning.errors import KDError
from kd_lightning.results.roles import list_models
from kd_lightning.safety import record_fields
from kd_lightning.safety.inside import is_plain_file, is_plain_folder
from kd_lightning.safety.json_files import read_json, read_record, read_text

REQUIRED_RESULTS = ("metric", "mode", "batch_size", "models")


class Measurement(NamedTuple):
    """One logged value."""

    step: int
    split: str
    name: str
    value: float


@dataclass(frozen=True)
class RunFiles:
    """The contents of one run folder."""

    name: str
    results: dict[str, Any]
    metrics: dict[str, list[Measurement]]  # stage -> values in the order of the file
    config: str
    overrides: list[str] | None  # None when not recorded
    environment: dict[str, Any]
    gaps: list[str]  # sentences: what could not be read


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        KDError: there is no readable ``results.json``, or it lacks what every report needs.
    """
    results = read_results(folder / "results.json")
    metrics: dict[str, list[Measurement]] = {}
    gaps: list[str] = []
    for stage in dict.fromkeys(role.stage for role, _ in list_models(results) if role.stage):
        metrics[stage], sentences = read_metrics(folder / "metrics" / f"{stage}.csv")
        gaps.extend(sentences)
    return RunFiles(
        name=folder.resolve().name,
        results=results,
        metrics=metrics,
        config=read_text_or_nothing(folder / "config.yaml"),
        overrides=read_text_or_nothing(path).splitlines() if is_plain_file(path := folder / "overrides.txt") else None,
        environment=read_environment(folder / "environment.json"),
        gaps=gaps,
    )


def read_results(path: Path) -> dict[str, Any]:
    """``results.json``, with the keys that nothing can be said without."""
    if not is_plain_file(path):
        raise KDError(f"{path}: not there, so the run has no result yet; repeat its command to finish it")
    try:
        return read_record(path, record_fields.RESULTS_FIELDS, REQUIRED_RESULTS)
    except KDError as error:
        raise KDError(f"{error}; repeat the run's command to write it anew") from error


def read_metrics(path: Path) -> tuple[list[Measurement], list[str]]:
    """The values of one stage, and a sentence for each thing that is left out of the charts."""
    if not (is_plain_file(path) and is_plain_folder(path.parent)):
        return [], [f"metrics/{path.name} is not there."]
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, errors="replace"), newline="")))[1:]
    except (KDError, csv.Error) as error:
        return [], [f"metrics/{path.name} cannot be read: {error}."]
    rows = [row for row in map(parse_measurement, lines) if row is not None]
    gaps = [] if rows else [f"metrics/{path.name} holds no values."]
    if torn := len(lines) - len(rows):
        gaps.append(f"metrics/{path.name}: {torn} unreadable line(s) left out.")
    if wild := sum(not math.isfinite(row.value) for row in rows):
        gaps.append(f"metrics/{path.name}: {wild} value(s) that are not finite left out of the charts.")
    return rows, gaps


def parse_measurement(cells: list[str]) -> Measurement | None:
    """One line of a CSV; None when it is torn."""
    try:
        step, split, name, value = cells
        number = int(float(step))
        return Measurement(number, split, name, float(value)) if abs(number) < 2**53 else None
    except (ValueError, OverflowError):
        return None


def read_text_or_nothing(path: Path) -> str:
    """A text file, or the empty string."""
    return read_text(path, errors="replace").strip() if is_plain_file(path) else ""


def read_environment(path: Path) -> dict[str, Any]:
    """``environment.json`` as a flat mapping; anything else is shown whole under one name."""
    try:
        found = read_json(path) if path.is_file() else {}
    except KDError:
        found = read_text_or_nothing(path)
    return found if isinstance(found, dict) else {"environment": found}
