"""Bytes: in words and back, and how many a disk has left."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def format_bytes(count: float) -> str:
    """Bytes for people.

    Example:
        >>> format_bytes(1536), format_bytes(20e9)
        ('1.5 kB', '20.0 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def parse_size(text: str) -> float:
    """How many bytes words say.

    Raises:
        ValueError: They say no size.

    Example:
        >>> parse_size("1GB"), parse_size("1.5 kB")
        (1000000000.0, 1500.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    if not match or match[2].upper() not in UNITS:
        raise ValueError(f"{text!r}: a number with {', '.join(UNITS)} is expected, as in 10GB")
    return float(match[1]) * UNITS[match[2].upper()]


def free_bytes(folder: Path) -> int:
    """Of the disk that holds the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
