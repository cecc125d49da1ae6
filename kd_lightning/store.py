"""Content keys, locks and atomic publishing: one mechanism for reuse, resume and crash safety.

An entry is a folder ``<root>/<stage>/<key>/``. Its files are each published by *temporary file in the same folder,
fsync, os.replace, fsync folder*; ``status.json``, written last, names them all with their SHA-256. An entry without a
valid status is unfinished, and whoever holds its lock may go on with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kd_lightning.errors import CheckpointWriteError, ConfigError
from kd_lightning.safety.inside import check_inside, is_plain_file, open_new, remove_path
from kd_lightning.safety.json_files import read_json

KEY_LENGTH = 20
TEMPORARY = ".tmp-"
LOOK = 0.1
"""Seconds between two looks at a lock that another process holds."""


def content_key(ingredients: Mapping[str, Any]) -> str:
    """A short SHA-256 over the canonical JSON of the ingredients.

    Raises:
        TypeError: Something in them is not plain data.

    Example:
        >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
        True
    """
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(path: Path, content: bytes | str, mode: int = 0o666) -> None:
    """Write a file so that under its name stands either what was there before or all of the new content.

    Args:
        path: The final name; its folder must exist.
        content: The bytes, or the text (UTF-8).
        mode: Of the file, before the umask.

    Raises:
        CheckpointWriteError: The file could not be written; names the path and the free space. What was there stays.
    """
    draft = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with open_new(draft, mode) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise write_error(path, error) from error
    publish_file(draft, path)


def publish_file(draft: Path, path: Path) -> None:
    """Give a finished file of the same folder its final name: fsync, os.replace, fsync folder.

    Raises:
        CheckpointWriteError: As ``publish``; the draft is removed.
    """
    try:
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        fsync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> CheckpointWriteError:
    """The error for a file that could not be written."""
    return CheckpointWriteError(f"cannot write {path}: {error} ({_free_bytes(path.parent)} bytes free)")


def publish_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """``publish`` a value as indented JSON; NaN and infinities are refused where the reader would choke on them."""
    publish(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=True) + "\n", mode)


def safe_name(name: str, what: str) -> str:
    """The name itself, if it stays inside its folder.

    Raises:
        ConfigError: It is empty, hidden, or holds a separator.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise ConfigError(f"{what} {name!r} must be a plain name, without '/' and not starting with '.'")
    return name


def is_entry(name: str) -> bool:
    """A folder of this name is an entry's: a key, or one that is made again.

    Example:
        >>> is_entry("0123456789abcdef0123"), is_entry("0123456789abcdef0123.again"), is_entry("precious")
        (True, True, False)
    """
    return re.fullmatch(f"[0-9a-f]{{{KEY_LENGTH}}}(\\.again)?", name) is not None


