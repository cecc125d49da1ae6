"""Every loss on logits against its paper's formula, written with loops over Python numbers; found by glob."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from kd_lightning.types import Aligned, Outputs
from tests.losses.test_laws import NAMES, build, raw

SHAPES = [(7, 5), (3, 4, 6), (5, 2)]
TEMPERATURES = [0.5, 1.0, 3.0]
Row = list[float]


class Position(NamedTuple):
    """One counted position."""

    student: Row
    teacher: Row
    target: int
    labeled: bool


Formula = Callable[[list[Position], float], float]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def softmax(row: Row, temperature: float = 1.0) -> Row:
    powers = [math.exp((value - max(row)) / temperature) for value in row]
    return [power / math.fsum(powers) for power in powers]


def kl(first: Row, second: Row) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(first, second, strict=True) if a > 0)


def mix(first: Row, second: Row, share: float) -> Row:
    return [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]


def distribution(compare: Callable[[Row, Row], float], order: int = 2) -> Formula:
    """Mean of ``T^order * compare(p, q)``."""

    def formula(positions: list[Position], temperature: float) -> float:
        return mean(
            [
                temperature**order * compare(softmax(each.teacher, temperature), softmax(each.student, temperature))
                for each in positions
            ]
        )

    return formula


def by_row(compare: Callable[[Row, Row], float]) -> Formula:
    """Mean of ``compare(student, teacher)``, of logits."""
    return lambda positions, _: mean([compare(each.student, each.teacher) for each in positions])


def kd(each: Position, temperature: float) -> float:
    return temperature**2 * kl(softmax(each.teacher, temperature), softmax(each.student, temperature))


def head_share(p: Row, q: Row, mu: float = 0.5) -> float:
    ranked = sorted(range(len(p)), key=lambda c: -p[c])
    head, mass = [ranked[0]], p[ranked[0]]
    for c in ranked[1:]:
        mass += p[c]
        if mass <= mu:
            head.append(c)
    gap = {c: abs(p[c] - q[c]) for c in ranked}
    return math.fsum(gap[c] for c in head) / math.fsum(gap.values())


def adaptive(p: Row, q: Row) -> float:
    return head_share(p, q) * kl(p, q) + (1 - head_share(p, q)) * kl(q, p)


def taid(positions: list[Position], temperature: float) -> float:
    values = []
    for each in positions:
        between = softmax(mix(each.student, each.teacher, 0.6), temperature)
        student = softmax(each.student, temperature)
        values.append(-(temperature**2) * math.fsum(r * math.log(q) for r, q in zip(between, student, strict=True)))
    return mean(values)


def without(row: Row, target: int) -> Row:
    return [value for c, value in enumerate(row) if c != target]


def dkd(positions: list[Position], temperature: float) -> float:
    values = []
    for each in positions:
        p, q = softmax(each.teacher, temperature), softmax(each.student, temperature)
        t = each.target
        target = kl([p[t], 1 - p[t]], [q[t], 1 - q[t]])
        others = kl(*(softmax(without(logits, t), temperature) for logits in (each.teacher, each.student)))
        decoupled = temperature**2 * (1.0 * target + 8.0 * others)
        values.append(decoupled if each.labeled else kd(each, temperature))
    return mean(values)


def nkd(positions: list[Position], temperature: float) -> float:
    values = []
    for each in positions:
        t = each.target
        trust = softmax(each.teacher)[t]
        p, q = (softmax(without(logits, t), temperature) for logits in (each.teacher, each.student))
        others = -math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True))
        normalized = -trust * math.log(softmax(each.student)[t]) + 1.5 * temperature**2 * others
        values.append(normalized if each.labeled else kd(each, temperature))
    return mean(values)


def worth(each: Position) -> float:
    if not each.labeled:
        return 1.0
    student, teacher = (-math.log(softmax(logits)[each.target]) for logits in (each.student, each.teacher))
    return 1 - math.exp(-student / teacher)


def correlation(first: Row, second: Row) -> float:
    a, b = ([value - mean(row) for value in row] for row in (first, second))
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def dist(positions: list[Position], temperature: float) -> float:
    p = [softmax(each.teacher, temperature) for each in positions]
    q = [softmax(each.student, temperature) for each in positions]
    between = mean([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    columns = zip(zip(*p, strict=True), zip(*q, strict=True), strict=True)
    within = mean([1 - correlation(list(a), list(b)) for a, b in columns])
    return temperature**2 * (between + within)


def ctc_frames(positions: list[Position], temperature: float) -> float:
    weights = [0.1 if max(each.teacher) == each.teacher[0] else 1.0 for each in positions]
    values = [weight * kd(each, temperature) for weight, each in zip(weights, positions, strict=True)]
    return math.fsum(values) / math.fsum(weights)


def binary(positions: list[Position], temperature: float) -> float:
    def answer(logit: float) -> Row:
        yes = 1 / (1 + math.exp(-logit / temperature))
        return [yes, 1 - yes]

    return mean(
        [
            temperature**2
            * math.fsum(kl(answer(t), answer(s)) for s, t in zip(each.student, each.teacher, strict=True))
            for each in positions
        ]
    )


def cosine(student: Row, teacher: Row) -> float:
    dot = math.fsum(s * t for s, t in zip(student, teacher, strict=True))
    return 1 - dot / (math.hypot(*student) * math.hypot(*teacher))


def squares(student: Row, teacher: Row) -> float:
    return mean([(s - t) ** 2 for s, t in zip(student, teacher, strict=True)])


def ranking(student: Row, teacher: Row) -> float:
    first = sorted(range(len(teacher)), key=lambda c: -teacher[c])[:10]
    pairs = [(i, j) for i in first for j in range(len(teacher)) if teacher[j] < teacher[i]]
    return mean([math.log1p(math.exp(student[j] - student[i])) for i, j in pairs])


def smoothing(positions: list[Position], _: float) -> float:
    values = []
    for each in positions:
        classes = len(each.student)
        label = [0.9 * (c == each.target) + 0.1 / classes for c in range(classes)]
        values += [kl(label, softmax(each.student))] if each.labeled else []
    return mean(values)


FORMULAS: dict[str, Formula] = {
    "kd": distribution(kl),
    "balanced_kd": distribution(kl),  # before it is told how often each class is: see test_balanced_kd.py
    "reverse_kl": distribution(lambda p, q: kl(q, p)),
    "jsd": distribution(lambda p, q: (kl(p, mix(p, q, 0.5)) + kl(q, mix(p, q, 0.5))) / 2),
    "skew_kl": distribution(lambda p, q: kl(p, mix(p, q, 0.1))),
    "skew_reverse_kl": distribution(lambda p, q: kl(q, mix(q, p, 0.1))),
    "total_variation": distribution(lambda p, q: math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2, 1),
    "jeffreys": distribution(lambda p, q: kl(p, q) + kl(q, p)),
    "adaptive_kl": distribution(adaptive),
    "taid": taid,
    "dkd": dkd,
    "nkd": nkd,
    "wsld": lambda positions, temperature: mean([worth(each) * kd(each, temperature) for each in positions]),
    "dist": dist,
    "ctc_frame_kd": ctc_frames,
    "binary_kd": binary,
    "logit_mse": by_row(squares),
    "embedding_mse": by_row(squares),
    "regression_mse": by_row(squares),
    "regression_l1": by_row(lambda s, t: mean([abs(a - b) for a, b in zip(s, t, strict=True)])),
    "logit_cosine": by_row(cosine),
    "embedding_cosine": by_row(cosine),
    "pairwise_ranking": by_row(ranking),
    "universal_logit": distribution(
        lambda p, q: math.fsum(abs(a - b) for a, b in zip(sorted(p), sorted(q), strict=True)), 1
    ),
    "label_smoothing": smoothing,
}
"""By the name of the YAML, with its settings."""
ON_LOGITS = [name for name in NAMES if not build(name).taps]
CONSTANT_WEIGHTS = {"adaptive_kl", "wsld", "taid"}
"""Where a part of the formula is a constant to the gradient, finite differences say something else."""
every_loss = pytest.mark.parametrize("name", ON_LOGITS)


def example(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Aligned]:
    generator = torch.Generator().manual_seed(len(shape))
    student, teacher = (torch.randn(shape, dtype=torch.float64, generator=generator) * 2 for _ in range(2))
    targets = torch.randint(shape[-1], shape[:-1], generator=generator)
    mask, labeled = (torch.rand(shape[:-1], generator=generator) < share for share in (0.8, 0.7))
    mask.view(-1)[:3] = labeled.view(-1)[:2] = True
    labeled.view(-1)[2] = False
    return student, teacher, Aligned(targets, mask, labeled)


def positions(student: Tensor, teacher: Tensor, aligned: Aligned) -> list[Position]:
    assert aligned.targets is not None
    counted = aligned.mask
    return [
        Position(*each)
        for each in zip(
            student[counted].tolist(),
            teacher[counted].tolist(),
            aligned.targets[counted].tolist(),
            aligned.labeled[counted].tolist(),
            strict=True,
        )
    ]


def test_every_loss_on_logits_has_its_formula() -> None:
    assert sorted(FORMULAS) == ON_LOGITS


@every_loss
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_value_is_the_formula_of_the_paper(name: str, shape: tuple[int, ...], temperature: float) -> None:
    student, teacher, aligned = example(shape)
    found = build(name)(Outputs(student), Outputs(teacher), aligned, temperature)
    expected = FORMULAS[name](positions(student, teacher, aligned), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


STANDARDIZING = [name for name in ON_LOGITS if "standardize" in raw(name)]


@every_loss
@pytest.mark.parametrize("standardize", [False, True])
def test_gradients_agree_with_finite_differences(name: str, standardize: bool) -> None:
    if name in CONSTANT_WEIGHTS or (standardize and name not in STANDARDIZING):
        pytest.skip("see CONSTANT_WEIGHTS, or it is not for standardized logits")
    student, teacher, aligned = example((4, 5))
    loss = build(name, **({"standardize": True} if standardize else {}))

    def value(student: Tensor) -> Tensor:
        return loss(Outputs(student), Outputs(teacher), aligned, 2.0)

    assert torch.autograd.gradcheck(value, student.requires_grad_())


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradient_with_constant_weights_is_that_of_the_parts(temperature: float) -> None:
    """Adaptive KL and WSLD: of the two KLs, times the weight; TAID: T (q - r), as for kd with another teacher."""
    student, teacher, aligned = example((7, 5))
    student.requires_grad_()
    found = {}
    for name in CONSTANT_WEIGHTS:
        value = build(name)(Outputs(student), Outputs(teacher), aligned, temperature)
        (found[name],) = torch.autograd.grad(value, student)
    places = aligned.mask.nonzero().flatten().tolist()
    for place, each in zip(places, positions(student.detach(), teacher, aligned), strict=True):
        p, q = softmax(each.teacher, temperature), softmax(each.student, temperature)
        forward = [temperature * (b - a) for a, b in zip(p, q, strict=True)]
        surprise = [math.log(b / a) for a, b in zip(p, q, strict=True)]
        reverse = [temperature * b * (c - kl(q, p)) for b, c in zip(q, surprise, strict=True)]
        share = head_share(p, q)
        between = softmax(mix(each.student, each.teacher, 0.6), temperature)
        expected = {
            "wsld": [worth(each) * a for a in forward],
            "adaptive_kl": [share * a + (1 - share) * b for a, b in zip(forward, reverse, strict=True)],
            "taid": [temperature * (b - a) for a, b in zip(between, q, strict=True)],
        }
        for name, gradient in expected.items():
            mine = (found[name][place] * len(places)).tolist()
            assert mine == pytest.approx(gradient, abs=1e-7), name


WITHOUT_TEMPERATURE = {
    *("logit_mse", "regression_mse", "regression_l1", "logit_cosine", "pairwise_ranking", "label_smoothing"),
    *("embedding_mse", "embedding_cosine"),
}


@every_loss
def test_a_pinned_temperature_wins_over_the_runs(name: str) -> None:
    student, teacher, aligned = example((7, 5))
    args = Outputs(student), Outputs(teacher), aligned
    assert ("temperature" not in raw(name)) == (name in WITHOUT_TEMPERATURE)
    same = build(name)(*args, 1.0) == build(name)(*args, 2.0)
    assert same == (name in WITHOUT_TEMPERATURE)
    if not same:
        pinned = build(name, temperature=4.0)
        assert pinned(*args, 1.0) == pinned(*args, 2.0) == build(name)(*args, 4.0)
