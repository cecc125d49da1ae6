"""The tests' warm commands are like those that a new interpreter runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import told
from tests.support.commands import Begin, fresh, warm
from tests.support.processes import wait_until
from tests.sweeps import search_support


def answer(begin: Begin, folder: Path, session: bool) -> tuple[int, dict[str, Any], str]:
    """Exit code, output and errors of the command that tells what it finds."""
    output = [folder / f"{begin.__name__}.out", folder / f"{begin.__name__}.err"]  # type: ignore[attr-defined]
    code = begin(told.main, ["one", "two words"], output, session).wait(60)
    return code, json.loads(output[0].read_text()), output[1].read_text()


@pytest.mark.parametrize("session", [False, True])
def test_a_warm_command_finds_what_a_fresh_one_does(
    session: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(warm, tmp_path, session)  # the server's start may be this one
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("A_NEW_VARIABLE", "of ours")
    monkeypatch.chdir(tmp_path)
    found, wanted = answer(warm, tmp_path, session), answer(fresh, tmp_path, session)
    assert found == wanted
    assert found[1]["session"] == session
    assert "A_NEW_VARIABLE" in found[1]["environ"]


def test_it_can_be_killed(tmp_path: Path) -> None:
    command = warm(search_support.main, [f"{tmp_path}/x.journal", f"{tmp_path}/sweep", "--n-trials=2", "--seconds=600"])
    wait_until(lambda: list(tmp_path.glob("sweep/*/job.json")), lambda: command.poll() is None)
    command.kill()
    assert command.wait(60) == -signal.SIGKILL == command.returncode
    command.send_signal(signal.SIGTERM)  # it is gone: nobody else gets it
