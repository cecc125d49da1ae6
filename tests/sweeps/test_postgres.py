"""Studies in a real PostgreSQL: Debian's, started here on the loopback; skipped where it is not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kd_lightning.errors import ConfigError
from kd_lightning.sweeps.search.storage import choose_storage
from tests.sweeps.search_support import in_state, search_in, shared_study, succeed
from tests.sweeps.test_search_processes import N_TRIALS, share_and_kill, start
from tests.sweeps.test_search_watch import a_job, in_order

PASSWORD = "hunter2"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
AS_OTHER = ("runuser", "-u", "postgres", "--")
"""PostgreSQL refuses to run as root."""


@dataclass(frozen=True)
class Server:
    """A server of our own.

    Attributes:
        home: Its folder.
        port: On 127.0.0.1.
    """

    home: Path
    port: int

    def start(self) -> None:
        """Until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.home} -c fsync=off"
        command("pg_ctl", "-D", str(self.home / "data"), "-w", "-l", str(self.home / "log"), "-o", options, "start")

    def stop(self) -> None:
        """At once, whoever is connected."""
        command("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        """The URL of a database, with the password."""
        return f"postgresql://kd:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def command(name: str, *words: str) -> None:
    """Run a program of PostgreSQL's."""
    prefix = AS_OTHER if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*prefix, str(PROGRAMS[-1] / name), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and (shutil.which("runuser") is None or subprocess.run(["id", "postgres"]).returncode):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    # Not below pytest's own folder, which only we may enter.
    home = Path(tempfile.mkdtemp(prefix="kd-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
    (home / "password").write_text(PASSWORD)
    (home / "password").chmod(0o644)
    command("initdb", "-D", str(home / "data"), "-U", "kd", "-A", "scram-sha-256", f"--pwfile={home / 'password'}")
    one = Server(home, free_port())
    one.start()
    try:
        yield one
    finally:
        one.stop()
        shutil.rmtree(home)


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database for each test."""
    import psycopg

    name = f"db_{abs(hash(request.node.name))}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url(name)


def test_a_search_is_kept_and_gone_on_with(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search_in(tmp_path / "first", shared_study(choose_storage(url, tmp_path, "made-up"), n_trials=3))
    shared = shared_study(choose_storage(url, tmp_path, "made-up"), n_trials=5)
    launcher = search_in(tmp_path / "second", shared)
    assert len(launcher.batches) == 2
    assert len(in_state(shared, TrialState.COMPLETE)) == 5
    said = capsys.readouterr()
    assert "optuna-dashboard 'postgresql+psycopg://kd:***@127.0.0.1" in said.out
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "kd:***@127.0.0.1" in written
    assert PASSWORD not in said.out + said.err + written


@pytest.mark.full
def test_two_processes_share_a_study_and_one_is_killed(url: str, tmp_path: Path) -> None:
    share_and_kill(url, tmp_path)


@pytest.mark.full
def test_processes_that_start_at_once_in_an_empty_database_make_exactly_the_total(url: str, tmp_path: Path) -> None:
    children = [start(url, tmp_path / str(number), f"--n-jobs={1 + number}") for number in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0] * 3
    shared = shared_study(choose_storage(url, tmp_path, "made-up"))
    assert len(shared.study.trials) == N_TRIALS == len(in_state(shared, TrialState.COMPLETE))


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_server_that_goes_away_costs_no_result(
    comes_back: bool, server: Server, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is gone while a job runs. Back before the job's end, nothing is noticed; else the next run finds the result."""

    def job(folder: Path, values: dict[str, str]) -> None:
        if folder == tmp_path / "first" / "1":
            server.stop()
            if comes_back:
                server.start()
        succeed(folder, values)

    shared = shared_study(choose_storage(url, tmp_path, "made-up"), n_trials=3)
    if comes_back:
        search_in(tmp_path / "first", shared, job)
    else:
        with pytest.raises(ConfigError, match=r"storage postgresql://kd:\*\*\*@.* cannot be used: "):
            search_in(tmp_path / "first", shared, job)
        server.start()
        again = shared_study(choose_storage(url, tmp_path, "made-up"), n_trials=3)
        assert len(search_in(tmp_path / "second", again).batches) == 1
    shared = shared_study(choose_storage(url, tmp_path, "made-up"))
    assert [trial.state for trial in shared.study.trials] == [TrialState.COMPLETE] * 3


@pytest.mark.full
def test_the_lock_of_a_killed_process_is_free(url: str, tmp_path: Path) -> None:
    """A process that is killed while it claims leaves the lock to the next one."""
    code = (
        "import sys, time; from pathlib import Path; from kd_lightning.sweeps.search.storage import choose_storage\n"
        "with choose_storage(sys.argv[1], Path(), 'made-up').lock():\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    import sys

    holder = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    other = start(url, tmp_path / "sweep", n_trials=1)
    time.sleep(3)
    assert other.poll() is None, "the lock is held, so nobody gets a trial"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert other.wait(timeout=60) == 0


@pytest.mark.full
def test_pruning_works_with_it(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.pruners import MedianPruner

    from kd_lightning.sweeps.search import pruning as search_watch

    monkeypatch.setattr(search_watch, "PRUNING_POLL_SECONDS", 0.02)
    words = ("quality=range(1,7)", "alpha=0.5")
    storage = choose_storage(url, tmp_path, "made-up")
    shared = shared_study(storage, 6, words, pruner=MedianPruner(n_startup_trials=3), sampler=in_order())
    search_in(tmp_path, shared, a_job, pruning=True)
    states = [trial.state for trial in shared.study.trials]
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED] * 3


def test_a_wrong_password_is_one_line_without_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        shared_study(choose_storage(url.replace(PASSWORD, "secret-guess"), tmp_path, "made-up"))
    assert "cannot be used: " in str(caught.value)
    assert "authentication failed" in str(caught.value)
    assert "secret-guess" not in str(caught.value)
    assert "\n" not in str(caught.value)
