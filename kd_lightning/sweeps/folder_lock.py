"""One process at a time leads the sweep, or does the run, that writes into a folder.

The kernel drops the lock of a process that dies, however it dies: its successor takes over at once.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kd_lightning.store import write_error

LOCK = ".lock"


class FolderLock:
    """The lock of a sweep's or run's folder.

    Args:
        folder: Made, when the lock is taken, if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK)

    def acquire(self) -> bool:
        """Take it; False where another process has it.

        Raises:
            CheckpointWriteError: Nobody may write there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise write_error(self.folder, error) from error
        return True

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def discard(self) -> None:
        """Give it back and leave nothing of it: no file, and no folder where nothing else is in it."""
        (self.folder / LOCK).unlink(missing_ok=True)  # while it is held: afterwards it may be another process's
        self._lock.release()
        with suppress(OSError):  # there is something in it
            self.folder.rmdir()


def describe_holder(record: dict[str, Any] | None) -> str:
    """The process that a record names, in words.

    Example:
        >>> describe_holder({"pid": 42, "host": "box", "started": "2026-11-28T18:00:00Z"})
        'process 42 on box, since 2026-11-28T18:00:00Z'
        >>> describe_holder(None)
        'a process that has only begun'
    """
    if not record or "pid" not in record:
        return "a process that has only begun"
    return f"process {record['pid']} on {record.get('host')}, since {record.get('started')}"
