"""TinyBERT: three kinds of features by loops, and which attend."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.tinybert import TinyBERT, score_difference
from tests.losses.transformers import attached, check_gradients, said, value

MATCH = [
    {"student": "blocks.0:input", "teacher": "blocks.0:input"},
    {"student": "blocks.*", "teacher": "blocks.*"},
    {"student": "blocks.*.attention:scores", "teacher": "blocks.*.attention:scores"},
]
COUNTED = [(0, t) for t in range(4)] + [(1, 0), (1, 1)]


def test_it_is_the_paper_s_formula() -> None:
    loss = attached(TinyBERT(MATCH))
    assert [paths[1] for paths in loss.taps.values()] == [
        *("blocks.0:input", "blocks.1", "blocks.3", "blocks.1.attention:scores", "blocks.3.attention:scores")
    ]
    student, teacher = said(loss, "student"), said(loss, "teacher")
    expected = 0.0
    for tap in "012":
        weight = loss.projections[tap].map.weight.detach()  # [8, 4]
        squares = []
        for row, t in COUNTED:
            for d in range(8):
                mapped = sum(float(weight[d, c] * student.features[tap][row, t, c]) for c in range(4))
                squares.append((mapped - float(teacher.features[tap][row, t, d])) ** 2)
        expected += sum(squares) / len(squares)
    for tap in "34":
        own, others = (each.features[tap] for each in (student, teacher))
        pairs = [(row, h, t, s) for row, t in COUNTED for s in range(t + 1) for h in range(2)]
        expected += sum(float(own[pair] - others[pair]) ** 2 for pair in pairs) / len(pairs)
    assert value(loss, student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    check_gradients(attached(TinyBERT(MATCH)))


def test_scores_differ_where_both_attend() -> None:
    student = torch.randn(2, 3, 4, 4).double().requires_grad_()
    teacher, mask = torch.randn(2, 3, 4, 4), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    teacher[0, :, 0, 1] = torch.finfo(torch.float32).min
    found = score_difference(student, teacher, mask)
    squares = [
        float(student.detach()[row, h, t, s] - teacher[row, h, t, s]) ** 2
        for row, length in ((0, 3), (1, 2))
        for h in range(3)
        for t in range(length)
        for s in range(length)
        if (row, t, s) != (0, 0, 1)
    ]
    assert found.item() == pytest.approx(sum(squares) / len(squares), abs=1e-6)
    (gradient,) = torch.autograd.grad(found, student)
    assert not gradient[0, :, 0, 1].any()
    assert gradient.isfinite().all()
    assert torch.autograd.gradcheck(lambda scores: score_difference(scores, teacher, mask), student)


def test_other_numbers_of_heads_are_refused_where_attention_is_compared() -> None:
    with pytest.raises(ConfigError, match=r"has 1 heads, .* of the teacher 2: set student\.heads"):
        attached(TinyBERT(MATCH), student_heads=1)
    attached(TinyBERT(MATCH[:2]), student_heads=1)
