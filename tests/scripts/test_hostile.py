"""A stranger's files run no code of theirs and reach nothing outside; where the user allows it, the same payload runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.faults.hostile.attempt import Root, problems_of
from scripts.faults.hostile.roots import all_roots

ROOTS = all_roots()


@pytest.mark.few(8)
@pytest.mark.parametrize("name", ROOTS)
def test_a_strangers_files_run_nothing(name: str, tmp_path: Path) -> None:
    struck, problems = problems_of(ROOTS[name], tmp_path)
    assert problems == []
    assert struck


def test_control_a_payload_that_runs_is_seen(tmp_path: Path) -> None:
    root = Root("open", lambda folder, marker: marker.mkdir(), ("ls", "optimizer"), lambda folder, marker: None)
    assert problems_of(root, tmp_path) == (True, ["the stranger's payload ran"])
