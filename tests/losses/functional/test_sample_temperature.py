"""A temperature for each position: the formulas with loops, masks, and every loss that takes one."""

from __future__ import annotations

import dataclasses
import math
import typing
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.sample_temperature import CWSM, FLSW, LOWEST_FACTOR, SampleTemperature
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.losses.logits.binary_kd import BinaryKD
from kd_lightning.losses.logits.dist import DIST
from kd_lightning.losses.logits.kd import KD
from kd_lightning.losses.logits.universal_logit import UniversalLogit
from kd_lightning.types import Outputs
from tests.losses.test_formulas import FORMULAS, ON_LOGITS, SHAPES, Position, cosine, example, positions, softmax
from tests.losses.test_laws import build, raw
from tests.support.tiny import experiment
from tests.training.test_chunked_losses import both, ours

T = 3.0
FLSW_NODE, CWSM_NODE = ({"_target_": f"{FLSW.__module__}.{name}"} for name in ("FLSW", "CWSM"))
SCHEMES: dict[str, SampleTemperature] = {"flsw": FLSW(beta=2.0, gamma=1.5), "cwsm": CWSM(beta=0.7)}


def takes(name: str) -> bool:
    hint = typing.get_type_hints(type(build(name)).__init__).get("temperature")
    return SampleTemperature in typing.get_args(hint)


TAKES = [name for name in ON_LOGITS if takes(name)]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def naive(scheme: str, counted: list[Position], temperature: float = T) -> list[float]:
    """Temperatures of the positions that count."""
    beta = SCHEMES[scheme].beta
    difficulty = [
        cosine(each.student, each.teacher) ** 1.5 if scheme == "flsw" else 1 / max(softmax(each.student))
        for each in counted
    ]
    return [temperature + beta * (math.fsum(difficulty) / len(difficulty) - each) for each in difficulty]


@every_scheme
@pytest.mark.parametrize("shape", SHAPES)
def test_temperatures_are_the_formula_and_their_mean_is_the_runs(scheme: str, shape: tuple[int, ...]) -> None:
    student, teacher, aligned = example(shape)
    found = SCHEMES[scheme](student, teacher, aligned.mask, T)
    expected = naive(scheme, positions(student, teacher, aligned))
    assert min(expected) > LOWEST_FACTOR * T  # nothing is cut off here
    assert found[aligned.mask].tolist() == pytest.approx(expected, rel=1e-9)
    assert found[aligned.mask].mean().item() == pytest.approx(T)
    assert set(found[~aligned.mask].tolist()) <= {T}
    assert found.std() > 0.05


@every_scheme
def test_no_gradient_flows_through_them(scheme: str) -> None:
    student, teacher, aligned = example((7, 5))
    assert not SCHEMES[scheme](student.requires_grad_(), teacher.requires_grad_(), aligned.mask, T).requires_grad


@every_scheme
@pytest.mark.parametrize("garbage", [1e4, math.nan])
def test_what_does_not_count_moves_no_other_temperature(scheme: str, garbage: float) -> None:
    student, teacher, aligned = example((7, 5))
    other = torch.where(aligned.mask[:, None], student, garbage)
    found = [SCHEMES[scheme](logits, teacher, aligned.mask, T) for logits in (student, other)]
    assert torch.equal(*found)
    control = SCHEMES[scheme](student + torch.eye(7, 5) * 9, teacher, aligned.mask, T)
    assert not torch.equal(found[0], control)


@every_scheme
def test_where_nothing_counts_it_is_the_runs(scheme: str) -> None:
    student, teacher, aligned = example((7, 5))
    assert set(SCHEMES[scheme](student, teacher, torch.zeros_like(aligned.mask), T).tolist()) == {T}


@pytest.mark.parametrize("scheme", [FLSW(beta=1e4), CWSM(beta=1e4)])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extremes_stay_above_zero_and_finite(scheme: SampleTemperature, temperature: float, dtype: torch.dtype) -> None:
    student, teacher, aligned = example((7, 5))
    student, teacher = (logits.sign().mul(1e4).to(dtype) for logits in (student, teacher))
    student[0] = 0.0
    found = scheme(student, teacher, aligned.mask, temperature)
    assert found.dtype == torch.float32
    assert found.min().item() >= LOWEST_FACTOR * temperature * (1 - 1e-6)
    assert bool(found.isfinite().all())
    loss = KD(temperature=scheme)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        value = loss(Outputs(student.requires_grad_()), Outputs(teacher), aligned, temperature)
    value.backward()
    assert bool(value.isfinite())
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_all_take_one_but_those_with_one_temperature_for_a_batch_or_another_scaling() -> None:
    with_temperature = {name for name in ON_LOGITS if "temperature" in raw(name)}
    assert with_temperature - set(TAKES) == {"binary_kd", "dist", "universal_logit"}


@every_scheme
@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6)])
def test_every_position_has_the_value_of_its_own_temperature(name: str, scheme: str, shape: tuple[int, ...]) -> None:
    """T^2 included: the formula at each position by itself, with a temperature of its own."""
    student, teacher, aligned = example(shape)
    settings = dataclasses.asdict(SCHEMES[scheme])
    loss = build(name, temperature={"_target_": f"{FLSW.__module__}.{scheme.upper()}", **settings})
    found = loss(Outputs(student), Outputs(teacher), aligned, T)
    counted = positions(student, teacher, aligned)
    values = [FORMULAS[name]([each], own) for each, own in zip(counted, naive(scheme, counted), strict=True)]
    silent = [name == "ctc_frame_kd" and max(each.teacher) == each.teacher[0] for each in counted]
    weights = [0.1 if each else 1.0 for each in silent]
    expected = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found != build(name)(Outputs(student), Outputs(teacher), aligned, T)
    assert loss.soft_term(T, 0.5) is None


