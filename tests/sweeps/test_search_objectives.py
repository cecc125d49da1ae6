"""Objectives: directions that go without saying, and no way to a test value."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.sweeps.search.objectives import Objective, read_objectives, value_at


def asked() -> str:
    raise AssertionError("nobody needs the task's mode here")


@pytest.mark.parametrize(("mode", "direction"), [("min", "minimize"), ("max", "maximize")])
def test_validation_goes_the_way_of_the_task(mode: str, direction: str) -> None:
    nodes = [{"value": "models.distilled.val", "direction": None}]
    assert read_objectives(nodes, lambda: mode) == [Objective("models.distilled.val", direction)]


@pytest.mark.parametrize(
    ("path", "direction"),
    [
        ("models.distilled.parameters", "minimize"),
        ("models.distilled.megabytes", "minimize"),
        ("models.distilled.latency", "minimize"),
        ("wall_seconds", "minimize"),
    ],
)
def test_size_and_speed_have_a_direction(path: str, direction: str) -> None:
    assert read_objectives([{"value": path}], asked) == [Objective(path, direction)]


def test_a_direction_that_is_said_is_taken() -> None:
    assert read_objectives([{"value": "a.b", "direction": "maximize"}], asked) == [Objective("a.b", "maximize")]


@pytest.mark.parametrize(
    "path",
    [
        "models.distilled.test",
        "models.distilled.metrics.cross_entropy",
        "models.teacher.test",
        "gap_interval",
        "models.distilled.predictions.calibration_error",
        "gain_over_baseline",
        "gap_closed",
        "interval.low",
    ],
)
@pytest.mark.parametrize("direction", [None, "maximize"])
def test_a_test_value_is_refused(path: str, direction: str | None) -> None:
    with pytest.raises(ConfigError, match=r"the test split.*use models\.distilled\.val"):
        read_objectives([{"value": path, "direction": direction}], asked)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "a list"),
        ("models.distilled.val", "a list"),
        (["models.distilled.val"], "has no value"),
        ([{"direction": "minimize"}], "has no value"),
        ([{"value": "a.val", "way": "minimize"}], "unknown key 'way'"),
        ([{"value": "a.val", "direction": "minimise"}], "did you mean 'minimize'?"),
        ([{"value": "models.distilled.paramters"}], "say whether to minimize or maximize it, as direction: minimize"),
        ([{"value": "models.distilled.paramters"}], "did you mean 'parameters'?"),
    ],
)
def test_what_is_no_objective_is_said(nodes: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_objectives(nodes, asked)
    assert said in str(caught.value)


def test_a_path_leads_to_a_number() -> None:
    results: dict[str, Any] = {"models": {"distilled": {"val": 2, "note": "x"}, "pretrained": None}, "wall": math.inf}
    assert value_at(results, "models.distilled.val") == 2.0
    assert math.isnan(value_at(results, "wall"))
    for path, said in {
        "models.distiled.val": "results.json has no 'distiled'; did you mean 'distilled'?",
        "models.distilled.zzz": "results.json has no 'zzz'; there are val, note",
        "models.pretrained.val": "results.json has no 'val'",
        "models.distilled.note": "str there, not a number",
        "models.distilled": "dict there, not a number",
    }.items():
        with pytest.raises(ConfigError) as caught:
            value_at(results, path)
        assert said in str(caught.value)
