"""What a search makes better: values of the jobs' ``results.json``, each with its direction. Never a test value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kd_lightning.errors import ConfigError, did_you_mean

MINIMIZE, MAXIMIZE = "minimize", "maximize"
DIRECTIONS = (MINIMIZE, MAXIMIZE)
OF_MODE = {"min": MINIMIZE, "max": MAXIMIZE}

VALIDATION = "val"
"""Its direction is the task's."""
KNOWN_DIRECTIONS = {
    "parameters": MINIMIZE,
    "megabytes": MINIMIZE,
    "seconds": MINIMIZE,
    "wall_seconds": MINIMIZE,
    "latency": MINIMIZE,
}
"""Last part of a path -> the direction that goes without saying."""
FROM_TEST = frozenset(
    {"test", "metrics", "predictions", "gain_over_baseline", "gap_closed", "interval", "gap_interval", "verdict"}
)
"""Parts of ``results.json`` that are, or are computed from, values on the test split."""
OBJECTIVE_KEYS = ("value", "direction")


@dataclass(frozen=True)
class Objective:
    """One value to make better.

    Attributes:
        value: Dotted path into ``results.json``.
        direction: ``minimize`` or ``maximize``.
    """

    value: str
    direction: str


def read_objectives(nodes: Any, mode: Callable[[], str]) -> list[Objective]:
    """The ``objectives`` setting.

    Args:
        nodes: A list of ``{value: PATH, direction: minimize | maximize | null}``.
        mode: The task's, ``min`` or ``max``; asked only where a direction depends on it.

    Raises:
        ConfigError: It is no such list, a path leads to a test value, or a direction is not known.
    """
    if not isinstance(nodes, Sequence) or isinstance(nodes, str) or not nodes:
        raise ConfigError(f"hydra.sweeper.objectives={nodes!r}: a list such as [{{value: models.distilled.val}}]")
    return [read_objective(node, mode) for node in nodes]


def read_objective(node: Any, mode: Callable[[], str]) -> Objective:
    """One entry of the list."""
    if not isinstance(node, Mapping) or not isinstance(node.get("value"), str):
        raise ConfigError(
            f"hydra.sweeper.objectives: {node!r} has no value, for example {{value: models.distilled.val}}"
        )
    for key in node:
        if key not in OBJECTIVE_KEYS:
            raise ConfigError(f"hydra.sweeper.objectives: unknown key {key!r}{did_you_mean(str(key), OBJECTIVE_KEYS)}")
    path, direction = node["value"], node.get("direction")
    tested = next((part for part in path.split(".") if part in FROM_TEST), None)
    if tested:
        raise ConfigError(
            f"objective {path}: {tested!r} comes from the test split, which is no place to choose on; "
            "use models.distilled.val"
        )
    if direction is None:
        return Objective(path, natural_direction(path, mode))
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"objective {path}: direction {direction!r} is neither minimize nor maximize"
            f"{did_you_mean(str(direction), DIRECTIONS)}"
        )
    return Objective(path, direction)


def natural_direction(path: str, mode: Callable[[], str]) -> str:
    """The direction that goes without saying.

    Raises:
        ConfigError: None does.
    """
    name = path.rpartition(".")[2]
    if name == VALIDATION:
        return OF_MODE[mode()]
    if name not in KNOWN_DIRECTIONS:
        hint = did_you_mean(name, [VALIDATION, *KNOWN_DIRECTIONS])
        raise ConfigError(f"objective {path}: say whether to minimize or maximize it, as direction: minimize{hint}")
    return KNOWN_DIRECTIONS[name]


def value_at(results: Mapping[str, Any], path: str) -> float:
    """The number at a dotted path; NaN where a number should be and is not finite.

    Raises:
        ConfigError: The path leads to no number; names the nearest part that is there.
    """
    node: Any = results
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            known = [str(key) for key in node] if isinstance(node, Mapping) else []
            hint = did_you_mean(part, known) or (f"; there are {', '.join(known)}" if known else "")
            raise ConfigError(f"objective {path}: results.json has no {part!r}{hint}")
        node = node[part]
    if isinstance(node, bool) or not isinstance(node, (int, float)):
        raise ConfigError(f"objective {path}: results.json has {type(node).__name__} there, not a number")
    return float(node) if math.isfinite(node) else math.nan


def values_at(results: Mapping[str, Any], objectives: Sequence[Objective]) -> list[float]:
    """The values of all objectives."""
    return [value_at(results, objective.value) for objective in objectives]
