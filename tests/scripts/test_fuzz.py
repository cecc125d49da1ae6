"""A part of ``scripts/faults/fuzz/``: a tenth of its result files and checkpoints, a hundredth of its configurations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kd_lightning.results.report import figures
from kd_lightning.safety.verbs import run_verb
from scripts.faults.fuzz import case
from scripts.faults.fuzz.case import MARKER, answer, fuzz
from scripts.faults.fuzz.kinds import run
from scripts.faults.fuzz.results import Results

NUMBERS = {"configurations": 10, "results": 60, "checkpoints": 50}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NUMBERS)
def test_no_traceback_no_payload_no_silent_change(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "can_write_pdf", lambda: False)  # three quarters of the time; drawn from the same SVG
    (tally,) = run({kind: NUMBERS[kind]}, seed=1).values()
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == NUMBERS[kind]
    assert len(tally.outcomes) > 1  # some cases are refused, some are not


def test_what_it_looks_for_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The positive controls: a verb that raises, one that prints what a terminal obeys, a payload, a hang, a silent change."""

    def raises() -> int:
        raise KeyError("x")

    def prints() -> int:
        print("\x1b[2J")
        return 0

    assert answer(lambda: run_verb("run", raises))[2] != []
    assert answer(prints)[2] != []
    monkeypatch.setattr(case, "SECONDS", 0.05)

    def hangs(*_: object) -> tuple[str, list[str]]:
        while True:
            pass

    def runs(_: object, folder: Path) -> tuple[str, list[str]]:
        (folder / MARKER).touch()
        return "ran", []

    assert fuzz("x", hangs, 1, 0).outcomes == {"hang": 1}
    assert fuzz("x", runs, 1, 0).failures == ["x 0: a payload has run"]
    cases = Results()
    sweep = tmp_path / "sweep"
    shutil.copytree(cases.place / "grid", sweep)
    assert cases.changes(sweep, []) == []
    cases.rows["1"]["models.distilled.val"] = "1.0"
    assert cases.changes(sweep, []) == ["job 1, which is whole, shows other ['models.distilled.val']"]
