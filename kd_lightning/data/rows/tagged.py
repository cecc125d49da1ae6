"""Rows of words with a tag each, one row at a time.

    any name               a word in each line, the first column, and its tag, the last; blank lines between the rows
    .jsonl .ndjson .json   an object in each line, with the lists ``tokens`` and ``tags``

All may be gzipped (``.gz``). Columns stand between tabs if the first line has one, else between spaces. Lines that begin with
``-DOCSTART-`` are boundaries, too. A line that begins with ``#`` and has other columns than the file's is a comment.

For semantic role labeling a row has a predicate, which the tags are about: the column before the tag marks its word (or words),
by anything but ``-``, ``_``, ``O`` and ``0``; in JSON, ``predicate`` is the number of the word, from 0, or a list. Networks see
which it is by ``PREDICATE_MARK`` at the word's beginning. A sentence with two predicates stands there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd_lightning.data.rows.lines import GZIP, format_place, read_lines
from kd_lightning.data.rows.read import JSON_LINES, read_rows
from kd_lightning.data.rows.values import parse_label_value
from kd_lightning.data.words import WORD_END
from kd_lightning.errors import DataFormatError, EmptyDatasetError, EmptyTextError, LabelError
from kd_lightning.safety.terminal import escape_unprintable

DOCUMENT_START, COMMENT = "-DOCSTART-", "#"
TOKENS, TAGS, PREDICATE = "tokens", "tags", "predicate"
"""Keys of a JSON row."""
PREDICATE_MARK = "\u00bb"
"""At the beginning of a predicate's word, as in ``She »ate soup``."""
NO_PREDICATE = ("-", "_", "O", "0", "")
"""In the column that marks predicates, of any other word."""


class TaggedRow(NamedTuple):
    """A row, a sentence as a rule.

    Attributes:
        words: One at least.
        tags: Of each word.
        lines: Of each word, the number of its line.
    """

    words: list[str]
    tags: list[str]
    lines: list[int]


def read_tagged_rows(path: Path, has_predicates: bool = False) -> Iterator[TaggedRow]:
    """The rows of a file.

    Args:
        path: The file.
        has_predicates: It says of each row which word is the predicate.

    Raises:
        DataFormatError: A line has other columns than the file, is no JSON of that kind, or a row has no predicate; names the
            line.
        EmptyDatasetError: There is no file, or no row in it.
        EmptyTextError: A word is empty.
        LabelError: A tag is.
    """
    if not path.is_file():
        raise EmptyDatasetError(f"{escape_unprintable(str(path))} is not a file: name one of words and tags")
    is_json = Path(path.name.lower().removesuffix(GZIP)).suffix in JSON_LINES
    rows = _read_json_lists(path, has_predicates) if is_json else _read_columns(path, has_predicates)
    first = next(rows, None)
    if first is None:
        raise EmptyDatasetError(
            f"{escape_unprintable(str(path))} has no words: give it a word and its tag in each line"
        )
    yield first
    yield from rows


def parse_word(word: object, place: str) -> str:
    """A word that can be stored.

    Raises:
        DataFormatError: It is no text, or holds the mark between words.
        EmptyTextError: It is empty.
    """
    if not isinstance(word, str):
        raise DataFormatError(f"{place}: a word is of type {type(word).__name__}: a text is expected")
    if not word:
        raise EmptyTextError(f"{place}: the word is empty: write one before its tag, or remove the line")
    if WORD_END in word:
        raise DataFormatError(
            f"{place}: the word {escape_unprintable(repr(word))} holds the character U+001F: remove it"
        )
    return word


def mark_predicates(row: TaggedRow, marked: Sequence[int], path: Path) -> TaggedRow:
    """The row with ``PREDICATE_MARK`` at these words.

    Raises:
        DataFormatError: There is none.
    """
    if not marked:
        raise DataFormatError(f"{format_place(path, row.lines[0])}: no word of the row is marked as its predicate")
    words = [f"{PREDICATE_MARK}{word}" if number in marked else word for number, word in enumerate(row.words)]
    return row._replace(words=words)


