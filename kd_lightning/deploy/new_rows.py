"""New texts, one row at a time, from a table's file or a stream of lines; a row that cannot be used says why, and stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.data.rows.json_lines import parse_json_row
from kd_lightning.data.rows.lines import decode_line, format_place
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import parse_text_value, require_column
from kd_lightning.data.table_columns import TEXT_NAMES, find_known_name
from kd_lightning.errors import ConfigError, DataFormatError, EmptyTextError
from kd_lightning.safety.terminal import escape_unprintable

STANDARD_INPUT = Path("-")
"""Stands for it, as a path and in messages."""
TEXT_OPTION, PAIR_OPTION = "--text", "--pair"


@dataclass(frozen=True)
class NewRow:
    """One row.

    Attributes:
        texts: Its text, or the two of a pair; what is no text is empty.
        problem: Why it cannot be used, with its place; empty = it can.
    """

    texts: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class TextColumns:
    """Where the texts stand.

    Attributes:
        text: Named by the user; None = as the model was trained, or a guess.
        pair: Of the second texts; None likewise.
        trained: ``text`` and ``text_pair`` of the table that the model was trained on, as far as there are any.
    """

    text: str | None
    pair: str | None
    trained: Mapping[str, str]

    def choose(self, row: Mapping[str, object], source: Path) -> tuple[str, ...]:
        """The columns to read, by a row of the file.

        Raises:
            ConfigError: One is not there, the text column cannot be guessed, or the model reads no pairs.
        """
        trained_pair = self.trained.get("text_pair")
        pair = self.pair or trained_pair
        if self.pair is not None and trained_pair is None:
            raise ConfigError(f"{PAIR_OPTION} {escape_unprintable(self.pair)}: the model reads one text a row")
        text = self.text or self._guess_text(row, pair)
        if text is None:
            listed = escape_unprintable(f"{source}: which column is the text? It has {', '.join(row)}")
            raise ConfigError(f"{listed}: name it with {TEXT_OPTION} COLUMN")
        require_column(text, row, TEXT_OPTION, source)
        if pair is None:
            return (text,)
        require_column(pair, row, PAIR_OPTION, source)
        return text, pair

    def _guess_text(self, row: Mapping[str, object], pair: str | None) -> str | None:
        """The column that the model was trained on; else one with a usual name, or the only one with a text."""
        trained = self.trained.get("text")
        if trained in row:
            return trained
        texts = [name for name, value in row.items() if isinstance(value, str) and name != pair]
        return find_known_name(list(row), TEXT_NAMES, (pair,)) or (texts[0] if len(texts) == 1 else None)


def read_new_texts(path: Path, columns: TextColumns) -> Iterator[NewRow]:
    """The rows of a file that ``read_rows`` can read.

    Raises:
        ConfigError: See ``TextColumns.choose``.
        KDError: The file, or a row of it, cannot be read.
    """
    misfits: list[DataFormatError] = []
    numbered = read_rows(path, on_misfit=misfits.append)
    return _as_new_rows(numbered, misfits, columns, path)


def read_streamed_texts(stream: Iterable[bytes], columns: TextColumns) -> Iterator[NewRow]:
    """The rows of a stream: a text in each line, or a JSON object in each where the first line is one.

    Raises:
        ConfigError: See ``TextColumns.choose``; or the model reads pairs, and lines are plain.
        DataFormatError: A line is not UTF-8, or no JSON object among those.
    """
    lines = ((number, decode_line(line, STANDARD_INPUT, number)) for number, line in enumerate(stream, 1))
    first = next(lines, None)
    if first is None:
        return iter(())
    lines = itertools.chain([(first[0], first[1].removeprefix("\ufeff"))], lines)  # type: ignore[assignment]
    if first[1].removeprefix("\ufeff").lstrip().startswith("{"):
        numbered = (
            (number, parse_json_row(line, format_place(STANDARD_INPUT, number)))
            for number, line in lines
            if line.strip()
        )
        return _as_new_rows(numbered, [], columns, STANDARD_INPUT)
    if columns.trained.get("text_pair") is not None:
        raise ConfigError('the model reads pairs of texts: write {"text": ..., "text_pair": ...} in each line')
    return (
        make_new_row({"text": line.rstrip("\r\n")}, ("text",), format_place(STANDARD_INPUT, number))
        for number, line in lines
    )


def _as_new_rows(
    numbered: Iterable[tuple[int, dict[str, object]]],
    misfits: list[DataFormatError],
    columns: TextColumns,
    source: Path,
) -> Iterator[NewRow]:
    """Each row as a new one; the columns are chosen by the first one that fits."""
    names: tuple[str, ...] = ()
    waiting: list[NewRow] = []
    for number, row in numbered:
        misfit = str(misfits.pop()) if misfits else ""
        if not row and not names:
            waiting.append(NewRow((), misfit))
            continue
        if not names:
            names = columns.choose(row, source)
            yield from waiting
        yield make_new_row(row, names, format_place(source, number), misfit)
    if not names:
        yield from waiting


def make_new_row(row: Mapping[str, object], names: tuple[str, ...], place: str, misfit: str = "") -> NewRow:
    """A row's texts, as they stand there.

    Args:
        row: Column -> value.
        names: The columns of the texts.
        place: ``path:line``, for messages.
        misfit: What is wrong with the row as a whole; of no interest where its texts are there.
    """
    shown = tuple(value if isinstance(value := row.get(name), str) else "" for name in names)
    try:
        for name in names:
            parse_text_value(row.get(name), name, place)
    except (EmptyTextError, DataFormatError) as error:
        return NewRow(shown, misfit or str(error))
    return NewRow(shown)
