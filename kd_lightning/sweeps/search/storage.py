"""Where a study is kept: memory, a journal file, SQLite or PostgreSQL; and the lock under which trials are claimed.

Each storage has a lock of its own that every process sharing the study takes before it asks for a trial. Whoever holds
it and dies gives it back: the kernel drops a file's, the server a connection's.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage

from kd_lightning.errors import ConfigError, KDError, MissingExtraError
from kd_lightning.safety.inside import check_appendable
from kd_lightning.safety.redaction import without_secrets

MEMORY = "memory"
JOURNAL = ".journal"
SQLITE = "sqlite:///"
POSTGRES = re.compile(r"postgres(ql)?(\+\w+)?://")
PATIENCE = 60
"""Seconds that SQLite waits for another process's write."""
CONNECT_SECONDS = 10


class Storage(Protocol):
    """A place for studies."""

    @property
    def shown(self) -> str:
        """Its name, without a password."""
        ...

    @property
    def dashboard(self) -> str | None:
        """The command that opens it in optuna-dashboard, if one can."""
        ...

    def open(self) -> BaseStorage:
        """Connect; what is not there yet is made."""
        ...

    def lock(self) -> AbstractContextManager[Any]:
        """Held while trials are claimed."""
        ...


def choose_storage(text: str | None, outputs: Path, study: str) -> Storage:
    """The storage that the setting names.

    Args:
        text: ``null``, ``memory``, a path ending in ``.journal``, or a URL of SQLite or PostgreSQL.
        outputs: Where the journal lies if nothing is named.
        study: The study's name.

    Raises:
        ConfigError: It names none of these.
    """
    if text is None:
        return Journal(outputs / "studies" / f"{study}{JOURNAL}")
    if text == MEMORY:
        return Memory()
    if text.endswith(JOURNAL) and "://" not in text:
        return Journal(Path(text))
    if text.startswith(SQLITE) and text != SQLITE:
        return Sqlite(text)
    if POSTGRES.match(text):
        return Postgres(text, study)
    raise ConfigError(
        f"hydra.sweeper.storage={without_secrets(text)}: none of null, memory, FILE.journal, sqlite:///FILE.db, "
        "postgresql://USER:PASSWORD@HOST/DATABASE"
    )


class Memory:
    """In this process alone."""

    shown = MEMORY
    dashboard: str | None = None

    def open(self) -> BaseStorage:
        return InMemoryStorage()

    def lock(self) -> AbstractContextManager[Any]:
        return nullcontext()


class Journal:
    """One file that only grows.

    Args:
        path: Made if needed, with its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = str(path)
        self.dashboard: str | None = f"optuna-dashboard {path}"

    def open(self) -> BaseStorage:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_appendable(self.path.parent, self.path)
        lock = KernelLock(self.path)
        lock.acquire()
        try:
            drop_torn_line(self.path)
        finally:
            lock.release()
        try:
            return JournalStorage(JournalFileBackend(str(self.path), lock_obj=lock))  # type: ignore[arg-type]
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # whatever reading nonsense leads to
            raise ConfigError(f"storage {self.shown} cannot be used: it is no journal of Optuna's") from error

    def lock(self) -> AbstractContextManager[Any]:
        return lock_beside(self.path)


class KernelLock:
    """Optuna's lock of a journal as one that the kernel drops when its owner dies: nobody waits for the dead."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(check_appendable(path.parent, path.with_name(f"{path.name}.write.lock")))

    def acquire(self) -> bool:
        self._lock.acquire(poll_interval=0.01)
        return True

    def release(self) -> None:
        self._lock.release()


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a writer began and did not finish: every reader would stumble over it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())


class Sqlite:
    """A SQLite file.

    Args:
        url: ``sqlite:///FILE``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix(SQLITE).partition("?")[0])
        self.shown = url
        self.dashboard: str | None = f"optuna-dashboard {url}"

    def open(self) -> BaseStorage:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_appendable(self.path.parent, self.path)
        with self.lock():  # two processes must not make the tables at once
            return RDBStorage(self.url, engine_kwargs={"connect_args": {"timeout": PATIENCE}})

    def lock(self) -> AbstractContextManager[Any]:
        return lock_beside(self.path)


class Postgres:
    """A PostgreSQL database, through psycopg 3.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        study: The study whose trials are claimed.
    """

    def __init__(self, url: str, study: str) -> None:
        self.url = POSTGRES.sub("postgresql+psycopg://", url, count=1)
        self.shown = without_secrets(url)
        self.dashboard: str | None = f"optuna-dashboard '{without_secrets(self.url)}'"
        self.study = study

    def open(self) -> BaseStorage:
        # A job may take hours: the connection is tried before it is used, and made anew if it is gone.
        options = {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}
        with self._locked("kd_lightning: tables"):  # two processes must not make the tables at once
            return RDBStorage(self.url, engine_kwargs=options)

    def lock(self) -> AbstractContextManager[Any]:
        return self._locked(f"kd_lightning: {self.study}")

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """An advisory lock of the server, held by a connection of its own."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


@contextmanager
def lock_beside(path: Path) -> Iterator[None]:
    """A file lock beside a study's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(check_appendable(path.parent, path.with_name(f"{path.name}.claim.lock"))).acquire(poll_interval=0.02):
        yield


@contextmanager
def explain_storage_errors(storage: Storage) -> Iterator[None]:
    """What goes wrong with the storage becomes one line that names it.

    Raises:
        ConfigError: It cannot be reached, or refuses.
        MissingExtraError: A package is missing that it needs.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except KDError:
        raise
    except ImportError as error:
        name = error.name or str(error).splitlines()[0]
        raise MissingExtraError(f"the search needs {name}: pip install 'kd-lightning[sweep]'") from error
    except (SQLAlchemyError, OptunaError, OSError) as error:
        raise ConfigError(f"storage {storage.shown} cannot be used: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The innermost cause in one line, passwords out."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_secrets(without_secrets(lines[0]))
