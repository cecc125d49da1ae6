"""A tenth or less of the rows of ``scripts/faults/`` that no other test holds; in full: docs/reference/fault-matrix.md.

Elsewhere: kill -9 of whole runs in test_kill.py, jobs of a sweep that go down in sweeps/test_faults.py, dead leaders in
sweeps/test_leader.py, killed ranks in test_ranks.py. Eight sweeps at once, and random kills of whole sweeps and cohorts, take
minutes and are in the script alone.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from kd_lightning.experiment.run_folder import link_or_copy
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.training.callbacks.checkpoints import newest_resume_point
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from scripts.faults.processes import Outcome, difference
from scripts.faults.rows import ROWS
from scripts.faults.saves import look_at_saves

TRIES = {
    "saves": 30,
    "signals": 2,
    "disk": 3,
    "checkpoints": 100,
    "store": 81,
    "teachers": 4,
    "forced": 5,
    "cache": 60,
    "cache_kills": 4,
    "two-sweeps": 1,
}
LONG = {"signals", "disk", "two-sweeps"}
"""Rows that ``make full`` has."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "tries"),
    [pytest.param(row, tries, marks=pytest.mark.full if row in LONG else ()) for row, tries in TRIES.items()],
)
def test_nothing_is_lost(row: str, tries: int, tmp_path: Path) -> None:
    outcome = ROWS[row].body(random.Random(row), tries, tmp_path)
    assert outcome.failures == []
    assert outcome.passed == outcome.tries > 0
    assert outcome.fired > 0, "positive control: the fault struck"


def test_a_row_fails_when_a_try_fails_or_when_the_fault_never_strikes() -> None:
    good, missed, lost = Outcome(), Outcome(), Outcome()
    good.add(True, [])
    missed.add(False, [])
    lost.add(True, ["a result is lost"])
    assert good.ok
    assert not missed.ok
    assert not lost.ok
    assert lost.failures == ["1: a result is lost"]


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    """What the rows find nothing wrong with is wrong where it should be."""
    assert difference({"a": b"1"}, {"a": b"2"}) == ["not the same bytes as without the fault: a"]
    assert difference({"a": b"1"}, {"a": b"1"}) == []
    assert look_at_saves(tmp_path, 1) == ["no whole resume point"]
    state = {"step": 3, "weights": torch.full((4,), 3.0)}
    AtomicCheckpointIO().save_checkpoint(state, tmp_path / "resume-000000003.ckpt")
    assert look_at_saves(tmp_path, 3) == []
    assert look_at_saves(tmp_path, 4) == ["resume-000000003.ckpt holds step 3, and 4 was safe"]


def test_every_row_of_the_script_is_here_or_in_another_test() -> None:
    elsewhere = {"runs", "jobs", "sweeps", "cohorts", "ranks", "together", "hostile"}
    assert set(ROWS) == set(TRIES) | elsewhere


# -- defects that the rows have found ---------------------------------------------------------------------------------


def entry(folder: Path, content: str) -> Entry:
    """A whole one."""
    made = Entry(folder)
    with made.lock(lambda: None):
        publish(made.path("weights"), content)
        made.finish(["weights"])
    return made


def test_a_whole_entry_in_anothers_place_is_refused(tmp_path: Path) -> None:
    one, other = entry(tmp_path / "teacher" / "a", "one"), entry(tmp_path / "teacher" / "b", "other")
    assert one.problem() is None
    shutil.rmtree(one.folder)
    shutil.copytree(other.folder, one.folder)
    assert other.problem() is None
    assert one.problem() == "status.json is damaged, or another entry's"


def test_no_word_of_a_status_can_change_unseen(tmp_path: Path) -> None:
    one = entry(tmp_path / "teacher" / "a", "one")
    status = one.read_json("status.json")
    for name in status:
        publish_json(one.status_path, {**status, name: "another"})
        assert one.problem()
    publish_json(one.status_path, status)
    assert one.problem() is None


def test_clearing_an_entry_bears_with_somebody_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the lock has made the folder before, at any moment."""
    one, remove = entry(tmp_path / "teacher" / "a", "one"), shutil.rmtree

    def removed_and_made_again(folder: Path) -> None:
        remove(folder)
        folder.mkdir()

    monkeypatch.setattr(shutil, "rmtree", removed_and_made_again)
    one.clear()
    assert list(one.folder.iterdir()) == []


def test_a_digest_that_is_no_text_is_a_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "resume-000000001.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    assert newest_resume_point(tmp_path) == (path, [])
    digest_path(path).write_bytes(b"\xff" * 64)
    assert newest_resume_point(tmp_path)[0] is None


@pytest.mark.parametrize("links", [True, False])
def test_weights_come_into_a_run_folder_whole_and_leave_nothing_beside(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "run" / "weights"
    target.parent.mkdir()
    source.write_text("weights")

    def no_links(*_: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for _ in range(2):
        link_or_copy(source, target)
        assert target.read_text() == "weights"
        assert [path.name for path in target.parent.iterdir()] == ["weights"]
    assert target.samefile(source) == links
