"""Rows of a Parquet file, which has no lines: rows are counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kd_lightning.errors import DataFormatError, MissingExtraError
from kd_lightning.safety.terminal import escape_unprintable

ROWS_AT_A_TIME = 1024


def read_parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """See ``kd_lightning.data.rows.read.read_rows``.

    Raises:
        DataFormatError: The file is damaged, or two columns have one name.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError('pyarrow is not installed: pip install "kd-lightning[tables]"') from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DataFormatError(f"{escape_unprintable(f'{path}: two columns are called {twice!r}')}: rename one")
            for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        reason = escape_unprintable(f"{path} cannot be read after row {number}: {str(error).splitlines()[0]}")
        raise DataFormatError(f"{reason}; write or copy it again") from error
