"""The rows of a split: named columns of equal length, with a number for each row and, where needed, groups of rows.

Columns that every task knows: ``inputs`` and ``targets``; where needed ``mask`` (bool, True = the target counts) and ``group``
([N] int64: rows of one group, a speech or a speaker, are not independent, and comparisons resample whole groups). Rows of texts
have ``text`` instead of ``inputs``, rows of words ``words``: see ``data/texts.py`` and ``data/words.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.columns import Column, InMemory, Ragged, RaggedRows, rows_per_chunk
from kd_lightning.errors import TableError

GROUP = "group"
TEXT_COLUMN, PAIR_COLUMN = "text", "text_pair"
"""Columns of raw texts, ragged uint8: the UTF-8 bytes of each row."""
WORDS_COLUMN = "words"
"""Column of raw rows of words, likewise; see ``data/words.py``."""
RAW_COLUMNS = (TEXT_COLUMN, PAIR_COLUMN, WORDS_COLUMN)
"""What networks read as ids of their tokenizers."""


class Table:
    """Named columns with the same number of rows.

    A table is not changed: ``select``, ``head`` and ``with_column`` give another one. Rows of a file that it chooses are not
    copied.

    Args:
        columns: name -> tensor [N, ...] or column; a name is one word, without dots.
        ids: [N] int64, which row of the prepared split each one is; None = row i is row i.

    Raises:
        TableError: There is no column, their rows differ in number, or a name or a ragged column's offsets are not possible.

    Example:
        >>> table = Table({"inputs": torch.rand(3, 2), "targets": torch.tensor([0, 1, 0])})
        >>> len(table), table.select(torch.tensor([2, 1]))["targets"].tolist()
        (3, [0, 1])
    """

    def __init__(self, columns: Mapping[str, Tensor | Column], ids: Tensor | None = None) -> None:
        self.columns: dict[str, Column] = {
            name: InMemory(column) if isinstance(column, Tensor) else column for name, column in columns.items()
        }
        self._ids = ids
        if not self.columns:
            raise TableError("a table without columns: give it inputs and targets")
        for name, column in self.columns.items():
            check_column(name, column)
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise TableError(f"columns have different numbers of rows ({said}): give each a value for every row")

    def __len__(self) -> int:
        """N, the rows."""
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            TableError: There is none.
        """
        if name not in self.columns:
            raise TableError(
                f"the rows have no column {name!r}, only {', '.join(self.columns)}: have the source give it"
            )
        return self.columns[name]

    def __getitem__(self, name: str) -> Tensor:
        """A column whole and in memory, not to be written into: [N, ...], or padded [N, T, ...] if it is ragged.

        Raises:
            TableError: There is none.
        """
        whole = self.column(name).whole()
        return whole.pad() if isinstance(whole, RaggedRows) else whole

    @property
    def ids(self) -> Tensor:
        """[N] int64: which row of the prepared split each row is, whatever rows were chosen of it since."""
        return torch.arange(len(self)) if self._ids is None else self._ids

    @property
    def is_ragged(self) -> bool:
        """Rows of a column differ in length."""
        return any(isinstance(column, Ragged) for column in self.columns.values())

    def longest_row(self, name: str) -> int | None:
        """Values of the longest row of a ragged column; None = its rows are of equal length.

        Example:
            >>> Table({"inputs": torch.rand(3, 2)}).longest_row("inputs")
        """
        column = self.column(name)
        if not isinstance(column, Ragged):
            return None
        return max(int(chunk[name].lengths.max()) for _, chunk in self.chunks(name))

    @property
    def groups(self) -> Tensor | None:
        """[N] int64, the group of each row; None = each row is a group of its own."""
        if GROUP not in self:
            return None
        return self[GROUP]

    def read(self, rows: Tensor) -> dict[str, Tensor | RaggedRows]:
        """Some rows of all columns.

        Args:
            rows: [B] int64, in [0, N).
        """
        return {name: column.take(rows) for name, column in self.columns.items()}

    def chunks(self, *names: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """All rows in order, a few megabytes at a time: the number of the first one, and the columns of that name.

        Raises:
            TableError: There is no column of a name.
        """
        columns = {name: self.column(name) for name in names}
        step = min(map(rows_per_chunk, columns.values()))
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield start, {name: column.slice(start, stop) for name, column in columns.items()}

    def select(self, rows: Tensor) -> Table:
        """These rows, in this order.

        Args:
            rows: [n] int64, in [0, N).
        """
        return Table({name: column.select(rows) for name, column in self.columns.items()}, self.ids[rows])

    def head(self, count: int) -> Table:
        """The first rows, or all if there are fewer."""
        return Table({name: column.head(count) for name, column in self.columns.items()}, self.ids[:count])

    def with_column(self, name: str, column: Tensor | Column) -> Table:
        """The same rows with one more column, or another one of that name."""
        return Table({**self.columns, name: column}, self._ids)


def check_column(name: str, column: Column) -> None:
    """The name can be a file's, and a ragged column in memory has offsets that fit its values.

    Raises:
        TableError: Not so.
    """
    if not name.isidentifier():
        raise TableError(f"a column is called {name!r}: letters, digits and underscores are expected, as in inputs")
    if isinstance(column, InMemory) and column.tensor.dim() == 0:
        raise TableError(f"column {name} is a single number: give it a value for every row")
    if not (isinstance(column, Ragged) and isinstance(column.offsets, InMemory)):
        return
    offsets = column.offsets.tensor
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or len(offsets) == 0:
        raise TableError(
            f"column {name} has offsets {offsets.dtype} {list(offsets.shape)}: [rows + 1] int64 is expected"
        )
    shrinks = (offsets.diff() < 0).nonzero().flatten()
    if len(shrinks):
        row = int(shrinks[0])
        raise TableError(
            f"column {name}: row {row} ends at {int(offsets[row + 1])}, before its start {int(offsets[row])}: offsets must "
            "not decrease"
        )
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(column.values):
        raise TableError(
            f"column {name}: offsets go from {int(offsets[0])} to {int(offsets[-1])}, and it has {len(column.values)} values: "
            f"they must go from 0 to {len(column.values)}"
        )


def sort_by_length(table: Table) -> Tensor:
    """[N] rows, the longest first, so that a batch holds little padding and memory is short at the beginning or never."""
    lengths = torch.zeros(len(table), dtype=torch.int64, device="cpu")
    for column in table.columns.values():
        if isinstance(column, Ragged):
            lengths = torch.maximum(lengths, column.whole().lengths)
    return torch.argsort(lengths, descending=True, stable=True)
