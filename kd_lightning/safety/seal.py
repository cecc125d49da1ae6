"""What this user has written can be told from what somebody else has put in its place: by a key of the user's own.

The key lies beside the user's other settings, ``~/.config/kd_lightning/seal.key``, and nobody else can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from kd_lightning.errors import ConfigError
from kd_lightning.safety.trust import check_owner, settings_file

SIZE = hashlib.sha256().digest_size


def add_seal(data: bytes) -> bytes:
    """The data behind its seal."""
    return _seal(data) + data


def split_seal(data: bytes) -> tuple[bytes, bool]:
    """What ``add_seal`` was given, and whether it was this user who gave it."""
    content = data[SIZE:]
    return content, hmac.compare_digest(data[:SIZE], _seal(content))


def _seal(data: bytes) -> bytes:
    return hmac.digest(_key(), data, "sha256")


@cache
def _key() -> bytes:
    """The user's; without a home of their own that can be written, one that this process alone has."""
    try:
        path = settings_file().with_name("seal.key")
        if not path.exists():
            _make_key(path)
        check_owner(path)
        return path.read_bytes()
    except (ConfigError, OSError):
        return secrets.token_bytes(SIZE)


def _make_key(path: Path) -> None:
    """Whole from the beginning, whoever makes it first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, draft = tempfile.mkstemp(dir=path.parent)  # nobody else may read it
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
