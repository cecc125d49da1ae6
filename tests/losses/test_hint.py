"""Hints: an oracle with loops, and a run in which the projection learns and is not exported."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from kd_lightning.losses.features.hint import Hint
from kd_lightning.types import Aligned, Outputs
from tests.support.tiny import experiment

PAIR = [{"student": "first", "teacher": "first"}]


def test_it_is_the_mean_squared_difference_after_a_linear_map() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.randn(4, 2, 5, 5, dtype=torch.float64)
    loss = Hint(PAIR)
    loss.build({"0": student}, {"0": teacher})
    loss.double()
    weight, bias = (tensor.detach() for tensor in loss.projections["0"].map.parameters())
    mask = torch.tensor([True, False, True, True])
    total = 0.0
    for row in (0, 2, 3):
        for channel in range(2):
            for y in range(5):
                for x in range(5):
                    mapped = bias[channel] + sum(weight[channel, d] * student[row, d, y, x] for d in range(3))
                    total += float(mapped - teacher[row, channel, y, x]) ** 2
    aligned = Aligned(None, mask, mask)
    logits = torch.zeros(4, 2)
    value = loss(Outputs(logits, {"0": student}), Outputs(logits, {"0": teacher}), aligned, 1.0)
    assert abs(value.item() - total / (3 * 2 * 25)) < 1e-6


def test_a_run_trains_the_projection_and_exports_the_student_alone(tmp_path: Path) -> None:
    hint = {"_target_": "kd_lightning.losses.features.hint.Hint", "match": PAIR, "weight": 1.0}
    one = experiment(tmp_path, loss__hint=hint, student__steps=40, student__pretrain_steps=0, validate_every=20)
    one.run()
    rows = [line.split(",") for line in one.entry("distill").path("metrics.csv").read_text().splitlines()]
    values = [float(row[3]) for row in rows if row[1:3] == ["train", "hint"]]
    assert sum(values[-5:]) < sum(values[:5])
    exported = load_file(one.entry("distill").path("weights.safetensors"))
    assert set(exported) == set(one.builder.network("student").state_dict())
