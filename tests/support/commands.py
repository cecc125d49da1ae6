"""Commands as processes of their own, without the seconds that a new interpreter spends on imports.

A warm command is forked from a server that has imported everything once and done nothing else: the one that sweeps start
their workers from. It has its own pid, working folder, environment, signals, output and exit code; the fork server that it
may start itself, as sweeps do, is its own child, and warm, too. What it lacks is the start of an interpreter: ``fresh``
has that, and one test of each kind uses it.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, process, util
from pathlib import Path
from typing import Any, Protocol

from kd_lightning.sweeps.launchers.worker import PRELOADED

WARM = [
    *PRELOADED,
    *(
        "kd_lightning.cli.main",
        "kd_lightning.training.distributed.launcher",
        "kd_lightning.results.report.sweep.report",
        "kd_lightning.sweeps.launchers.orders_for",
    ),
    *("alembic.command", "mlxtend.data", "optuna.storages._rdb.models", "sklearn.datasets", "tests.support.commands"),
    *(
        "hydra_plugins.kd_launchers",
        "hydra_plugins.kd_grid_sweeper",
        "hydra_plugins.kd_optuna_sweeper",
        "kd_lightning.data.sources.digits",
        "kd_lightning.models.mlp",
    ),
    *("kd_lightning.losses.logits.kd", "kd_lightning.tasks.examples", "kd_lightning.tasks.position"),
    *("kd_lightning.teachers.live", "torch.utils.serialization"),
    *("tests.support.disk", "tests.support.trainers", "tests.support.told", "tests.sweeps.search_support"),
]
"""What the fork server of a test process imports."""
HIGH = 200
"""Above all descriptors in use."""

Main = Callable[[], "int | None"]
"""A module's function without arguments that returns the exit code."""


class Command(Protocol):
    """What tests need of ``subprocess.Popen``."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Begin(Protocol):
    """``warm`` or ``fresh``."""

    def __call__(self, main: Main, words: Sequence[str], output: Sequence[Path] = (), session: bool = False) -> Command:
        """Begin a command.

        Args:
            main: What it does.
            words: Its ``sys.argv[1:]``.
            output: Files for what it prints and for its errors; what is not given goes where ours goes.
            session: In a session and process group of its own.
        """


def fresh(main: Main, words: Sequence[str], output: Sequence[Path] = (), session: bool = False) -> Command:
    """The command in a new interpreter, as users start it."""
    files = [path.open("wb") for path in output]
    try:
        return subprocess.Popen(
            [sys.executable, "-m", main.__module__, *words],
            **dict(zip(("stdout", "stderr"), files, strict=False)),
            env=dict(os.environ),
            start_new_session=session,
            preexec_fn=listen_to_ctrl_c,
        )
    finally:
        for file in files:
            file.close()


def listen_to_ctrl_c() -> None:
    """Shells start what runs in the background with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def warm(main: Main, words: Sequence[str], output: Sequence[Path] = (), session: bool = False) -> Command:
    """The command, forked from the server."""
    return Warm(main, words, output, session)


class Warm:
    """A command that ``warm`` has begun."""

    def __init__(self, main: Main, words: Sequence[str], output: Sequence[Path], session: bool) -> None:
        body = (main, list(words), dict(os.environ), os.getcwd(), list(output), session)
        self.process = multiprocessing.get_context("forkserver").Process(target=become, args=body, daemon=True)
        self.process.start()
        self.pid = self.process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout or 0.0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def share_one_server() -> None:
    """All that this process starts from a fork server comes from one that has imported ``WARM``, whoever asks first."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        forkserver.set_forkserver_preload(WARM)
        forkserver.set_forkserver_preload = lambda modules: None
        os.register_at_fork(after_in_child=forget_the_server)


def forget_the_server() -> None:
    """A process that is forked from this one starts a server of its own: it cannot wait for one that is no child of its."""
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


# -- in the command's process -----------------------------------------------------------------------------------------


def become(main: Main, words: list[str], environ: dict[str, str], cwd: str, output: list[Path], session: bool) -> None:
    """Body of a warm command: all that a process finds at its start, then ``main``."""
    if session:
        os.setsid()
    set_environ(environ)
    os.chdir(cwd)
    for number, path in zip((1, 2), output, strict=False):
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [str(sys.modules[main.__module__].__file__), *words]
    process._parent_process = None  # type: ignore[attr-defined]
    process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    keep_a_server_ready()
    code = main()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.exit(code)


def set_environ(environ: dict[str, str]) -> None:
    """These variables and no others."""
    os.environ.clear()
    os.environ.update(environ)


def keep_a_server_ready() -> None:
    """A child that becomes this process's fork server when multiprocessing starts one."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        serve_when_asked(theirs)
    theirs.close()
    start = util.spawnv_passfds

    def start_or_wake(path: bytes, words: Sequence[str], handles: Sequence[int]) -> int:
        if "forkserver" not in words[-1]:
            return start(path, words, handles)
        socket.send_fds(ours, [pickle.dumps((words[-1], list(handles), dict(os.environ)))], handles)
        return pid

    util.spawnv_passfds = start_or_wake


def serve_when_asked(asked: socket.socket) -> None:
    """Body of that child: runs the code that multiprocessing has for a new interpreter; never returns."""
    code = 1
    try:
        message, handles, *_ = socket.recv_fds(asked, 1 << 16, 8)
        if not message:
            os._exit(0)  # the command has ended and never needed it
        script, numbers, environ = pickle.loads(message)
        moved = [fcntl.fcntl(handle, fcntl.F_DUPFD, HIGH) for handle in handles]
        os.closerange(3, HIGH)
        for handle, number in zip(moved, numbers, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        set_environ(environ)
        sys.argv = ["-c"]
        del sys.modules["kd_lightning.process.fork_server"]
        namespace: dict[str, Any] = {}
        exec(script, namespace)
    except SystemExit:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
