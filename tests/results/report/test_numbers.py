"""Numbers as text."""

from __future__ import annotations

import pytest

from kd_lightning.results.numbers import (
    format_percent,
    format_significant,
    format_size,
    format_tick,
    format_whole,
    is_share,
    shorten_hash,
    shorten_number,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (33.1, "33.10"),
        (9.99996, "10.00"),
        (0.012345, "0.01235"),
        (1234.56, "1,235"),
        (123456.7, "123,500"),
        (-5.25, "-5.250"),
        (0, "0"),
        (1e-9, "1.000e-09"),
        (float("inf"), "not finite"),
        (None, "–"),  # noqa: RUF001
    ],
)
def test_four_significant_digits(value: float | None, text: str) -> None:
    assert format_significant(value) == text


@pytest.mark.parametrize("metric", ["cosine", "similarity_spearman", "pearson"])
def test_what_may_be_below_zero_is_no_share(metric: str) -> None:
    assert not is_share(0.5, metric, "max")


def test_counts_and_shares() -> None:
    assert (format_whole(688000), format_percent(0.625), format_percent(float("nan"))) == (
        "688,000",
        "62.5%",
        "not finite",
    )
    assert [format_percent(share, 2) for share in (0.0501, 0.9137, 0.99999, 1.0)] == [
        "5.01%",
        "91.37%",
        "100.0%",
        "100.0%",
    ]


@pytest.mark.parametrize(
    ("megabytes", "text"),
    [(0.000032, "32 B"), (0.00808, "8.1 kB"), (0.394752, "394.8 kB"), (2.75, "2.8 MB"), (1234.0, "1.2 GB")],
)
def test_sizes_have_a_unit_that_fits(megabytes: float, text: str) -> None:
    assert format_size(megabytes) == text


def test_hashes_are_shown_with_eight_digits() -> None:
    assert shorten_hash("3f9a77abcdef0123") == "3f9a77ab"
    assert shorten_hash("3f9a") == "3f9a"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("0.48372619", "0.4837"),
        ("0.000312345678", "0.0003123"),
        ("2", "2"),
        ("12345678", "12345678"),  # a seed
        ("12345.678", "1.235e+04"),
        ("nan", "nan"),
        ("[kd,hint]", "[kd,hint]"),
    ],
)
def test_settings_show_at_most_four_significant_digits(text: str, short: str) -> None:
    assert shorten_number(text) == short


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
    assert format_tick(value) == text