class Entry:
    """One stage's folder in the store.

    Args:
        folder: ``<root>/<stage>/<key>``; made when the lock is first taken.
        key: Given where the folder's name is another.
    """

    def __init__(self, folder: Path, key: str | None = None) -> None:
        self.folder = folder
        self.key = key or folder.name
        self.stage = folder.parent.name

    @property
    def status_path(self) -> Path:
        return self.folder / "status.json"

    def path(self, name: str) -> Path:
        """Path of a file of the entry."""
        return self.folder / name

    def check_place(self) -> None:
        """The folder and its lock lie in the store: what is emptied and written is ours.

        Raises:
            LinkError: A link stands there.
        """
        root = self.folder.parent.parent
        check_inside(root, self.folder)
        check_inside(root, self.lock_path)

    @property
    def lock_path(self) -> Path:
        return self.folder.with_name(f"{self.key}.lock")

    def read_json(self, name: str) -> Any:
        """A JSON file of the entry."""
        return read_json(self.path(name))

    def problem(self, digests: bool = True) -> str | None:
        """Why the entry cannot be reused: ``None`` = it is whole, ``""`` = it was never finished.

        Args:
            digests: The files are read; else it is enough that they are there.
        """
        try:
            status = self.read_json(self.status_path.name)
            files, seal = dict(status["files"]), status.pop("seal")
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "status.json cannot be read"
        if seal != self.seal(status):
            return "status.json is damaged, or another entry's"
        for name, digest in files.items():
            path = self.path(name)
            if path.parent != self.folder or not is_plain_file(path):
                return f"{name} is missing"
            if digests and file_digest(path) != digest:
                return f"{name} is damaged"
        return None

    @property
    def forced_by(self) -> str | None:
        """Which run or sweep had the entry made again although it was whole."""
        try:
            status = self.read_json(self.status_path.name)
        except (OSError, ValueError):
            return None
        by = status.get("forced_by") if isinstance(status, dict) else None
        return by if isinstance(by, str) else None

    @property
    def beside(self) -> Entry:
        """Where the entry is made again while others read it."""
        return Entry(self.folder.with_name(f"{self.key}.again"), self.key)

    def take(self, other: Entry) -> None:
        """Become what ``other`` is, file by file. Whoever reads in between finds damage, and waits for our lock."""
        for path in sorted(other.folder.iterdir(), key=lambda path: path == other.status_path):
            publish_file(path, self.path(path.name))
        other.folder.rmdir()

    def finish(self, files: list[str], extra: Mapping[str, Any] | None = None) -> None:
        """Declare the entry whole: ``status.json`` with the digests of ``files``, and nothing else left behind.

        Raises:
            LinkError: The entry's folder is a link: what it points to is not ours to tidy up.
        """
        self.check_place()
        status: dict[str, Any] = {
            "state": "done",
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {name: file_digest(self.path(name)) for name in files},
            **(extra or {}),
        }
        publish_json(self.status_path, {**status, "seal": self.seal(status)})
        for path in self.folder.iterdir():
            if path.name not in {*files, "status.json"}:
                remove_path(path)

    def seal(self, status: Mapping[str, Any]) -> str:
        """What binds a status to this entry: neither a flipped bit nor another entry's folder goes unseen."""
        return content_key({"stage": self.stage, "key": self.key, "status": status})

    def clear(self) -> None:
        """Forget everything in the entry, the claim to be whole first.

        Raises:
            LinkError: The entry's folder is a link.
        """
        self.check_place()
        self.status_path.unlink(missing_ok=True)
        if self.folder.is_dir():
            fsync_folder(self.folder)
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def busy(self) -> bool:
        """Another process holds the entry, at this moment."""
        if not is_plain_file(self.lock_path):
            return False
        lock = FileLock(self.lock_path)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the entry against other processes; a lock whose owner died is free (the kernel drops it).

        Args:
            waiting: Called once if another process holds it.

        Raises:
            CheckpointWriteError: The folder or its lock cannot be made.
            LinkError: A link stands where they belong.
        """
        lock = self.try_lock()
        if lock is None:
            waiting()
        while lock is None:
            time.sleep(LOOK)
            lock = self.try_lock()
        with released(lock):
            yield

    def try_lock(self) -> FileLock | None:
        """Hold the entry if nobody does, another part of this process included; None = somebody does.

        Raises:
            CheckpointWriteError: As ``lock``.
            LinkError: Likewise.
        """
        lock = FileLock(self.lock_path)
        self.check_place()
        try:
            # Not the folder itself: whoever holds the lock may be clearing it this moment.
            self.lock_path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            return None
        except OSError as error:
            raise write_error(self.folder, error) from error
        try:
            self._tidy()
        except BaseException:
            lock.release()
            raise
        return lock

    def _tidy(self) -> None:
        """Make the folder, or sweep it; the lock is held."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        sweep_temporaries(self.folder)


@contextmanager
def released(lock: FileLock) -> Iterator[None]:
    """Let go of a lock at the end."""
    try:
        yield
    finally:
        lock.release()


class Store:
    """The folder of all entries.

    Args:
        root: For example ``outputs/store``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def entry(self, stage: str, key: str) -> Entry:
        """The entry of a stage under a key, there or not."""
        return Entry(self.root / safe_name(stage, "stage") / safe_name(key, "key"))


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed writer left; the caller holds the folder's lock."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove_path(path)


def fsync_folder(folder: Path) -> None:
    """Make renames inside the folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return -1
