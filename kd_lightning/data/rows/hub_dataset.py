"""Rows of a data set of the ``datasets`` library: of a folder, or of the hub and its cache on this machine.

    hf:FOLDER                      of ``save_to_disk``, or of the .parquet, .csv, .jsonl files that ``load_dataset`` reads
    hf:OWNER/NAME                  of the hub
    hf:NAME@REVISION?SUBSET#SPLIT  which one, where there are several; without a split, the only one or that which trains

Rows are read a thousand at a time from the library's Arrow files. A class number is read as the class's name. The library runs
no code that comes with a data set (from its version 4 on), and nothing here would let it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kd_lightning.data.rows.values import HUB_PREFIX, SPLIT_NAMES
from kd_lightning.errors import ConfigError, DataFormatError, EmptyDatasetError, MissingExtraError, did_you_mean
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import file_digest

ADDRESS = re.compile(rf"{HUB_PREFIX}(.+?)(?:@([^@?#]+))?(?:\?([^?#]+))?(?:#([^#]+))?", re.DOTALL)
ROWS_OF_A_BATCH = 1024
SAVED_DATASET, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""What ``save_to_disk`` has written beside the rows of one split, or beside the folders of several."""
OFFLINE_VARIABLES = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE")


@dataclass(frozen=True)
class DatasetAddress:
    """Where the rows of a split are.

    Attributes:
        path: A folder, or a name of the hub.
        revision: Of the hub: a branch, tag or commit; None = the newest.
        subset: What the library calls a configuration; None = the only one.
        split: None = the only one, or that which trains.
    """

    path: str
    revision: str | None = None
    subset: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        more = (("@", self.revision), ("?", self.subset), ("#", self.split))
        return HUB_PREFIX + self.path + "".join(f"{mark}{value}" for mark, value in more if value is not None)

    @property
    def folder(self) -> Path | None:
        """None = it is a name of the hub."""
        path = Path(self.path).expanduser()
        return path if path.exists() or self.path.startswith((".", "/", "~")) else None


def parse_address(path: str | Path) -> DatasetAddress | None:
    """None = it is the path of a file or a folder of texts.

    Example:
        >>> parse_address("hf:glue@main?mrpc#validation")
        DatasetAddress(path='glue', revision='main', subset='mrpc', split='validation')
        >>> parse_address("reviews.csv"), str(parse_address("hf:a/b?c"))
        (None, 'hf:a/b?c')
    """
    found = ADDRESS.fullmatch(str(path))
    if not found:
        return None
    whole = DatasetAddress(*found.groups())
    at = f"{whole.path}@{whole.revision}"  # a folder may have any name
    return replace(whole, path=at, revision=None) if whole.revision and Path(at).exists() else whole


def read_dataset_rows(address: DatasetAddress) -> Iterator[tuple[int, dict[str, object]]]:
    """See ``kd_lightning.data.rows.read.read_rows``.

    Raises:
        KDError: As ``open_split``.
    """
    rows = open_split(address)
    names = {column: find_class_names(feature) for column, feature in rows.features.items()}
    named = {column: found for column, found in names.items() if found is not None}
    number = 0
    for batch in rows.with_format("arrow").iter(batch_size=ROWS_OF_A_BATCH):
        for row in batch.to_pylist():
            number += 1
            yield number, row | {column: name_class(row[column], found) for column, found in named.items()}


def find_class_names(feature: Any) -> list[str] | None:
    """Names of the classes of a column that holds class numbers, or lists of these; None = it holds something else."""
    inside = getattr(feature, "feature", feature)
    names = getattr(inside, "names", None)
    return list(map(str, names)) if names and hasattr(inside, "int2str") else None


def name_class(value: Any, names: list[str]) -> object:
    """A class number, or a list of them, as names; one that stands for no class, as the -1 of hidden test labels, as None.

    Example:
        >>> name_class([1, 0], ["no", "yes"]), name_class(-1, ["no", "yes"])
        (['yes', 'no'], None)
    """
    if isinstance(value, list):
        return [name_class(each, names) for each in value]
    return names[value] if value is not None and 0 <= value < len(names) else None


def read_class_order(address: DatasetAddress, column: object) -> list[str] | None:
    """The names of a column's classes as the data set numbers them; None = it does not.

    Raises:
        KDError: As ``open_split``.
    """
    features = open_split(address).features
    return find_class_names(features[column]) if column in features else None


def open_split(address: DatasetAddress) -> Any:
    """The rows of a split, a ``datasets.Dataset``.

    Raises:
        ConfigError: There is no such split, subset or revision.
        DataFormatError: The data set cannot be read.
        EmptyDatasetError: There is none.
        MissingExtraError: ``datasets`` is not installed.
    """
    splits = load_splits(address)
    if address.split is not None and address.split not in splits:
        listed = escape_unprintable(f"{address} has no split {address.split!r}, only {', '.join(splits)}")
        raise ConfigError(f"{listed}{did_you_mean(address.split, splits)}")
    return splits[address.split or choose_split(address, "train")]


