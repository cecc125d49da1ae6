"""Prepared rows on disk: one safetensors file for each column of each split, the tokenizer, the facts.

    data.json                           facts, and the rows' fingerprint
    SPLIT.COLUMN.safetensors            one tensor [N, ...] called COLUMN
    SPLIT.COLUMN.values.safetensors     of a ragged column: [V, ...]
    SPLIT.COLUMN.offsets.safetensors    [N + 1] int64

A file for each column can be written piece by piece, without knowing how many rows there will be, and a column is one run of
bytes, which can be mapped into memory.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.data.columns import Column, InMemory, Mapped, Ragged, bytes_per_row, rows_per_chunk, view_bytes
from kd_lightning.data.source import Prepared, PreparedPieces
from kd_lightning.data.table import Table
from kd_lightning.errors import TableError
from kd_lightning.store import TEMPORARY, Entry, publish, publish_file, publish_json, write_error

VALUES, OFFSETS = "values", "offsets"
SUFFIX = ".safetensors"
HEADER = 256
"""Bytes, and more for long names: kept free for the header, which says how many rows there are and is written last."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By their names in a safetensors file."""


def write_prepared(entry: Entry, prepared: Prepared | PreparedPieces) -> None:
    """Put the rows into the entry and declare it whole.

    Raises:
        CheckpointWriteError: The disk refused.
        TableError: The pieces of a split do not go together, or numbers are of a type that cannot be stored.
    """
    pieces = prepared.splits.items() if isinstance(prepared, Prepared) else prepared.pieces
    files = write_pieces(entry, pieces)
    publish(entry.path("tokenizer.json"), prepared.tokenizer)
    written = Prepared(read_tables(entry.folder, mapped=True), prepared.tokenizer, prepared.facts)
    publish_json(entry.path("data.json"), {"fingerprint": written.fingerprint(), "facts": prepared.facts})
    entry.finish(["data.json", "tokenizer.json", *files])


