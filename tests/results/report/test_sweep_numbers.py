"""Means, deviations and differences as text, by hand."""

from __future__ import annotations

import pytest

from kd_lightning.results.report.sweep.numbers import Differences, choose_difference_format, format_mean_and_sd

NAN = float("nan")


@pytest.mark.parametrize(
    ("mean", "sd", "metric", "mode", "text"),
    [
        (0.9137, 0.0042, "accuracy", "max", "91.37 ± 0.42%"),
        (33.1, 0.214, "perplexity", "min", "33.10 ± 0.21"),
        (1234.5, 12.3, "perplexity", "min", "1,234 ± 12"),  # 1234.5 rounds to even
        (33.1, None, "perplexity", "min", "33.10"),
        (NAN, 0.1, "perplexity", "min", "not finite"),
        (None, None, "perplexity", "min", "–"),  # noqa: RUF001
        (1e-9, 2e-10, "loss", "min", "1.000e-09 ± 2.0e-10"),
    ],
)
def test_a_mean_with_its_deviation(mean: object, sd: object, metric: str, mode: str, text: str) -> None:
    assert format_mean_and_sd(mean, sd, metric, mode) == text


def test_differences_stand_in_line() -> None:
    shown = choose_difference_format([36.9, 43.2, 39.7], "perplexity", "min")
    assert shown == Differences(1.0, 2, "perplexity")
    assert [shown.text(value) for value in (6.3412, -0.3697, 0.0, 1234.5678)] == [
        "+6.34",
        "\u22120.37",
        "0.00",
        "+1,234.57",
    ]
    assert shown.text(-0.3697, 0.0852) == "\u22120.37 ± 0.09"
    assert shown.text(NAN) == "not finite"
    assert shown.text(None) == "–"  # noqa: RUF001


def test_shares_differ_by_points() -> None:
    shown = choose_difference_format([0.91, 0.93], "accuracy", "max")
    assert shown.unit == "points"
    assert shown.text(0.0123, 0.004) == "+1.23 ± 0.40"


def test_small_values_are_as_fine_as_they_are_shown() -> None:
    assert choose_difference_format([0.0123], "loss", "min").places == 5
    assert choose_difference_format([], "loss", "min").places == 0