def _read_columns(path: Path, has_predicates: bool) -> Iterator[TaggedRow]:
    """Of a file with a word in each line."""
    split, columns = _find_columns(path, 3 if has_predicates else 2)
    row, marked = TaggedRow([], [], []), list[int]()
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.startswith(DOCUMENT_START):
            if row.words:
                yield mark_predicates(row, marked, path) if has_predicates else row
                row, marked = TaggedRow([], [], []), []
            continue
        fields = split_fields(line, split)
        if len(fields) != columns:
            if line.startswith(COMMENT):
                continue
            raise DataFormatError(
                f"{format_place(path, number)}: {len(fields)} column{'s' if len(fields) > 1 else ''}, and the first word has "
                f"{columns}: write the word, then its tag last, with the same columns in each line"
            )
        place = format_place(path, number)
        if has_predicates and fields[-2] not in NO_PREDICATE:
            marked.append(len(row.words))
        row.words.append(parse_word(fields[0], place))
        row.tags.append(parse_label_value(fields[-1], "the tag", place))
        row.lines.append(number)
    if row.words:
        yield mark_predicates(row, marked, path) if has_predicates else row


def _find_columns(path: Path, least: int) -> tuple[str, int]:
    """What stands between the columns of a file, as a pattern, and how many there are.

    Raises:
        DataFormatError: There are fewer than ``least``, so words have no tags, or no word is marked as a predicate.
    """
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.startswith((DOCUMENT_START, COMMENT)):
            split = "\t" if "\t" in line.strip() else " +"
            columns = len(split_fields(line, split))
            if columns < least:
                wanted = (
                    "the word, a tab or a space, and its tag" if least == 2 else "word, mark of the predicate, and tag"
                )
                counted = "one column" if columns == 1 else f"{columns} columns"
                raise DataFormatError(f"{format_place(path, number)}: {counted}: write {wanted}")
            return split, columns
    return " +", least


def split_fields(line: str, split: str) -> list[str]:
    """The columns of a line.

    Example:
        >>> split_fields("New York\\tB-city\\n", "\\t"), split_fields("York  NNP I-city\\n", " +")
        (['New York', 'B-city'], ['York', 'NNP', 'I-city'])
    """
    line = line.rstrip("\r\n")
    return [field.strip(" ") for field in re.split(split, line if split == "\t" else line.strip(" "))]


def _read_json_lists(path: Path, has_predicates: bool) -> Iterator[TaggedRow]:
    """Of a file with an object in each line."""
    for number, row in read_rows(path):
        place = format_place(path, number)
        words, tags = (row.get(key) for key in (TOKENS, TAGS))
        if not isinstance(words, list) or not isinstance(tags, list):
            raise DataFormatError(
                f'{place}: {TOKENS} and {TAGS} have to be lists, as {{"tokens": ["Paris", "."], "tags": ["B-city", "O"]}}'
            )
        if len(words) != len(tags):
            raise DataFormatError(f"{place}: {len(words)} {TOKENS} and {len(tags)} {TAGS}: give each token a tag")
        if not words:
            raise EmptyTextError(f"{place}: {TOKENS} is empty: give it words, or remove the row")
        found = TaggedRow(
            [parse_word(word, place) for word in words],
            [_parse_json_tag(tag, place) for tag in tags],
            [number] * len(words),
        )
        yield (
            mark_predicates(found, parse_predicates(row.get(PREDICATE), words, place), path)
            if has_predicates
            else found
        )


def parse_predicates(value: object, words: Sequence[object], place: str) -> list[int]:
    """Numbers of words.

    Raises:
        DataFormatError: A value is none.
    """
    numbers: list[Any] = value if isinstance(value, list) else [value]
    if any(type(each) is not int or not 0 <= each < len(words) for each in numbers):
        raise DataFormatError(
            f"{place}: {PREDICATE} has to be the number of a word, from 0 to {len(words) - 1}, or a list of such"
        )
    return numbers


def _parse_json_tag(tag: object, place: str) -> str:
    if isinstance(tag, list | dict):
        raise LabelError(f"{place}: a tag is of type {type(tag).__name__}: a word or a whole number is expected")
    return parse_label_value(tag, "a tag", place)
