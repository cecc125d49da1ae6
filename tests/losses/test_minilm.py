"""MiniLM: attention as the network has it, and relations of the values, by loops."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.layer_maps import LastN
from kd_lightning.losses.relations.minilm import MiniLM
from kd_lightning.models.taps import tap_network
from tests.losses.test_minilm2 import relation
from tests.losses.transformers import (
    INPUTS,
    MASK,
    attached,
    check_gradients,
    check_nan_where_nothing_counts,
    networks,
    said,
    value,
)

LAST = [{"student": "blocks.*.attention", "teacher": "blocks.*.attention", "layers": LastN(1)}]


def divergence(teacher: list[float], student: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True) if p)


def test_it_is_the_paper_s_formula() -> None:
    loss = attached(MiniLM(LAST))
    student, teacher = said(loss, "student"), said(loss, "teacher")
    maps = {}
    for role, layer in (("student", 1), ("teacher", 3)):
        network = networks(role).double()
        with tap_network(network, {"map": f"blocks.{layer}.attention:attention"}) as features:
            network(INPUTS)
        maps[role] = features["map"]
    attention, values = [], []
    for row, length in ((0, 4), (1, 2)):
        for h in range(2):
            own, others = (
                each.features["0/value"][row, :length].chunk(2, dim=-1)[h].tolist() for each in (student, teacher)
            )
            for t in range(length):
                # A causal network attends to no position behind t: those that do not count stand there.
                rows = [maps[role][row, h, t, : t + 1].tolist() for role in ("teacher", "student")]
                attention.append(divergence(*rows))
                values.append(divergence(relation(others, t), relation(own, t)))
    expected = sum(attention) / len(attention) + sum(values) / len(values)
    assert value(loss, student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    check_gradients(attached(MiniLM(LAST)))


def test_what_does_not_count_may_be_nan() -> None:
    check_nan_where_nothing_counts(attached(MiniLM(LAST)))


def test_a_position_that_does_not_count_is_not_attended_to() -> None:
    loss = attached(MiniLM(LAST))
    student, teacher = said(loss, "student"), said(loss, "teacher")
    first_is_padding = torch.tensor([[0, 1, 1, 1]] * 3).bool()
    before = value(loss, student, teacher, first_is_padding)
    student.features["0/scores"][..., 0] = 50.0
    teacher.features["0/value"][:, 0] = 50.0
    assert torch.equal(value(loss, student, teacher, first_is_padding), before)
    assert not torch.equal(value(loss, student, teacher, MASK), before)


def test_other_numbers_of_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"of the student has 1 heads, .* of the teacher 2"):
        attached(MiniLM(LAST), student_heads=1)


def test_heads_that_do_not_divide_the_width_are_an_error_when_built() -> None:
    loss = MiniLM([{"student": "layer", "teacher": "layer"}])

    def features(width: int) -> dict[str, torch.Tensor]:
        return {"0/scores": torch.zeros(2, 2, 4, 4), "0/value": torch.zeros(2, 4, width)}

    loss.build(features(8), features(6))
    with pytest.raises(ConfigError, match="layer:value gives values of width 7, which 2 heads do not divide"):
        loss.build(features(8), features(7))
