"""Rows of a table in a file, one at a time, each with the place it comes from.

    .csv .tsv .jsonl      also gzipped, as .csv.gz
    .parquet              with pyarrow

Read with the standard library: errors name path and line, and no word of a text is taken for a missing value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kd_lightning.data.rows.delimited import read_csv_rows, read_tsv_rows
from kd_lightning.data.rows.json_lines import read_json_rows
from kd_lightning.data.rows.lines import GZIP
from kd_lightning.data.rows.parquet import read_parquet_rows
from kd_lightning.errors import ConfigError, EmptyDatasetError
from kd_lightning.safety.terminal import escape_unprintable

RowReader = Callable[[Path], Iterator[tuple[int, dict[str, object]]]]

DELIMITED = {".csv": read_csv_rows, ".tsv": read_tsv_rows}
JSON_LINES: dict[str, RowReader] = dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_rows)
PARQUET: dict[str, RowReader] = {".parquet": read_parquet_rows}


def read_rows(path: str | Path, delimiter: str | None = None) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows, each with the number of the line where it begins; of Parquet, with its own number.

    Args:
        path: The file; its name's end tells the format.
        delimiter: Between the values of a CSV file; None = a comma, or the semicolon or tab of a header without commas.

    Returns:
        Numbers from 1 up, and column -> value: text in CSV files, any JSON value otherwise.

    Raises:
        ConfigError: The name ends in nothing known, or a delimiter is given for a file that has none.
        DataFormatError: The file is not what its format asks for; names the line.
        EmptyDatasetError: There is no file, or no row in it.
        MissingExtraError: A package that reads the format is not installed.
    """
    path = Path(path)
    rows = open_table(path, delimiter)
    first = next(rows, None)
    if first is None:
        raise EmptyDatasetError(f"{escape_unprintable(str(path))} has no rows: give it some")
    yield first
    yield from rows


def open_table(path: Path, delimiter: str | None) -> Iterator[tuple[int, dict[str, object]]]:
    """As ``read_rows``, of a file that may be empty."""
    shown, lower = escape_unprintable(str(path)), path.name.lower()
    if not path.is_file():
        raise EmptyDatasetError(f"{shown} is not a file: name a .csv, .tsv, .jsonl or .parquet file")
    ending = Path(lower.removesuffix(GZIP)).suffix
    if ending in DELIMITED:
        return DELIMITED[ending](path, delimiter)
    readers = JSON_LINES if lower.endswith(GZIP) else JSON_LINES | PARQUET
    if ending not in readers:
        raise ConfigError(
            f"{shown}: a name that ends in .csv, .tsv, .jsonl or .parquet is expected (.csv.gz, .tsv.gz, .jsonl.gz too)"
        )
    if delimiter is not None:
        raise ConfigError(f"data.delimiter={delimiter!r} is of CSV files, and {shown} is none: leave it out")
    return readers[ending](path)
