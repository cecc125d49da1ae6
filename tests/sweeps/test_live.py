"""What is said of a running sweep: nothing of it knows a stage by name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from kd_lightning.results.sweep_folder import Job
from kd_lightning.sweeps.display import all_reused, draw_bars, get_stage_title

MODELS = {
    "teacher": {"label": "teacher", "stage": "teacher", "role": "teacher"},
    "baseline": {"label": "alone", "stage": "alone", "role": "student"},
    "distilled": {"label": "distilled", "stage": "second", "role": "student", "start": "first"},
    "other": {"label": "other", "stage": "first", "role": "student"},
}


@pytest.mark.parametrize(
    ("reused", "all_of_them"),
    [(["alone", "second"], False), (["alone", "first", "second"], True), (["teacher"], False)],
)
def test_nothing_was_trained_where_all_students_were_stored(reused: list[str], all_of_them: bool) -> None:
    assert all_reused(Job(0, Path("0"), {"reused": reused}, {"models": MODELS})) == all_of_them


def test_a_job_without_results_reused_nothing() -> None:
    assert not all_reused(Job(0, Path("0"), {"reused": ["alone", "first", "second"]}))


def test_progress_without_a_title_names_the_stage() -> None:
    assert get_stage_title({"stage": "again", "title": "once more"}) == "once more"
    assert get_stage_title({"stage": "again"}) == "again"  # of an earlier version
    assert get_stage_title({}) == "starts"


def test_a_hostile_title_is_shown_as_text() -> None:
    console = Console(file=io.StringIO(), width=120)
    job = Job(0, Path("0"), {}, progress={"stage": "again", "title": "[b]once[/b] \x1b[2J", "step": 1, "steps": 2})
    console.print(draw_bars([("run", job)]))
    assert "[b]once[/b] \\x1b[2J" in console.file.getvalue()  # type: ignore[attr-defined]
