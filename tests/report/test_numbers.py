"""Numbers as text."""

from __future__ import annotations

import pytest

from kd_lightning.report.numbers import count, is_share, percent, significant, tick


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (33.1, "33.10"),
        (9.99996, "10.00"),
        (0.012345, "0.01235"),
        (1234.56, "1,235"),
        (123456.7, "123,457"),
        (-5.25, "-5.250"),
        (0, "0"),
        (1e-9, "1.000e-09"),
        (float("inf"), "not finite"),
        (None, "–"),  # noqa: RUF001
    ],
)
def test_four_significant_digits(value: float | None, text: str) -> None:
    assert significant(value) == text


def test_counts_and_shares() -> None:
    assert (count(688000), percent(0.625), percent(float("nan"))) == ("688,000", "62.5%", "not finite")


def test_what_counts_as_a_share() -> None:
    assert is_share(0.5, "f1", "max")
    assert is_share(float("nan"), "token_accuracy", "max")
    assert not is_share(0.5, "loss", "min")
    assert not is_share(27.3, "bleu", "max")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1 + 0.2, "0.3"), (2500, "2,500"), (10000, "10k"), (12500, "12.5k"), (3e6, "3M"), (1e-5, "1e-05")],
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert tick(value) == text
