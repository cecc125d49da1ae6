"""What the rows of a table are known by: another content has another digest, and another date."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kd_lightning.data.rows.hub_dataset import date_folder, digest_dataset, parse_address
from kd_lightning.data.rows.text_folder import list_text_files
from kd_lightning.errors import EmptyDatasetError
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import file_digest


def digest_rows(path: Path) -> str:
    """SHA-256 of a file, of the names and contents of the texts in a folder, or of the files of a data set.

    Raises:
        EmptyDatasetError: There is nothing.
        KDError: A folder or a data set cannot be read.
    """
    address = parse_address(path)
    if address is not None:
        return digest_dataset(address)
    if not path.exists():
        raise EmptyDatasetError(f"{escape_unprintable(str(path))} is not a file: name one that holds the rows")
    if not path.is_dir():
        return file_digest(path)
    digest = hashlib.sha256()
    for file in list_text_files(path):
        digest.update(os.fsencode(file.relative_to(path)) + f"\0{file_digest(file)}\n".encode())
    return digest.hexdigest()


def date_rows(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, or of all files of a folder: others, if one has changed; None = nothing is here."""
    address = parse_address(path)
    if address is not None:
        return None if address.folder is None else date_folder(address.folder)
    if not path.exists():
        return None
    stats = [file.stat() for file in (list_text_files(path) if path.is_dir() else [path])]
    return hash(tuple(stat.st_size for stat in stats)), hash(tuple(stat.st_mtime_ns for stat in stats))
