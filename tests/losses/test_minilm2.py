"""MiniLM v2: relations by loops, in transformers of other widths and heads."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from kd_lightning.errors import ConfigError, TapError
from kd_lightning.losses.features.layer_maps import LastN
from kd_lightning.losses.relations.minilm2 import MiniLM2
from tests.losses.transformers import (
    INPUTS,
    MASK,
    attached,
    check_gradients,
    check_nan_where_nothing_counts,
    said,
    value,
)

LAST = [{"student": "blocks.*.attention", "teacher": "blocks.*.attention", "layers": LastN(1)}]


def relation(vectors: list[list[float]], t: int) -> list[float]:
    """Of position t to all positions, for one head."""
    scores = [sum(a * b for a, b in zip(vectors[t], v, strict=True)) / math.sqrt(len(vectors[t])) for v in vectors]
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_it_is_the_paper_s_formula(heads: int) -> None:
    loss = attached(MiniLM2(LAST, heads))
    assert loss.taps["0/query"] == ("blocks.1.attention:query", "blocks.3.attention:query")
    student, teacher = said(loss, "student"), said(loss, "teacher")
    expected = 0.0
    for part in ("query", "key", "value"):
        nats = []
        for row, length in ((0, 4), (1, 2)):
            for h in range(heads):
                own, others = (
                    said.features[f"0/{part}"][row, :length].chunk(heads, dim=-1)[h].tolist()
                    for said in (student, teacher)
                )
                for t in range(length):
                    both = zip(relation(others, t), relation(own, t), strict=True)
                    nats.append(sum(p * math.log(p / q) for p, q in both))
        expected += sum(nats) / len(nats)
    assert value(loss, student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    check_gradients(attached(MiniLM2(LAST, 2)))


def test_what_does_not_count_may_be_nan() -> None:
    check_nan_where_nothing_counts(attached(MiniLM2(LAST, 2)))


def test_pairs_of_layers_are_averaged_and_heads_may_differ() -> None:
    every = [{"student": "blocks.*.attention", "teacher": "blocks.*.attention"}]
    loss = attached(MiniLM2(every, 2), student_heads=1)
    alone = [
        attached(MiniLM2([{"student": f"blocks.{i}.attention", "teacher": f"blocks.{j}.attention"}], 2))
        for i, j in ((0, 1), (1, 3))
    ]
    found = [value(each, said(each, "student"), said(each, "teacher")).item() for each in (loss, *alone)]
    assert found[0] == pytest.approx((found[1] + found[2]) / 2, abs=1e-12)


def test_a_mask_of_rows_counts_their_positions() -> None:
    loss = attached(MiniLM2(LAST, 2))
    both = said(loss, "student"), said(loss, "teacher")
    rows = torch.tensor([True, False, True])
    assert torch.equal(value(loss, *both, rows), value(loss, *both, rows[:, None].expand(INPUTS.shape)))
    assert not torch.equal(value(loss, *both, rows), value(loss, *both, MASK))


@pytest.mark.parametrize(
    ("path", "heads", "error", "words"),
    [
        ("blocks.*.attention", 3, ConfigError, "relation_heads=3 does not divide blocks.1.attention:query's width 4"),
        ("blocks.*.attention", 0, ConfigError, "relation_heads=0"),
        ("blocks.*.mlp", 2, TapError, "not 'query'"),
    ],
)
def test_what_has_no_relations_is_refused(path: str, heads: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        attached(MiniLM2([{"student": path, "teacher": path, "layers": LastN(1)}], heads))
    assert words in str(caught.value)


def test_features_without_positions_are_refused() -> None:
    loss: Any = MiniLM2([{"student": "a", "teacher": "b"}], 1)
    flat = {tap: torch.zeros(2, 4) for tap in loss.taps}
    with pytest.raises(ConfigError, match="features of equally many positions are expected"):
        loss.build(flat, flat)
