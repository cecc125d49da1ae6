"""What a data set hands over: a source prepares rows once, and the store keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kd_lightning.data.checks import check_split
from kd_lightning.data.columns import Column, Ragged, rows_per_chunk, view_bytes
from kd_lightning.data.table import Table
from kd_lightning.errors import EmptyDatasetError, TableError

SPLITS = ("train", "val", "test")
LABELS = "labels"
"""Fact: the classes' names in the order of their numbers, where they have names."""
IMAGES = "images"
"""Fact: True = rows are the pixels of image files, as ``read_pixels`` reads them."""
NOTES = "notes"
"""Fact: sentences that whoever trains on the rows should read."""


@dataclass(frozen=True)
class Prepared:
    """Rows by split, the tokenizer's JSON text if there is one, and facts for the reader.

    Raises:
        TableError: A split is no ``Table``.
    """

    splits: dict[str, Table]
    tokenizer: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, table in self.splits.items():
            if not isinstance(table, Table):
                raise TableError(
                    f"the {split} split is a {type(table).__name__}: make it kd_lightning.data.table.Table(columns)"
                )

    def fingerprint(self) -> str:
        """SHA-256 over all rows, the split, the tokenizer and the facts; the same wherever the rows lie."""
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode())
        digest.update(self.tokenizer.encode())
        for split in sorted(self.splits):
            for name, column in sorted(self.splits[split].columns.items()):
                _update_digest(digest, f"{split} {name}", column)
        return digest.hexdigest()

    def check(self, num_classes: int | None) -> None:
        """Every split has rows, and every counted target is a class.

        Args:
            num_classes: How many; None = targets are quantities.

        Raises:
            EmptyDatasetError: A split is missing or has no rows.
            LabelError: A target that counts is not an integer in [0, num_classes), or no finite quantity.
            TableError: A column is missing, or a mask does not fit the targets.
            VocabMismatchError: An input token is outside the vocabulary.
        """
        for split in SPLITS:
            table = self.splits.get(split)
            if table is None or len(table) == 0:
                raise EmptyDatasetError(f"the {split} split has no rows: give the data more rows or change the split")
            check_split(split, table, num_classes, tokens=bool(self.tokenizer))


@dataclass(frozen=True)
class PreparedPieces:
    """As ``Prepared``, of rows that come piece by piece, so that they need not be in memory together.

    Attributes:
        pieces: The next rows of a split and its name, in any order of the splits; read once. All pieces of a split have the
            same columns.
        tokenizer: As in ``Prepared``; made before the first piece.
        facts: As in ``Prepared``; read after the last piece, so what makes the pieces may add to them.
    """

    pieces: Iterable[tuple[str, Table]]
    tokenizer: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """One data set. ``digest`` is cheap and changes when the content does; ``prepare`` does the work, once."""

    def digest(self) -> str:
        """A content hash of the raw files."""
        ...

    def prepare(self) -> Prepared | PreparedPieces:
        """Rows for train, val and test, deterministically."""
        ...


def _update_digest(digest: hashlib._Hash, name: str, column: Column) -> None:
    """Add a column to a digest, a few megabytes at a time."""
    steps = range(0, len(column), rows_per_chunk(column))
    spans = [(start, min(start + steps.step, len(column))) for start in steps]
    if not isinstance(column, Ragged):
        digest.update(f"{name} {column.dtype} {(len(column), *column.row_shape)}\n".encode())
        for span in spans:
            digest.update(view_bytes(column.slice(*span)))
        return
    digest.update(f"{name} ragged {column.dtype} {(len(column), *column.row_shape)}\n".encode())
    for span in spans:
        digest.update(view_bytes(column.slice(*span).lengths))
    for span in spans:
        digest.update(view_bytes(column.slice(*span).values))
