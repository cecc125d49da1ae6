"""A stranger's files run no code of theirs and reach nothing outside; where the user allows it, the same payload runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
sys.path.insert(0, SCRIPTS)
hostile = importlib.import_module("hostile")
ROOTS = hostile.all_roots()
sys.path.remove(SCRIPTS)


@pytest.mark.parametrize("name", ROOTS)
def test_a_strangers_files_run_nothing(name: str, tmp_path: Path) -> None:
    struck, problems = hostile.problems_of(ROOTS[name], tmp_path)
    assert problems == []
    assert struck


def test_control_a_payload_that_runs_is_seen(tmp_path: Path) -> None:
    root = hostile.Root("open", lambda folder, marker: marker.mkdir(), ("ls", "optimizer"), lambda folder, marker: None)
    assert hostile.problems_of(root, tmp_path) == (True, ["the stranger's payload ran"])
