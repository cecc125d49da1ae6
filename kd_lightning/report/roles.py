"""The four models of a run: key in ``results.json``, name on the page, and stage (``metrics/<stage>.csv``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Role:
    """One model of a run."""

    key: str
    label: str
    stage: str


TEACHER = Role("teacher", "teacher", "teacher")
ALONE = Role("baseline", "student alone", "baseline")
PRETRAINED = Role("pretrained", "pre-trained", "pretrain")
DISTILLED = Role("distilled", "distilled", "distill")
ROLES = (TEACHER, ALONE, PRETRAINED, DISTILLED)  # the order of the table, the legend and the colours


def present(results: dict[str, Any]) -> list[tuple[Role, dict[str, Any]]]:
    """The models that ``results`` tells of, each with its record, in the order of the table."""
    return [(role, results["models"][role.key]) for role in ROLES if results["models"].get(role.key)]


def record(results: dict[str, Any], role: Role) -> dict[str, Any]:
    """One model's record; empty when the run has no such model."""
    return results["models"].get(role.key) or {}