def choose_split(address: DatasetAddress, split: str) -> str:
    """What the data set calls one of our splits.

    Raises:
        ConfigError: It has none.
        KDError: As ``open_split``.
    """
    splits = load_splits(address)
    found = find_split(splits, split)
    if found is None and split == "train" and len(splits) == 1:
        return next(iter(splits))
    if found is None:
        listed = escape_unprintable(f"{address} has the splits {', '.join(splits)}")
        raise ConfigError(f"{listed}: which one is for {split}? data.{split}_split=NAME")
    return found


def find_split(splits: dict[str, Any], split: str) -> str | None:
    """The name among the data set's that means one of our splits; None = there is none."""
    return next((name for name in splits if name.lower() in SPLIT_NAMES[split]), None)


def load_splits(address: DatasetAddress) -> dict[str, Any]:
    """All splits of a data set by name, of which nothing is read yet; of the address the split does not count."""
    folder = address.folder
    return _load_once(replace(address, split=None), None if folder is None else date_folder(folder))


@lru_cache(maxsize=16)
def _load_once(address: DatasetAddress, changed: tuple[int, int] | None) -> dict[str, Any]:
    """The library takes a second to find a data set."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError('datasets is not installed: pip install "kd-lightning[datasets]"') from error
    try:
        loaded = _load(datasets, address)
    except Exception as error:  # what the library raises has no common base
        raise explain_load_error(address, error) from error
    splits = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}
    if not splits:
        raise EmptyDatasetError(f"{escape_unprintable(str(address))} has no splits: give it rows")
    return splits


def _load(datasets: Any, address: DatasetAddress) -> Any:
    folder = address.folder
    if folder is None:
        return datasets.load_dataset(address.path, address.subset, revision=address.revision)
    if not folder.is_dir():
        raise FileNotFoundError("it is not a folder")
    datasets.disable_progress_bars()
    saved = any((folder / name).is_file() for name in (SAVED_DATASET, SAVED_SPLITS))
    return datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder), address.subset)


def explain_load_error(address: DatasetAddress, error: Exception) -> Exception:
    """What to do about it, in one line."""
    shown, reason = escape_unprintable(str(address)), escape_unprintable(take_first_line(error))
    offline = next(
        (name for name in OFFLINE_VARIABLES if os.environ.get(name, "0").lower() not in ("", "0", "false")), None
    )
    if address.folder is not None and not address.folder.exists():
        return EmptyDatasetError(f"{shown}: no such folder: correct the path")
    if address.folder is not None:
        return DataFormatError(
            f"{shown} cannot be read ({reason}): name a folder that save_to_disk has written, or one of .parquet, .csv or "
            ".jsonl files"
        )
    if isinstance(error, OSError) and offline is not None:
        return EmptyDatasetError(
            f"{shown} is no folder, and no data set of that name is in the cache of this machine: run once without "
            f"{offline}={os.environ[offline]}, or name a folder that save_to_disk has written"
        )
    if isinstance(error, ValueError):
        return ConfigError(f"{shown}: {reason}: set data.subset or data.revision")
    return EmptyDatasetError(f"{shown} is no folder, and cannot be had from the hub ({reason}): correct the name")


# -- what the rows are known by ---------------------------------------------------------------------------------------


def digest_dataset(address: DatasetAddress) -> str:
    """SHA-256 of the files that hold the rows; the library's own fingerprints change with the path and the time of a file."""
    digest = hashlib.sha256(f"{address.subset}#{address.split}\n".encode())
    if address.folder is not None:
        folder = address.folder
        load_splits(address)  # says what is wrong with it
        for path in list_data_files(folder):
            digest.update(os.fsencode(path.relative_to(folder)) + f"\0{file_digest(path)}\n".encode())
        return digest.hexdigest()
    for file in open_split(address).cache_files:
        digest.update(f"{file_digest(Path(file['filename']))}\n".encode())
    return digest.hexdigest()


def date_folder(folder: Path) -> tuple[int, int]:
    """Sizes and times of the files in a folder: others, if one has changed."""
    stats = [path.stat() for path in list_data_files(folder)]
    return hash(tuple(stat.st_size for stat in stats)), hash(tuple(stat.st_mtime_ns for stat in stats))


def list_data_files(folder: Path) -> list[Path]:
    """Sorted, without those that are hidden, or that the library makes while it reads."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path
        for path in found
        if not is_made_by_reading(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def is_made_by_reading(path: Path) -> bool:
    """The library has put the file beside rows that ``save_to_disk`` has written; anywhere else it is somebody's."""
    beside = any((path.parent / name).is_file() for name in (SAVED_DATASET, SAVED_SPLITS))
    return beside and path.name.startswith("cache-") and path.suffix == ".arrow"
