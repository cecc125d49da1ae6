"""Lines of a text file, plain or gzipped: UTF-8, a byte-order mark accepted, no NUL."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from kd_lightning.errors import DataFormatError
from kd_lightning.safety.terminal import escape_unprintable

GZIP = ".gz"
OnMisfit = Callable[[DataFormatError], object]
"""Told of a row that can be read and has not the columns of the others; what it does not raise goes on."""


def raise_misfit(error: DataFormatError) -> NoReturn:
    """All rows must fit."""
    raise error


def format_place(path: Path, number: int) -> str:
    """``path:number``, the line or, in a file without lines, the row."""
    return f"{escape_unprintable(str(path))}:{number}"


def read_lines(path: Path) -> Iterator[str]:
    """The lines with their ends, one at a time.

    Raises:
        DataFormatError: A line is not UTF-8 or holds a NUL, or the gzip file is damaged.
    """
    opened = gzip.open(path) if path.suffix.lower() == GZIP else path.open("rb")  # noqa: SIM115
    try:
        with opened as file:
            for number, line in enumerate(file, 1):
                yield decode_line(line if number > 1 else line.removeprefix(codecs.BOM_UTF8), path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFormatError(
            f"{escape_unprintable(str(path))} is no whole gzip file: pack or copy it again"
        ) from error


def decode_line(line: bytes, path: Path, number: int) -> str:
    """A line as text.

    Raises:
        DataFormatError: See ``read_lines``.
    """
    if b"\0" in line:
        raise DataFormatError(
            f"{format_place(path, number)}: byte {line.index(0) + 1} of the line is NUL: save the file as UTF-8 text "
            "(UTF-16 has such bytes)"
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFormatError(
            f"{format_place(path, number)}: byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8: "
            "save the file as UTF-8, as iconv -f latin1 -t utf-8 does"
        ) from error
