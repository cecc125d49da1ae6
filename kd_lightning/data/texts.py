"""Texts as columns of a table, and as the token ids of each network that reads them.

A source of texts prepares raw rows: ``text``, and ``text_pair`` where two are read together, are ragged columns of UTF-8 bytes.
Each network has a tokenizer of its own, so teacher and student may read the same rows in different vocabularies: the ids of a
role stand in columns of their own, made once and kept in the store. Rows of words have ``words`` instead: ``data/words.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from kd_lightning.data.columns import Column, InMemory, Ragged, RaggedRows, ragged_column
from kd_lightning.data.source import Prepared, PreparedPieces
from kd_lightning.data.table import PAIR_COLUMN, RAW_COLUMNS, TEXT_COLUMN, WORDS_COLUMN, Table
from kd_lightning.data.tokenizers.base import TextTokenizer
from kd_lightning.data.tokenizers.vocabulary import import_tokenizers
from kd_lightning.data.words import IDS, WordEncoder, split_row

TYPE_IDS = "type_ids"
"""Column beside the ``ids`` of one tokenizer: which of two texts a token belongs to."""
TOO_LONG = "rows too long"
"""Fact: how many rows of a split have more tokens than the tokenizer's ``max_length``; after the split's name. Texts are cut;
rows of words are not, and whoever asked for them refuses them."""
ROWS_AT_ONCE = 4096


def role_column(role: str, name: str) -> str:
    """What ``ids`` or ``type_ids`` of a role's tokenizer are called among the columns of a table and of a batch.

    Example:
        >>> role_column("teacher", IDS)
        'teacher_ids'
    """
    return f"{role}_{name}"


def text_column(texts: Iterable[str]) -> Ragged:
    """Texts as a ragged column of UTF-8 bytes."""
    return ragged_column([text.encode() for text in texts], torch.uint8)


def decode_texts(rows: RaggedRows) -> list[str]:
    """The texts of some rows of a text column."""
    values, texts, start = rows.values.numpy().tobytes(), [], 0
    for length in rows.lengths.tolist():
        texts.append(values[start : start + length].decode())
        start += length
    return texts


def iterate_texts(table: Table) -> Iterator[str]:
    """All texts of a table, first ones and second ones of pairs, or all its words; a few megabytes at a time."""
    if WORDS_COLUMN in table:
        for _, chunk in table.chunks(WORDS_COLUMN):
            for row in decode_texts(chunk[WORDS_COLUMN]):
                yield from split_row(row)
        return
    names = [name for name in (TEXT_COLUMN, PAIR_COLUMN) if name in table]
    for _, chunk in table.chunks(*names):
        for name in names:
            yield from decode_texts(chunk[name])


def encode_rows(prepared: Prepared, tokenizer: TextTokenizer) -> PreparedPieces:
    """The ids of all splits, piece by piece; a tokenizer with a vocabulary of its own learns it from the training texts.

    Args:
        prepared: Raw rows.
        tokenizer: Of the network that reads them.

    Returns:
        Columns ``ids`` and, of pairs where the network asks for them, ``type_ids``, or of words ``starts``; facts
        ``SPLIT rows too long``.

    Raises:
        MissingExtraError: The ``tokenizers`` package is not installed.
    """
    fitted = tokenizer.fit(iterate_texts(prepared.splits["train"]))
    facts: dict[str, Any] = {}
    return PreparedPieces(_encode_pieces(prepared, fitted, tokenizer, facts), fitted, facts)


def _encode_pieces(
    prepared: Prepared, fitted: str, tokenizer: TextTokenizer, facts: dict[str, Any]
) -> Iterator[tuple[str, Table]]:
    of_words = WORDS_COLUMN in prepared.splits["train"]
    encoder: TextEncoder | WordEncoder = (
        WordEncoder(fitted, tokenizer.max_length)
        if of_words
        else TextEncoder(fitted, tokenizer.max_length, tokenizer.type_ids)
    )
    for split, table in prepared.splits.items():
        names = [name for name in RAW_COLUMNS if name in table]
        found = 0
        for start in range(0, len(table), ROWS_AT_ONCE):
            rows = torch.arange(start, min(start + ROWS_AT_ONCE, len(table)))
            read = [cast(RaggedRows, table.column(name).take(rows)) for name in names]
            piece, too_long = encoder.encode(*map(decode_texts, read))
            found += too_long
            yield split, piece
        facts[f"{split} {TOO_LONG}"] = found
    facts.update(encoder.facts)


@dataclass(frozen=True)
class FittedTokenizer:
    """A tokenizer as a run leaves it behind.

    Attributes:
        text: JSON of a ``tokenizers.Tokenizer``.
        max_length: As in ``TextEncoder``; None = the rows are not texts, but cut out of them.
        type_ids: As in ``TextEncoder``.
    """

    text: str
    max_length: int | None = None
    type_ids: bool = False


class TextEncoder:
    """Texts to ids, as rows are prepared and as a trained network is asked about new ones.

    Args:
        fitted: JSON of a ``tokenizers.Tokenizer``.
        max_length: Most tokens of a row; longer ones are cut.
        type_ids: Pairs get ``type_ids``.

    Raises:
        MissingExtraError: The ``tokenizers`` package is not installed.
    """

    def __init__(self, fitted: str, max_length: int, type_ids: bool = False) -> None:
        self.tokenizer = import_tokenizers().Tokenizer.from_str(fitted)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        self.type_ids = type_ids
        self.facts: dict[str, Any] = {}

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> tuple[Table, int]:
        """The ids of texts, or of texts and those beside them.

        Returns:
            Columns ``ids`` and perhaps ``type_ids``, int32 and uint8; how many texts were cut.
        """
        found = self.tokenizer.encode_batch(list(texts if pairs is None else zip(texts, pairs, strict=True)))
        # A text of which nothing is known has no ids, and a network needs one: the padding's, which stands for nothing.
        columns = {IDS: ragged_column([each.ids or [0] for each in found], torch.int32)}
        if self.type_ids and pairs is not None:
            columns[TYPE_IDS] = ragged_column([each.type_ids or [0] for each in found], torch.uint8)
        return Table(columns), sum(bool(each.overflowing) for each in found)


def encode_table(encoder: TextEncoder | WordEncoder, table: Table, role: str) -> Table:
    """All rows of a table with the ids of a role in the place of the texts or words.

    Args:
        encoder: Of that role's tokenizer.
        table: ``text``, perhaps ``text_pair``, or ``words``; and others.
        role: Whose tokenizer it is.
    """
    names = [name for name in RAW_COLUMNS if name in table]
    parts: dict[str, list[RaggedRows]] = {}
    for start in range(0, len(table), ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + ROWS_AT_ONCE, len(table)))
        texts = [decode_texts(table.column(name).take(rows)) for name in names]  # type: ignore[arg-type]
        for name, column in encoder.encode(*texts)[0].columns.items():
            assert isinstance(column, Ragged)
            parts.setdefault(role_column(role, name), []).append(column.whole())
    columns: dict[str, Column] = {name: column for name, column in table.columns.items() if name not in names}
    for name, pieces in parts.items():
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), *(each.lengths for each in pieces)]).cumsum(0)
        columns[name] = Ragged(InMemory(torch.cat([each.values for each in pieces])), InMemory(offsets))
    return Table(columns)


def with_ids(raw: Prepared, encoded: dict[str, Prepared]) -> Prepared:
    """Raw rows with the ids of each role in the place of the texts or words.

    Args:
        raw: Columns ``text`` or ``words`` and others; some of the rows of its source, or all.
        encoded: Role -> ids of all rows of the source.
    """
    splits = {}
    for split, table in raw.splits.items():
        columns = {name: column for name, column in table.columns.items() if name not in RAW_COLUMNS}
        for role, ids in encoded.items():
            own = ids.splits[split].select(table.ids)
            columns |= {role_column(role, name): column for name, column in own.columns.items()}
        splits[split] = Table(columns, table.ids)
    return Prepared(splits, raw.tokenizer, raw.facts)
