"""A part of ``scripts/fuzz.py``: a tenth of its result files and checkpoints, a hundredth of its configurations."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kd_lightning.results.report import figures

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"
NUMBERS = {"configurations": 20, "results": 200, "checkpoints": 50}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its dataclasses look there for themselves
    path = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]
    sys.path[:] = path


@pytest.mark.slow
@pytest.mark.parametrize("kind", NUMBERS)
def test_no_traceback_no_payload_no_silent_change(
    kind: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "can_write_pdf", lambda: False)  # three quarters of the time; drawn from the same SVG
    (tally,) = script.run({kind: NUMBERS[kind]}, seed=1).values()
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == NUMBERS[kind]
    assert len(tally.outcomes) > 1  # some cases are refused, some are not


def test_what_it_looks_for_is_found(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The positive controls: a verb that raises, one that prints what a terminal obeys, a payload, a hang, a silent change."""

    def raises() -> int:
        raise KeyError("x")

    def prints() -> int:
        print("\x1b[2J")
        return 0

    assert script.answer(lambda: script.run_verb("run", raises))[2] != []
    assert script.answer(prints)[2] != []
    monkeypatch.setattr(script, "SECONDS", 0.05)

    def hangs(*_: object) -> tuple[str, list[str]]:
        while True:
            pass

    def runs(_: object, folder: Path) -> tuple[str, list[str]]:
        (folder / script.MARKER).touch()
        return "ran", []

    assert script.fuzz("x", hangs, 1, 0).outcomes == {"hang": 1}
    assert script.fuzz("x", runs, 1, 0).failures == ["x 0: a payload has run"]
    cases = script.Results()
    sweep = tmp_path / "sweep"
    script.shutil.copytree(cases.place / "grid", sweep)
    assert cases.changes(sweep, []) == []
    cases.rows["1"]["models.distilled.val"] = "1.0"
    assert cases.changes(sweep, []) == ["job 1, which is whole, shows other ['models.distilled.val']"]
