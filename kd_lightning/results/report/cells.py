"""Cells of CSV files that a spreadsheet must not run.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, whatever the file says of types;
a formula can start programs and send other cells to a stranger. An apostrophe in front makes it text.
"""

from __future__ import annotations

import re

FORMULA = re.compile(r"[\s\x00\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that is run: the full-width signs count too, and white space and what is invisible are skipped."""


def quote_cell(value: object) -> object:
    """The value of a CSV cell, with an apostrophe in front of what a spreadsheet would run; numbers stay numbers.

    Example:
        >>> quote_cell("=1+1"), quote_cell("-0.5"), quote_cell(-0.5), quote_cell("lstm_lm"), quote_cell(None)
        ("'=1+1", '-0.5', -0.5, 'lstm_lm', None)
    """
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
