"""Networks whose sizes are open until they read something, and data that has nothing to teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.lazy_networks import with_all_sizes
from tests.support.parts import CLASSES, FEATURES
from tests.support.tiny import build, experiment, settings

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")


class LazyNet(nn.Module):
    """Finds out how many features there are."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(width), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Linear(width, CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Counting(nn.Linear):
    """Counts how often it is run."""

    runs = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.runs += 1
        return super().forward(inputs)


class OneClass:
    """Rows that all have the same label."""

    def __init__(self) -> None:
        self.rows = build({"_target_": "tests.support.parts.TinyRows"})

    def digest(self) -> str:
        return "one class"

    def prepare(self) -> Any:
        prepared = self.rows.prepare()
        for name, table in prepared.splits.items():
            prepared.splits[name] = table.with_column("targets", torch.zeros_like(table["targets"]))
        return prepared


def test_a_whole_run_of_lazy_networks(tmp_path: Path) -> None:
    lazy = {"_target_": "tests.experiment.test_lazy_networks.LazyNet"}
    found = experiment(tmp_path, teacher__model={**lazy, "width": 7}, student__model=lazy).run()
    assert {record["steps"] for record in found.records.values()} >= {12, 10}


def test_sizes_are_found_and_the_start_is_a_function_of_the_seed() -> None:
    task = build(settings(Path("x"))["task"])
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(with_all_sizes(LazyNet(), task, "student"))
    assert networks[0].training
    assert networks[0].layers[0].weight.shape == (5, FEATURES)
    assert torch.equal(networks[0].layers[0].weight, networks[1].layers[0].weight)
    assert int(networks[0].layers[1].num_batches_tracked) == 0, "no statistics of the example"


def test_a_network_with_all_sizes_is_not_run() -> None:
    network = Counting(FEATURES, CLASSES)
    assert with_all_sizes(network, build(settings(Path("x"))["task"]), "student") is network
    assert network.runs == 0


def test_one_that_cannot_read_the_example_is_said() -> None:
    network = nn.Sequential(nn.LazyLinear(4), nn.Linear(5, CLASSES))
    with pytest.raises(ConfigError, match=r"the teacher \(Sequential\) cannot read the task's example batch"):
        with_all_sizes(network, build(settings(Path("x"))["task"]), "teacher")


@pytest.mark.parametrize(
    ("source", "said"), [("tests.experiment.test_lazy_networks.OneClass", 1), ("tests.support.parts.TinyRows", 0)]
)
def test_rows_of_one_class_are_said(source: str, said: int, tmp_path: Path) -> None:
    found = experiment(tmp_path, data__source={"_target_": source})
    assert found.builder.dataset.prepared
    assert sum("all training rows have the same class" in line for line in found.context.board.lines) == said