def read_prepared(entry: Entry, memory_map_above: float | None = None) -> tuple[Prepared, str]:
    """The rows of a whole entry and their fingerprint.

    Args:
        entry: Whole.
        memory_map_above: Rows of more bytes than that, all splits together, stay in their files; None = none do.
    """
    described = json.loads(entry.path("data.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in entry.folder.glob(f"*{SUFFIX}"))
    tables = read_tables(entry.folder, mapped=memory_map_above is not None and size > memory_map_above)
    prepared = Prepared(tables, entry.path("tokenizer.json").read_text(encoding="utf-8"), described["facts"])
    return prepared, described["fingerprint"]


# -- writing ----------------------------------------------------------------------------------------------------------


def write_pieces(entry: Entry, pieces: Iterable[tuple[str, Table]]) -> list[str]:
    """Write the columns of all splits; the names of the files.

    Raises:
        CheckpointWriteError: The disk refused.
        TableError: See ``write_prepared``.
    """
    splits: dict[str, dict[str, ColumnWriter]] = {}
    with ExitStack() as files:  # a source that fails in between leaves no file open
        for split, table in pieces:
            if split not in splits:
                splits[split] = {
                    name: ColumnWriter(entry, f"{split}.{name}", column, files)
                    for name, column in table.columns.items()
                }
            writers = splits[split]
            if writers.keys() != table.columns.keys():
                raise TableError(
                    f"a piece of the {split} split has the columns {', '.join(table.columns)}, those before it "
                    f"{', '.join(writers)}: give all pieces the same"
                )
            for name, column in table.columns.items():
                writers[name].append(column)
        return [file for writers in splits.values() for writer in writers.values() for file in writer.finish()]


class ColumnWriter:
    """Writes a column piece by piece.

    Args:
        entry: The folder; its lock is held.
        name: ``SPLIT.COLUMN``.
        like: A piece of it: fixed or ragged, the type and a row's shape.
        files: Closes what is open when something fails.
    """

    def __init__(self, entry: Entry, name: str, like: Column, files: ExitStack) -> None:
        self.name = name
        self.kind = _describe(like)
        self.written = 0
        if not isinstance(like, Ragged):
            self.values = TensorWriter(entry, name, like.dtype, like.row_shape, files)
            return
        self.values = TensorWriter(entry, f"{name}.{VALUES}", like.dtype, like.row_shape, files)
        self.offsets = TensorWriter(entry, f"{name}.{OFFSETS}", torch.int64, (), files)
        self.offsets.append(torch.zeros(1, dtype=torch.int64))

    def append(self, column: Column) -> None:
        """Add the rows of a piece.

        Raises:
            TableError: It is another kind of column.
        """
        if _describe(column) != self.kind:
            raise TableError(
                f"a piece of {self.name} is {_describe(column)}, those before it {self.kind}: give all pieces the same "
                "type and shape"
            )
        step = rows_per_chunk(column)
        for start in range(0, len(column), step):
            stop = min(start + step, len(column))
            if isinstance(column, Ragged):
                rows = column.slice(start, stop)
                self.values.append(rows.values)
                self.offsets.append(self.written + rows.lengths.cumsum(0))
                self.written += len(rows.values)
            else:
                self.values.append(column.slice(start, stop))

    def finish(self) -> list[str]:
        """Publish; the names of the files."""
        return [self.values.finish(), *([self.offsets.finish()] if self.kind.startswith("ragged") else [])]


class TensorWriter:
    """Writes a safetensors file of one tensor whose first dimension is not known before its end.

    Args:
        entry: The folder.
        name: Of the file, without its suffix.
        dtype: Of the numbers.
        row_shape: Of the tensor without its first dimension.
        files: Closes the file when something fails.

    Raises:
        CheckpointWriteError: The disk refused.
        TableError: Numbers of this type cannot be stored.
    """

    def __init__(
        self, entry: Entry, name: str, dtype: torch.dtype, row_shape: tuple[int, ...], files: ExitStack
    ) -> None:
        names = {dtype: name for name, dtype in DTYPES.items()}
        if dtype not in names:
            raise TableError(f"{name} is {dtype}, which cannot be stored: use one of {', '.join(map(str, names))}")
        self.path = entry.path(f"{name}{SUFFIX}")
        self.dtype = names[dtype]
        self.row_shape = row_shape
        self.bytes_per_row = bytes_per_row(dtype, row_shape)
        self.rows = 0
        self.header = HEADER + len(name) // 8 * 8
        self.draft = self.path.with_name(f"{TEMPORARY}{os.getpid()}-{self.path.name}")
        try:
            self.file: BinaryIO = files.enter_context(self.draft.open("xb"))
            self.file.write(bytes(self.header))
        except OSError as error:
            raise write_error(self.path, error) from error

    def append(self, tensor: Tensor) -> None:
        """Add rows [n, ...].

        Raises:
            CheckpointWriteError: The disk refused.
        """
        try:
            self.file.write(view_bytes(tensor))
        except OSError as error:
            raise write_error(self.path, error) from error
        self.rows += len(tensor)

    def finish(self) -> str:
        """Write the header and publish; the file's name.

        Raises:
            CheckpointWriteError: The disk refused.
        """
        tensor = self.path.name.removesuffix(SUFFIX).split(".")[-1]
        place = {
            "dtype": self.dtype,
            "shape": [self.rows, *self.row_shape],
            "data_offsets": [0, self.rows * self.bytes_per_row],
        }
        # Spaces may follow the header: so it fills its place, and the numbers begin at a multiple of 8 bytes.
        text = json.dumps({tensor: place}).encode().ljust(self.header - 8)
        assert len(text) == self.header - 8, "more digits than a disk has bytes"
        try:
            with self.file:
                self.file.seek(0)
                self.file.write(struct.pack("<Q", len(text)) + text)
        except OSError as error:
            raise write_error(self.path, error) from error
        publish_file(self.draft, self.path)
        return self.path.name


def _describe(column: Column) -> str:
    """Pieces of a column must agree in it."""
    return f"{'ragged ' if isinstance(column, Ragged) else ''}{column.dtype} rows of shape {list(column.row_shape)}"


# -- reading ----------------------------------------------------------------------------------------------------------


def read_tables(folder: Path, mapped: bool) -> dict[str, Table]:
    """The splits of an entry's folder.

    Args:
        folder: Of files that ``write_pieces`` has written.
        mapped: Leave the columns in their files; else they are read.
    """
    parts: dict[str, dict[str, InMemory | Mapped]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        split, _, name = path.name.removesuffix(SUFFIX).partition(".")
        parts.setdefault(split, {})[name] = map_tensor(path) if mapped else InMemory(*load_file(path).values())
    return {split: Table(_join_parts(found)) for split, found in parts.items()}


def _join_parts(parts: Mapping[str, InMemory | Mapped]) -> dict[str, Column]:
    """Columns from what the files hold: ``inputs``, or ``inputs.values`` and ``inputs.offsets``."""
    names = dict.fromkeys(name.partition(".")[0] for name in parts)
    return {
        name: parts[name] if name in parts else Ragged(parts[f"{name}.{VALUES}"], parts[f"{name}.{OFFSETS}"])
        for name in names
    }


def map_tensor(path: Path) -> Mapped:
    """The only tensor of a safetensors file, left where it is."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        ((_, place),) = json.loads(file.read(length)).items()
    first, _ = place["data_offsets"]
    return Mapped(path, 8 + length + first, DTYPES[place["dtype"]], tuple(place["shape"]))
