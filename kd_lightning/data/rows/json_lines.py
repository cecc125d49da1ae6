"""Rows of a JSONL file: one JSON object in each line, all with the same keys. Blank lines are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from kd_lightning.data.rows.lines import OnMisfit, format_place, raise_misfit, read_lines
from kd_lightning.errors import DataFormatError
from kd_lightning.safety.terminal import escape_unprintable


def read_json_rows(path: Path, on_misfit: OnMisfit = raise_misfit) -> Iterator[tuple[int, dict[str, object]]]:
    """See ``kd_lightning.data.rows.read.read_rows``.

    Raises:
        DataFormatError: A line is no JSON object, has a key twice or other keys than the first one, or holds NaN.
    """
    keys: list[str] = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        row = parse_json_row(line, format_place(path, number))
        keys = keys or list(row)
        if row.keys() != set(keys):
            differ = [
                *(f"no {key!r}" for key in keys if key not in row),
                *(f"{key!r}" for key in row if key not in keys),
            ]
            on_misfit(
                DataFormatError(
                    f"{format_place(path, number)}: other keys than the first row's ({escape_unprintable(', '.join(differ))}): "
                    "give all rows the same keys, null where a value is missing"
                )
            )
        yield number, row


def parse_json_row(line: str, place: str) -> dict[str, object]:
    """The object of a line.

    Args:
        line: Its text.
        place: ``path:line``, for messages.

    Raises:
        DataFormatError: See ``read_json_rows``.
    """

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataFormatError(f"{place}: the key {escape_unprintable(twice)!r} stands twice: remove one")
        return found

    def refuse_constant(name: str) -> NoReturn:
        raise DataFormatError(f"{place}: {name} is no JSON: write null, or a number")

    try:
        row = json.loads(line, object_pairs_hook=make_object, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise DataFormatError(
            f"{place}: no JSON at character {error.pos + 1} ({error.msg}): write one object in each line"
        ) from error
    except DataFormatError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets in brackets
        raise DataFormatError(f"{place}: a value is too long or too deep to be read: shorten it") from error
    if not isinstance(row, dict):
        raise DataFormatError(f'{place}: no JSON object: write one in each line, as {{"text": ..., "label": ...}}')
    if "\\ud" in line.lower():
        check_surrogates(row, place)
    return row


def check_surrogates(row: dict[str, object], place: str) -> None:
    """Escaped halves of characters come in pairs: one alone is in no encoding.

    Raises:
        DataFormatError: One stands alone.
    """
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataFormatError(
            f"{place}: \\u{ord(error.object[error.start]):04x} is half a character: remove it"
        ) from error
