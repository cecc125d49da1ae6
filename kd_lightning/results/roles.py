"""The models of a run as its ``results.json`` records them: how they are called, their stages, what these went on from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kd_lightning.results.numbers import as_finite
from kd_lightning.safety.terminal import escape_unprintable

TEACHER_MODEL, BASELINE_MODEL, DISTILLED_MODEL = "teacher", "baseline", "distilled"
"""Names of the models that every run has."""
PRETRAINED = "pretrained"
"""Name of the student that was trained on the soft loss alone, where distillation goes on from it."""
EARLIER = {
    TEACHER_MODEL: ("teacher", "teacher"),
    BASELINE_MODEL: ("student alone", "baseline"),
    PRETRAINED: ("pre-trained", "pretrain"),
    DISTILLED_MODEL: ("distilled", "distill"),
}
"""Name -> label and stage, in the order of the table: of runs of earlier versions, which did not record them."""
LONGEST_LABEL = 40
STAGE_NAME = re.compile(r"\w[\w.-]{0,47}")
"""A stage's name is that of a file: others, which might lead out of the folder, are not followed."""


@dataclass(frozen=True)
class Role:
    """One model of a run.

    Attributes:
        key: Its name in ``results.json``.
        label: The text shown.
        stage: Its curves are in ``metrics/<stage>.csv``; empty = it has none.
        is_student: False of a teacher.
        start: The stage that its training went on from; empty = none.
        steps_before: Optimizer steps of the stages that it went on from.
    """

    key: str
    label: str
    stage: str
    is_student: bool
    start: str = ""
    steps_before: int = 0


def list_models(results: dict[str, Any]) -> list[tuple[Role, dict[str, Any]]]:
    """The models that ``results`` tells of, each with its record, in the order of the table."""
    models = {name: found for name, found in results["models"].items() if found}
    if not any("label" in found for found in models.values()):  # of an earlier version
        models = {name: models[name] for name in dict.fromkeys([*EARLIER, *models]) if name in models}
    return [(find_role(results, name), found) for name, found in models.items()]


def read_model_record(results: dict[str, Any], name: str) -> dict[str, Any]:
    """One model's record; empty when the run has no such model."""
    return (results.get("models") or {}).get(name) or {}


def find_role(results: dict[str, Any], name: str) -> Role:
    """What is recorded of the model of this name, with what is missing as earlier versions had it."""
    found = read_model_record(results, name)
    label, stage = EARLIER.get(name, (name, name))
    stage = found.get("stage") or stage
    start, before = found.get("start"), found.get("steps_before")
    if name == DISTILLED_MODEL and "label" not in found and (first := read_model_record(results, PRETRAINED)):
        start, before = find_role(results, PRETRAINED).stage, first.get("steps")
    return Role(
        key=name,
        label=shorten_label(found.get("label") or label),
        stage=stage if STAGE_NAME.fullmatch(stage) else "",
        is_student=(found.get("role") or (TEACHER_MODEL if name == TEACHER_MODEL else "student")) == "student",
        start=start or "",
        steps_before=max(0, int(as_finite(before) or 0)),
    )


def name_baseline(results: dict[str, Any]) -> str:
    """The model that distillation is compared with, in a sentence: ``the student alone``."""
    return f"the {find_role(results, BASELINE_MODEL).label}"


def shorten_label(text: str) -> str:
    """A label as it is shown: on one line, of a length that a legend has room for."""
    shown = escape_unprintable(text)
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"


def count_steps_before(results: dict[str, Any], name: str) -> int:
    """Optimizer steps of the stages that a model's training went on from."""
    return find_role(results, name).steps_before


def count_total_steps(results: dict[str, Any], name: str) -> int:
    """Optimizer steps of a model's whole training."""
    return count_steps_before(results, name) + int(results["models"][name]["steps"])


def list_lineage(results: dict[str, Any], name: str) -> list[Role]:
    """The model of this name after those that its training went on from, the first one first."""
    by_stage = {role.stage: role for role, _ in list_models(results) if role.stage}
    found = [find_role(results, name)]
    while (before := by_stage.get(found[0].start)) and before not in found:
        found.insert(0, before)
    return found
