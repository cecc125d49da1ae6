"""Which models a run has, and what is told of each, from records of today, of earlier versions and of strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import KDError
from kd_lightning.results.report.run.run_files import read_run
from kd_lightning.results.roles import Role, count_total_steps, find_role, list_lineage, list_models

Results = dict[str, Any]
Write = Callable[..., Path]


def test_records_of_earlier_versions_have_the_four_known_models(results: Results) -> None:
    results["models"] = dict(reversed(results["models"].items()))  # in whatever order
    assert [role for role, _ in list_models(results)] == [
        Role("teacher", "teacher", "teacher", is_student=False),
        Role("baseline", "student alone", "baseline", is_student=True),
        Role("pretrained", "pre-trained", "pretrain", is_student=True),
        Role("distilled", "distilled", "distill", is_student=True, start="pretrain", steps_before=100),
    ]
    results["models"]["pretrained"] = None
    assert find_role(results, "distilled") == Role("distilled", "distilled", "distill", is_student=True)


def test_records_of_now_tell_the_same_and_more(results: Results, results_now: Results, results_of_six: Results) -> None:
    assert [role for role, _ in list_models(results_now)] == [role for role, _ in list_models(results)]
    roles = {role.key: role for role, _ in list_models(results_of_six)}
    assert list(roles) == ["teacher", "assistant", "baseline", "pretrained", "distilled", "born_again"]
    assert roles["assistant"] == Role("assistant", "assistant", "help", is_student=False)
    assert [role.key for role in list_lineage(results_of_six, "born_again")] == [
        "pretrained",
        "distilled",
        "born_again",
    ]
    assert count_total_steps(results_of_six, "born_again") == 250


def test_a_start_that_leads_in_a_circle_ends(results_of_six: Results) -> None:
    results_of_six["models"]["pretrained"]["start"] = "again"
    assert [role.key for role in list_lineage(results_of_six, "distilled")] == ["born_again", "pretrained", "distilled"]
    results_of_six["models"]["baseline"]["start"] = "baseline"
    assert [role.key for role in list_lineage(results_of_six, "baseline")] == ["baseline"]


def test_a_long_label_is_cut(results_now: Results) -> None:
    results_now["models"]["teacher"]["label"] = "a\n" * 1000
    label = find_role(results_now, "teacher").label
    assert label == "a\\n" * 13 + "…"


@pytest.mark.parametrize("stage", ["../../secret", "..", ".hidden", "/etc/passwd", "a/b", "a\0b", "x" * 49, "", "\x1b"])
def test_no_file_is_read_through_the_name_of_a_stage(stage: str, results_now: Results, write_run: Write) -> None:
    results_now["models"]["teacher"]["stage"] = stage
    folder = write_run(results_now)
    (folder.parent / "secret.csv").write_text("step,split,name,value\n1,val,perplexity,1\n", encoding="utf-8")
    run = read_run(folder)
    assert set(run.metrics) <= {"teacher", "baseline", "pretrain", "distill"}
    assert run.gaps == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", ["x"]), ("role", 1), ("start", {"a": 1}), ("steps_before", 1.5), ("steps_before", "x"), ("stage", 3)],
)
def test_a_field_of_the_wrong_type_is_refused(field: str, value: Any, results_now: Results, write_run: Write) -> None:
    results_now["models"]["distilled"][field] = value
    with pytest.raises(KDError, match=rf"field 'models\.distilled\.{field}' is "):
        read_run(write_run(results_now))


def test_fields_that_are_null_or_make_no_sense_are_as_if_not_there(results_now: Results) -> None:
    results_now["models"]["distilled"] |= {
        "label": None,
        "stage": None,
        "role": None,
        "start": None,
        "steps_before": -7,
    }
    assert find_role(results_now, "distilled") == Role("distilled", "distilled", "distill", is_student=True)
