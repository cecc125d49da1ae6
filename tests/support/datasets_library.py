"""Data sets of the ``datasets`` library, made in memory and saved to folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLASSES = ("pos", "neg")
"""In an order that is not the alphabet's."""


def list_rows(count: int, begin: str = "film") -> dict[str, list[Any]]:
    """Columns of rows whose text says which class they are of."""
    labels = [number % 2 for number in range(count)]
    return {"body": [f"{begin} {n} {('good', 'bad')[label]}" for n, label in enumerate(labels)], "kind": labels}


def save_dataset(
    folder: Path, splits: Mapping[str, Mapping[str, Sequence[Any]]], classes: Sequence[str] | None = CLASSES
) -> Path:
    """A folder of ``save_to_disk``; ``classes`` are the names of the numbers in the column ``kind``."""
    import datasets

    made = {}
    for name, columns in splits.items():
        rows = datasets.Dataset.from_dict(dict(columns))
        made[name] = rows if classes is None else rows.cast_column("kind", datasets.ClassLabel(names=list(classes)))
    datasets.disable_progress_bars()
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return folder
