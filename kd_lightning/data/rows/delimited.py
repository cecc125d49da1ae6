"""Rows of a CSV or TSV file: a header, then a line or, with line breaks inside quotes, several lines for each row.

Every value is text: ``NA``, ``null`` and ``None`` too. Blank lines are skipped, and sentences behind a # before the header. A
``.csv`` whose header has no comma, but a semicolon or a tab, is read with that.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kd_lightning.data.rows.lines import OnMisfit, format_place, raise_misfit, read_lines
from kd_lightning.errors import ConfigError, DataFormatError
from kd_lightning.safety.terminal import escape_unprintable

TAB = "\t"
DELIMITERS = (",", ";", TAB)
LONGEST_NAME = 100
"""Characters; a longer name in a header is a text, so there is no header."""
LONGEST_FIELD = 2**31 - 1
"""Characters; csv's own limit is 131,072, less than a long document."""


def read_csv_rows(
    path: Path, delimiter: str | None = None, on_misfit: OnMisfit = raise_misfit
) -> Iterator[tuple[int, dict[str, object]]]:
    """See ``kd_lightning.data.rows.read.read_rows``.

    Args:
        path: The file.
        delimiter: Between values; None = found out from the header.
        on_misfit: As in ``read_rows``; nobody knows which value of such a row is what, so it has none.

    Raises:
        ConfigError: The delimiter is not one character.
        DataFormatError: A quote stays open, a row has more or fewer values than the header, or the header is none.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ConfigError(f"data.delimiter={delimiter!r}: one character is expected, as in data.delimiter=';'")
    comments, first, lines = skip_comments(read_lines(path), delimiter)
    mark = delimiter or next((each for each in DELIMITERS if each in first), ",")
    names: list[str] = []
    for number, values in split_records(itertools.chain([first], lines), path, mark, comments):
        if not names:
            names = [value.strip() for value in values]
            check_header(names, format_place(path, number))
        elif len(values) != len(names):
            on_misfit(
                DataFormatError(
                    f"{format_place(path, number)}: {len(values)} values, but the header has {len(names)} columns "
                    f"({escape_unprintable(', '.join(names))}): put a value with {mark!r} or a line break in it between quotes"
                )
            )
            yield number, {}
        else:
            yield number, dict(zip(names, values, strict=True))


def read_tsv_rows(
    path: Path, delimiter: str | None = None, on_misfit: OnMisfit = raise_misfit
) -> Iterator[tuple[int, dict[str, object]]]:
    """As ``read_csv_rows``, with tabs."""
    return read_csv_rows(path, delimiter or TAB, on_misfit)


def skip_comments(lines: Iterator[str], delimiter: str | None) -> tuple[int, str, Iterator[str]]:
    """Pass over sentences that begin with # and stand before the header, as lists of scored words have them.

    One with a delimiter may be the header, and so may each where no line with a delimiter follows.

    Returns:
        How many lines were passed over, the header, the lines after it.
    """
    marks, passed = (delimiter,) if delimiter else DELIMITERS, list[str]()
    first = next(lines, "")
    while first.startswith("#") and not any(mark in first for mark in marks):
        passed.append(first)
        first = next(lines, "")
    if passed and not any(mark in first for mark in marks):
        return 0, passed[0], itertools.chain([*passed[1:], first], lines)
    return len(passed), first, lines


def split_records(lines: Iterable[str], path: Path, delimiter: str, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The values of each record that is not blank, and the number of its first line; ``before`` = lines passed over.

    Raises:
        DataFormatError: A quote stays open, or is closed before the value ends.
    """
    csv.field_size_limit(LONGEST_FIELD)
    record: list[str] = []  # its lines so far: csv tells where it gave up, not where the quote was opened

    def remember() -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    reader = csv.reader(remember(), delimiter=delimiter, strict=True)
    while True:
        record.clear()
        number = before + reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataFormatError(explain_csv_error(record, path, number, delimiter)) from error
        if values:
            yield number, values


def explain_csv_error(record: list[str], path: Path, number: int, delimiter: str) -> str:
    """What is wrong with a record that csv refuses, and where.

    Args:
        record: Its lines, up to where csv gave up.
        path: The file.
        number: Of its first line.
        delimiter: Between values.
    """
    opened = find_bad_quote("".join(record), delimiter)
    if opened is None:
        return (
            f"{format_place(path, number)}: a carriage return stands outside of quotes: end lines with a line feed, or put "
            "the value between quotes"
        )
    return (
        f"{format_place(path, number + opened)}: the quote opened here is not closed at the end of its value (read up to "
        f'line {number + len(record) - 1}): close it, and write a quote inside a quoted value twice ("")'
    )


def find_bad_quote(record: str, delimiter: str) -> int | None:
    """The line, counted from 0, of the first quote that opens a value and does not close at its end; None = there is none.

    Example:
        >>> find_bad_quote('1,"a\\nb",2\\n', ","), find_bad_quote('1,"a\\nb","2\\n3,4\\n', ",")
        (None, 1)
    """
    mark = re.escape(delimiter)
    value = re.compile(rf'"[^"]*(?:""[^"]*)*"(?=[{mark}\r\n]|\Z)|(?!")[^{mark}\r\n]*')
    position = 0
    while position < len(record):
        found = value.match(record, position)
        if not found:
            return record.count("\n", 0, position)
        position = found.end() + 1  # past the delimiter, or the line break
    return None


def check_header(names: list[str], place: str) -> None:
    """The first line names the columns.

    Raises:
        DataFormatError: Two have one name, or a name is a number or as long as a text.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataFormatError(f"{place}: two columns are called {escape_unprintable(name)!r}: rename one")
        if reads_as_number(name) or len(name) > LONGEST_NAME:
            raise DataFormatError(
                f"{place}: {escape_unprintable(name[:LONGEST_NAME])!r} is no column name: begin the file with a line of "
                "names, as text,label"
            )
        seen.add(name)


def reads_as_number(text: str) -> bool:
    """It reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
