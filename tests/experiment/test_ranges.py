"""Every range lets through what is in it and refuses what is next to it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.ranges import RANGES, check_ranges, find_values
from tests.support.cli import settings_of

EDGES: dict[str, tuple[list[Any], list[Any]]] = {
    "temperature": ([1e-9, 1, 300.0], [0, -1, math.inf, math.nan, "2", True, None, [1]]),
    "alpha": ([0, 0.5, 1], [-0.01, 1.01, math.nan, "0.5", False]),
    "loss.*.weight": ([0, 2.5], [-1, math.inf, "1"]),
    "student.optimizer.lr": ([1e-9, {"_target_": "a.Curve"}], [0, -1.0, math.nan]),
    "student.optimizer.momentum": ([0, 0.99], [1, -0.1]),
    "teacher.optimizer.lr": ([1e-9], [0]),
    "teacher.optimizer.momentum": ([0], [1]),
    "seed": ([0, 7], [-1, 0.5, 1.0, "0", None]),
    "teacher.seed": ([0], [-1]),
    "teacher.steps": ([1], [0]),
    "student.steps": ([1], [0]),
    "student.pretrain_steps": ([0], [-1]),
    "max_steps": ([2, None], [1]),
    "validate_every": ([1], [0]),
    "checkpoint_every": ([1], [0]),
    "log_every": ([1], [0]),
    "data.batch_size": ([1], [0]),
    "data.eval_batch_size": ([1], [0]),
    "data.workers": ([0], [-1]),
    "data.limit": ([1, None], [0]),
    "data.memory_map_above": ([0, 1.5e9, None, "1GB"], [-1]),
    "student.num_labeled": ([1, None], [0]),
    "teacher.num_labeled": ([1, None], [0]),
    "data.imbalance": ([1, 50.0, None], [0.9, math.inf]),
    "trainer.accumulate_grad_batches": ([1], [0, 1.5]),
    "trainer.gradient_clip_val": ([0, 0.1, None], [-1]),
    "callbacks.*.patience": ([0], [-1, 0.5]),
}


def test_every_range_has_its_edges_here() -> None:
    assert EDGES.keys() == RANGES.keys()


def nested(path: str, value: Any) -> Any:
    for name in reversed(path.replace("*", "mine").split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("path", EDGES)
def test_what_is_inside_passes_and_what_is_outside_is_named(path: str) -> None:
    inside, outside = EDGES[path]
    for value in inside:
        check_ranges(nested(path, value))
    for value in outside:
        with pytest.raises(ConfigError, match=path.replace("*", "mine").replace(".", r"\.") + "=.* is expected"):
            check_ranges(nested(path, value))


def test_every_path_is_a_setting() -> None:
    settings = settings_of(
        "experiment=digits", "callbacks=[early_stopping]", "callbacks.early_stopping.mode=max", "optimizer=sgd"
    )
    settings["teacher"]["optimizer"] = settings["student"]["optimizer"]
    assert [path for path in RANGES if not list(find_values(settings, path))] == []


def test_what_is_not_there_is_not_checked() -> None:
    check_ranges({"callbacks": {"mine": {}}, "data": "digits", "loss": {"kd": None}})
