"""Ctrl-C in the first seconds of a sweep, when the server of its workers is still importing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kd_lightning.cli.main import main
from tests.support.cli import DIGITS
from tests.support.commands import fresh

SERVER = b"multiprocessing.forkserver"


def servers(group: int) -> list[int]:
    """Fork servers of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) == group and SERVER in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:  # gone meanwhile
            continue
    return found


@pytest.mark.slow
def test_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = tmp_path / "out", tmp_path / "err"
    words = ("run", "-m", *DIGITS, "hydra/launcher=process", "temperature=1,2")
    command = fresh(main, words, (out, err), session=True)
    deadline = time.monotonic() + 60
    while not servers(command.pid) and time.monotonic() < deadline and command.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)  # it has begun to import
    assert servers(command.pid)
    os.killpg(command.pid, signal.SIGINT)
    assert command.wait(60) == 130
    assert err.read_text(encoding="utf-8") == "interrupted; the same command goes on from the last resume point\n"
