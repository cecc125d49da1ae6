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
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("A_NEW_VARIABLE", "of ours")
    monkeypatch.chdir(tmp_path)
    (code, found, said), (wanted_code, wanted, wanted_words) = (answer(one, tmp_path, session) for one in (warm, fresh))
    # All that this process has; libraries that the server has imported may have set more.
    assert set(found.pop("environ")) >= set(wanted.pop("environ")) >= {"A_NEW_VARIABLE"}
    assert (code, found, said) == (wanted_code, wanted, wanted_words)
    assert found["session"] == session


def test_it_can_be_killed(tmp_path: Path) -> None:
    command = warm(search_support.main, [f"{tmp_path}/x.journal", f"{tmp_path}/sweep", "--n-trials=2", "--seconds=600"])
    wait_until(lambda: list(tmp_path.glob("sweep/*/job.json")), lambda: command.poll() is None)
    command.kill()
    assert command.wait(60) == -signal.SIGKILL == command.returncode
    command.send_signal(signal.SIGTERM)  # it is gone: nobody else gets it
