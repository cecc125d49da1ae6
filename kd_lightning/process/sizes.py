"""Bytes: in words, and how many a disk has left."""

from __future__ import annotations

import shutil
from pathlib import Path


def size(count: float) -> str:
    """Bytes for people.

    Example:
        >>> size(1536), size(20e9)
        ('1.5 kB', '20.0 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def free_bytes(folder: Path) -> int:
    """Of the disk that holds the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
