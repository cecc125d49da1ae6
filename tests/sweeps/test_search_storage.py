"""Storages: which one a text names, no password in sight, and nothing that a killed process leaves in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from kd_lightning.errors import ConfigError
from kd_lightning.safety.redaction import without_secrets
from kd_lightning.sweeps.search.storage import Journal, Memory, Postgres, Sqlite, choose_storage, explain_storage_errors
from tests.sweeps.search_support import search_in, shared_study


def test_a_text_names_a_storage(tmp_path: Path) -> None:
    default = choose_storage(None, tmp_path, "mine")
    assert isinstance(default, Journal)
    assert default.path == tmp_path / "studies" / "mine.journal"
    assert isinstance(choose_storage("memory", tmp_path, "mine"), Memory)
    assert isinstance(choose_storage("some/where.journal", tmp_path, "mine"), Journal)
    assert isinstance(choose_storage("sqlite:///some.db", tmp_path, "mine"), Sqlite)
    assert isinstance(choose_storage("postgresql://me:pw@host/db", tmp_path, "mine"), Postgres)
    for wrong in ("mine.db", "mysql://me:pw@host/db", "sqlite:///", "sqlite://", "redis://x/y.journal"):
        with pytest.raises(ConfigError, match=r"none of null, memory, FILE\.journal") as caught:
            choose_storage(wrong, tmp_path, "mine")
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:p@s:s@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql:///db?host=/run&password=pw", "postgresql:///db?host=/run&password=***"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_postgresql_goes_through_psycopg_3(scheme: str) -> None:
    storage = Postgres(f"{scheme}://me:pw@host/db", "mine")
    assert storage.url == "postgresql+psycopg://me:pw@host/db"
    assert storage.dashboard == "optuna-dashboard 'postgresql+psycopg://me:***@host/db'"


@pytest.mark.parametrize(
    "text",
    ["postgresql://me:hunter2@127.0.0.1:9/db", "sqlite:////proc/no/such/folder.db", "/proc/no/such/folder.journal"],
)
def test_a_storage_out_of_reach_is_one_line_that_names_it(text: str, tmp_path: Path) -> None:
    storage = choose_storage(text, tmp_path, "mine")
    with pytest.raises(ConfigError) as caught:
        shared_study(storage)
    assert str(caught.value).startswith(f"storage {storage.shown} cannot be used: ")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_storage_is_not_to_blame_for_passes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^mine$"), explain_storage_errors(Memory()):
        raise ConfigError("mine")
    with pytest.raises(ZeroDivisionError), explain_storage_errors(Memory()):
        raise ZeroDivisionError


def test_a_torn_last_line_of_a_journal_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    search_in(tmp_path / "first", shared_study(Journal(path), n_trials=2))
    torn = path.read_bytes() + b'{"op_code":4,"worker_id":"x"'
    plain = tmp_path / "plain.journal"
    plain.write_bytes(torn)
    storage = JournalStorage(JournalFileBackend(str(plain)))
    with pytest.raises((json.JSONDecodeError, AttributeError)):  # what happens otherwise
        optuna.load_study(study_name="made-up", storage=storage).ask()
    path.write_bytes(torn)
    search_in(tmp_path / "second", shared_study(Journal(path), n_trials=3))
    assert len(shared_study(Journal(path)).study.trials) == 3


@pytest.mark.parametrize(("name", "why"), [("x.journal", "no journal of Optuna's"), ("x.db", "not a database")])
def test_a_file_of_another_kind_is_refused(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("Dear diary,\nnothing happened today.\n" * 100)
    text = f"{tmp_path}/{name}" if name == "x.journal" else f"sqlite:///{tmp_path}/{name}"
    with pytest.raises(ConfigError) as caught:
        shared_study(choose_storage(text, tmp_path, "mine"))
    assert str(caught.value).startswith(f"storage {text} cannot be used: ")
    assert why in str(caught.value)


HOLD = """
import sys, time
from pathlib import Path
from kd_lightning.sweeps.search.storage import Journal, KernelLock
path = Path(sys.argv[1])
with Journal(path).lock():
    lock = KernelLock(path)
    lock.acquire()
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_locks_of_a_killed_process_are_free(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.search_support", str(path), str(tmp_path / "sweep"), "--n-trials", "1"]
    )
    time.sleep(3)
    assert waiting.poll() is None, "the locks are held, so nobody gets a trial"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert waiting.wait(timeout=60) == 0
    assert len(shared_study(Journal(path)).study.trials) == 1
