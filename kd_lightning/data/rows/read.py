"""Rows of a table in a file, one at a time, each with the place it comes from.

    .csv .tsv .jsonl      also gzipped, as .csv.gz
    .parquet              with pyarrow
    a folder              of texts, FOLDER/CLASS/*.txt
    hf:...                of a data set of the ``datasets`` library: ``data/rows/hub_dataset.py``

Files are read with the standard library: errors name path and line, and no word of a text is taken for a missing value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kd_lightning.data.rows.delimited import read_csv_rows, read_tsv_rows
from kd_lightning.data.rows.hub_dataset import parse_address, read_dataset_rows
from kd_lightning.data.rows.json_lines import read_json_rows
from kd_lightning.data.rows.lines import GZIP, OnMisfit, raise_misfit
from kd_lightning.data.rows.parquet import read_parquet_rows
from kd_lightning.data.rows.text_folder import read_text_folder
from kd_lightning.errors import ConfigError, EmptyDatasetError
from kd_lightning.safety.terminal import escape_unprintable

DELIMITED = {".csv": read_csv_rows, ".tsv": read_tsv_rows}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = ".parquet"


def read_rows(
    path: str | Path, delimiter: str | None = None, on_misfit: OnMisfit = raise_misfit
) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows, each with the number of the line where it begins; of rows without lines, with its own number.

    Args:
        path: The file, whose name's end tells the format, or a folder, or the address of a data set.
        delimiter: Between the values of a CSV file; None = a comma, or the semicolon or tab of a header without commas.
        on_misfit: Told of each row with more or fewer values, or other keys, than the others; unless it raises, the row comes
            with what is known of it.

    Returns:
        Numbers from 1 up, and column -> value: text in CSV files, any JSON value otherwise.

    Raises:
        ConfigError: The name ends in nothing known, or a delimiter is given for a file that has none.
        DataFormatError: The file is not what its format asks for; names the line.
        EmptyDatasetError: There is no file, or no row in it.
        MissingExtraError: A package that reads the format is not installed.
    """
    path = Path(path)
    rows = open_table(path, delimiter, on_misfit)
    first = next(rows, None)
    if first is None:
        raise EmptyDatasetError(f"{escape_unprintable(str(path))} has no rows: give it some")
    yield first
    yield from rows


def open_table(
    path: Path, delimiter: str | None, on_misfit: OnMisfit = raise_misfit
) -> Iterator[tuple[int, dict[str, object]]]:
    """As ``read_rows``, of a file that may be empty."""
    shown, lower = escape_unprintable(str(path)), path.name.lower()
    address = parse_address(path)
    if address is not None:
        refuse_delimiter(delimiter, shown)
        return read_dataset_rows(address)
    if delimiter is None and path.is_dir():
        return read_text_folder(path)
    if not path.is_file():
        raise EmptyDatasetError(
            f"{shown} is not a file: name a .csv, .tsv, .jsonl or .parquet file, or a folder with one of .txt files a class"
        )
    ending = Path(lower.removesuffix(GZIP)).suffix
    if ending in DELIMITED:
        return DELIMITED[ending](path, delimiter, on_misfit)
    if ending not in JSON_LINES and (ending != PARQUET or lower.endswith(GZIP)):
        raise ConfigError(
            f"{shown}: a name that ends in .csv, .tsv, .jsonl or .parquet is expected (.csv.gz, .tsv.gz, .jsonl.gz too)"
        )
    refuse_delimiter(delimiter, shown)
    return read_parquet_rows(path) if ending == PARQUET else read_json_rows(path, on_misfit)


def refuse_delimiter(delimiter: str | None, shown: str) -> None:
    """Nothing stands between the values of such rows.

    Raises:
        ConfigError: A delimiter is given.
    """
    if delimiter is not None:
        raise ConfigError(f"data.delimiter={delimiter!r} is of CSV files, and {shown} is none: leave it out")
