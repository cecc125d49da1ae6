"""The table of ``scripts/bench/losses.py``, from the published results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.bench.interleaved import ROOT
from scripts.bench.losses import table


def published(*wanted: str) -> dict[str, Any]:
    """The results on digits, of the jobs that have these overrides."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "results" / "digits.json").read_text(encoding="utf-8"))
    jobs = [job for job in found["jobs"] if set(wanted) <= set(job["record"]["overrides"])]
    return {**found, "jobs": [{**job, "number": number} for number, job in enumerate(jobs)]}


@pytest.mark.parametrize("wanted", [("loss=[kd]", "seed=0"), ("loss=[kd]",), ("seed=0",)], ids=" ".join)
def test_where_neither_loss_nor_seed_varies_a_row_still_has_its_name(wanted: tuple[str, ...]) -> None:
    assert sum(line.startswith("| `kd` |") for line in table(published(*wanted))) == 1
