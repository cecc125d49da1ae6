"""Files are replaced whole: a reader sees the old or the new one, never a half of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kd_lightning.errors import CheckpointWriteError
from kd_lightning.safety.inside import open_new


def replace_file(path: Path, content: str | bytes) -> Path:
    """Write a file; text as UTF-8.

    Raises:
        CheckpointWriteError: It could not be written; what was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open_new(part) as file:
            file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise CheckpointWriteError(f"cannot write {path}: {error}") from error
    return path
