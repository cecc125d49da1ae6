"""What is recorded of a model's test, beside its metrics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import kd_lightning as kd
from kd_lightning.training import evaluation as measuring
from tests.support.parts import CLASSES, FEATURES


class Clock:
    """In the place of ``time``."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class SlowNetwork(nn.Linear):
    """Takes so many seconds for each row that comes alone."""

    def __init__(self, clock: Clock, seconds: list[float]) -> None:
        super().__init__(FEATURES, CLASSES)
        self.clock = clock
        self.seconds = seconds

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) == 1:
            self.clock.now += self.seconds.pop(0)
        return super().forward(inputs)


@pytest.mark.parametrize(
    ("seconds", "expected", "left"),
    [
        ([0.2] * 3 + [0.001 * (1 + 7 * row % 50) for row in range(50)], 25.5, 0),
        ([0.6, 0.6, 0.6, 0.7, 0.1], 700, 1),
        ([5.0, 1.0, 1.0, 0.4, 0.1], 400, 1),
    ],
    ids=["all", "two seconds", "one at least"],
)
def test_latency_is_the_median_of_rows_that_find_all_warm(
    seconds: list[float], expected: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, rows = Clock(), [(torch.rand(60, FEATURES), torch.arange(60) % CLASSES)]
    monkeypatch.setattr(measuring, "time", clock)
    teacher = SlowNetwork(clock, seconds)
    found = kd.distill(
        teacher, nn.Linear(FEATURES, CLASSES), rows, rows, steps=1, baseline=False, progress=False, accelerator="cpu"
    )
    assert found.results["models"]["teacher"]["latency"] == pytest.approx(expected)
    assert len(teacher.seconds) == left