@every_scheme
def test_the_gradient_is_that_of_constant_temperatures(scheme: str) -> None:
    student, teacher, aligned = example((7, 5))
    student.requires_grad_()
    value = KD(temperature=SCHEMES[scheme])(Outputs(student), Outputs(teacher), aligned, T)
    (found,) = torch.autograd.grad(value, student)
    places = aligned.mask.nonzero().flatten().tolist()
    counted = positions(student.detach(), teacher, aligned)
    for place, each, own in zip(places, counted, naive(scheme, counted), strict=True):
        p, q = softmax(each.teacher, own), softmax(each.student, own)
        expected = [own * (b - a) / len(places) for a, b in zip(p, q, strict=True)]
        assert found[place].tolist() == pytest.approx(expected, abs=1e-9)
    assert found[~aligned.mask].abs().sum() == 0


@every_scheme
def test_with_standardized_logits_it_sees_these(scheme: str) -> None:
    student, teacher, aligned = example((7, 5))
    loss = KD(temperature=SCHEMES[scheme], standardize=True)
    value = loss(Outputs(student), Outputs(teacher), aligned, T)
    moved = loss(Outputs(5 * student - 3), Outputs(0.2 * teacher + 7), aligned, T)
    assert moved.item() == pytest.approx(value.item(), rel=1e-6)


def test_without_beta_all_have_the_runs_temperature() -> None:
    student, teacher, aligned = example((7, 5))
    args = Outputs(student), Outputs(teacher), aligned, T
    assert KD(temperature=FLSW(beta=0.0))(*args).item() == pytest.approx(KD()(*args).item(), rel=1e-12)


def test_a_teachers_softmax_by_position_is_not_kept_for_others() -> None:
    outputs = Outputs(example((7, 5))[1])
    outputs.log_probs(torch.full((7,), 2.0))
    assert not outputs._log_probs
    torch.testing.assert_close(outputs.log_probs(torch.full((7,), 2.0)), outputs.log_probs(2.0), check_dtype=False)


def test_with_chunked_losses_its_term_goes_by_whole_logits(tmp_path: Path) -> None:
    node = {"_target_": "kd_lightning.losses.functional.sample_temperature.FLSW", "beta": 2.0}
    losses = {"kd": ours("kd.KD", temperature=node), "reverse": ours("reverse_kl.ReverseKL", weight=0.3)}
    both(tmp_path, loss=losses)


@pytest.mark.parametrize("setting", [{"beta": -1.0}, {"beta": math.inf}, {"gamma": 0.0}, {"gamma": math.nan}])
def test_numbers_out_of_range_are_refused(setting: dict[str, float]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        FLSW(**setting)


@pytest.mark.parametrize("temperature", ["warm", [1.0, 2.0], {"beta": 1.0}])
def test_what_is_no_temperature_is_refused(temperature: Any) -> None:
    with pytest.raises(ConfigError, match=r"loss\.kd\.temperature"):
        KD(temperature=temperature)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="must match"):
        FLSW()(torch.zeros(4, 5), torch.zeros(4, 1), torch.ones(4, dtype=torch.bool), T)


def scores(logits: Tensor) -> list[float]:
    return CWSM()(logits, logits, torch.ones(len(logits), dtype=torch.bool), T).tolist()


def test_a_position_the_student_is_unsure_of_gets_a_lower_temperature() -> None:
    unsure, sure = scores(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
    assert unsure < T < sure


@pytest.mark.parametrize("loss", [BinaryKD, DIST, UniversalLogit])
def test_what_takes_no_temperature_by_position_refuses_one(loss: type[LogitLoss]) -> None:
    with pytest.raises(ConfigError, match="takes no temperature by position"):
        loss(temperature=CWSM())  # type: ignore[call-arg]
    loss(temperature=2.0)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("term", "as_they_are"),
    [
        (ours("kd.KD"), False),
        (ours("kd.KD", temperature=CWSM_NODE), False),
        (ours("kd.KD", temperature=FLSW_NODE), True),
        (ours("kd.KD", standardize=True), True),
        (ours("logit_mse.LogitMSE"), True),
        (ours("logit_cosine.LogitCosine"), True),
        (ours("binary_kd.BinaryKD"), True),
        (ours("regression_l1.RegressionL1"), True),
        (ours("dist.DIST"), False),
    ],
)
def test_losses_on_logits_as_they_are_want_more_than_kept_probabilities(
    tmp_path: Path, term: dict[str, Any], as_they_are: bool
) -> None:
    top = {"_target_": "kd_lightning.teachers.stored.topk.TopK", "k": 2, "missing_mass": "uniform"}
    with (
        pytest.raises(ConfigError, match=r"loss\.own reads .* teacher_outputs=cached") if as_they_are else nullcontext()
    ):
        experiment(tmp_path, loss={"own": term}, teacher_outputs=top).check()
    whole = {"_target_": "kd_lightning.teachers.stored.logits.AllLogits", "dtype": "fp16"}
    experiment(tmp_path, loss={"own": term}, teacher_outputs=whole).check()
