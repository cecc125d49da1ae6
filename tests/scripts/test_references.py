"""``scripts/references/compare.py`` without its peers: every case has its function there and a finite value here."""

from __future__ import annotations

import math

import pytest
import torch

from scripts.bench.interleaved import ROOT
from scripts.references.cases.case import Case
from scripts.references.compare import CASES, Found, by_us, without_peer
from scripts.references.peers import FUNCTIONS
from tests.losses.test_laws import NAMES


def test_every_case_is_of_a_loss_and_a_function() -> None:
    assert {case.name for case in CASES} | set(without_peer()) == set(NAMES)
    assert {case.function for case in CASES} == set(FUNCTIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.loss}: {case.peer[0]}, {case.peer[1]}")
def test_value_and_gradient_are_there_and_depend_on_the_seed(case: Case) -> None:
    value, *gradients = by_us(case.problem(0))
    assert value > 0
    assert all(gradient.any() and gradient.isfinite().all() for gradient in gradients)
    assert not torch.equal(value, by_us(case.problem(1))[0])


@pytest.mark.parametrize(("differs", "explained"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_difference_is_expected_where_it_is_explained(differs: bool, explained: bool) -> None:
    case = next(case for case in CASES if bool(case.differs) == explained)
    found = Found(case, 0.0, 2e-5 if differs else 1e-6)
    assert found.expected == (differs == explained)
    assert found.verdict(1).isupper() == (differs and not explained)
    assert not Found(case, 0.0, math.inf).expected


def test_the_document_says_which_losses_have_no_peer() -> None:
    names = ", ".join(f"`{name}`" for name in without_peer())
    assert f"No peer has: {names}." in (ROOT / "docs" / "explanation" / "references.md").read_text(encoding="utf-8")
