"""Every study that a test opens is closed at its end: a connection left open is a warning, and so an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def studies_are_closed() -> Iterator[None]:
    yield
    support = sys.modules.get("tests.sweeps.search_support")  # most tests here have nothing to do with studies
    while support and support.OPENED:
        support.OPENED.pop().close()
