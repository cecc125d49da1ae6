"""Classification of your own texts: a file with a text and a label in each row, split into train, val and test.

Validation and test rows come from files of their own (``val_path``, ``test_path``), or from ``path``: the rows that
``split_column`` names, or a share of the training rows, drawn by class, at random, by ``group``, or the latest by ``time``. A
text that stands in two splits would be learned by heart before it is tested: ``duplicates`` says what is done with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.labels import LABELED
from kd_lightning.data.leakage import SHARED_ROWS
from kd_lightning.data.row_splits import SPLIT_DRAWS, TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT, draw_groups, draw_latest
from kd_lightning.data.rows.values import check_distinct_columns, order_labels, parse_label_value
from kd_lightning.data.source import LABELS, NOTES, SPLITS, PreparedPieces
from kd_lightning.data.table import GROUP, Table
from kd_lightning.data.table_profile import TableProfile, profile_table
from kd_lightning.data.text_rows import UNLABELED, ColumnNames, TextRows, as_tensor
from kd_lightning.errors import ConfigError, EmptyDatasetError, LabelError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import file_digest

ROWS_OF_A_PIECE = 2**14


@lru_cache(maxsize=32)
def _profile_once(path: Path, changed: tuple[int, int] | None, *how: str | None) -> TableProfile:
    """The jobs of a sweep ask for the same file."""
    return profile_table(path, *how)


class TextTable:
    """Texts with labels in ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` files.

    Args:
        path: The file; the others have the same columns, but for ``split_column`` and ``time``.
        text: Column of the texts.
        label: Column of the labels: words or whole numbers.
        text_pair: Column of second texts, for tasks on pairs; None = there is none.
        labels: Names in the order of class numbers; None = those of the training rows, sorted.
        val_path: File of the validation rows; None = from ``path``.
        test_path: File of the test rows; None = from ``path``.
        split: How rows are drawn for splits without a file: ``stratified`` = from each class alike (a class with fewer rows
            than splits is left to train), ``random``. Not read with ``group`` or ``time``.
        split_column: Column that says train, val (or validation, dev) or test; a split that no row names is drawn from those
            that say train.
        group: Column whose rows of one value stay in one split, and are compared as one.
        time: Column of numbers or ISO dates: the latest rows are the test, those before them validation.
        val: Share of the rows, in (0, 1), for validation, where they are drawn.
        test: Share for the test.
        split_seed: Another seed, another draw.
        duplicates: Of texts that stand in two splits: ``drop`` = from the split that trains, first from train, then from val;
            ``refuse`` = an error; ``keep``. They are counted in the facts.
        unlabeled: File of more training rows, whose label nobody reads; None = there are none.
        delimiter: Between values of a CSV file; None = found out.

    Raises:
        ConfigError: A setting is not possible, or two contradict each other.
    """

    def __init__(
        self,
        path: str,
        text: str,
        label: str,
        text_pair: str | None = None,
        labels: Sequence[object] | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        split: str = "stratified",
        split_column: str | None = None,
        group: str | None = None,
        time: str | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
        duplicates: str = "drop",
        unlabeled: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
            raise ConfigError(f"data.val={val} data.test={test}: shares in (0, 1) that leave something to train on")
        check_choice("data.split", split, SPLIT_DRAWS)
        check_choice("data.duplicates", duplicates, SHARED_ROWS)
        check_exclusive({"split_column": split_column, "group": group, "time": time})
        for name, value in (("val_path", val_path), ("test_path", test_path)):
            check_exclusive({"split_column": split_column, name: value})
        if time is not None and val_path is not None and test_path is not None:
            raise ConfigError(
                "data.time, data.val_path and data.test_path leave no rows to split by time: set one to null"
            )
        self.columns = ColumnNames(text, label, text_pair, split_column, group, time)
        check_distinct_columns({"data.text": text, "data.label": label, "data.text_pair": text_pair})
        self.labels = None if labels is None else check_labels(labels)
        self.files = {TRAIN_SPLIT: path, VAL_SPLIT: val_path, TEST_SPLIT: test_path, UNLABELED: unlabeled}
        self.split = split
        self.shares = {VAL_SPLIT: val, TEST_SPLIT: test}
        self.split_seed = split_seed
        self.duplicates = duplicates
        self.delimiter = delimiter

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The columns, labels and number of classes that the data's settings leave open.

        Args:
            settings: ``path``, ``text``, ``label``, ``text_pair``, ``labels``, ``num_classes``, ``delimiter`` of the data.

        Raises:
            KDError: As ``profile_table``.
        """
        if settings["labels"] is not None and settings["text"] is not None and settings["label"] is not None:
            return {"num_classes": len(settings["labels"])}
        path, columns = Path(settings["path"]), (settings["text"], settings["label"], settings["text_pair"])
        stat = path.stat() if path.is_file() else None
        changed = (stat.st_size, stat.st_mtime_ns) if stat else None
        found = _profile_once(path, changed, *columns, settings["delimiter"])
        labels = list(found.labels) if settings["labels"] is None else settings["labels"]
        return {"text": found.text, "label": found.label, "labels": labels, "num_classes": len(labels)}

    def digest(self) -> str:
        digest = hashlib.sha256()
        for role, path in self.files.items():
            if path is not None:
                if not Path(path).is_file():
                    raise EmptyDatasetError(f"{escape_unprintable(path)} is not a file: name one that holds the rows")
                digest.update(f"{role} {file_digest(Path(path))}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> PreparedPieces:
        rows = self.read_files()
        splits = self.draw_splits(rows)
        splits, shared = SHARED_ROWS[self.duplicates](rows, splits)
        check_rows_left(splits)
        names = self.number_labels(rows, splits)
        numbers = torch.tensor([names.get(name, -1) for name in rows.label_names])
        targets = numbers[as_tensor(rows.labels)]
        check_training_labels(rows, splits, targets, list(names))
        pieces = self.make_pieces(rows, splits, torch.where(splits == UNLABELED, 0, targets))
        return PreparedPieces(pieces, facts=self.list_facts(splits, targets, list(names), shared))

    def read_files(self) -> TextRows:
        """All rows of all files."""
        rows, columns = TextRows(), self.columns
        others = ColumnNames(columns.text, columns.label, columns.text_pair, group=columns.group)
        read_of = {
            TRAIN_SPLIT: columns,
            VAL_SPLIT: others,
            TEST_SPLIT: others,
            UNLABELED: ColumnNames(columns.text, None, columns.text_pair),
        }
        for role, path in self.files.items():
            if path is not None:
                rows.read_file(Path(path), read_of[role], role, self.delimiter)
        return rows

    def draw_splits(self, rows: TextRows) -> Tensor:
        """[N] int8: of each row the split, or ``UNLABELED``; splits that have no rows yet are drawn from the training rows.

        Raises:
            EmptyDatasetError: There are too few rows to draw from, or none trains.
        """
        splits = as_tensor(rows.splits).to(torch.int8)
        if not (splits == TRAIN_SPLIT).any():  # only a split column can say so
            raise EmptyDatasetError(f"data.split_column={self.columns.split}: no row says train: have some rows say it")
        shares = {split: share for split, share in self.shares.items() if not (splits == split).any()}
        if not shares:
            return splits
        train = (splits == TRAIN_SPLIT).nonzero().flatten()
        if self.columns.time is not None:
            drawn = draw_latest(as_tensor(rows.times), shares)
        elif self.columns.group is not None:
            drawn = draw_groups(as_tensor(rows.groups)[train], shares, self.split_seed)
        else:
            drawn = SPLIT_DRAWS[self.split](as_tensor(rows.labels)[train], shares, self.split_seed)
        splits[train] = drawn
        return splits

    def number_labels(self, rows: TextRows, splits: Tensor) -> dict[str, int]:
        """Name of a class -> its number.

        Raises:
            LabelError: A label is not among those that were named, or all training rows have the same.
        """
        trained = as_tensor(rows.labels)[splits == TRAIN_SPLIT].unique().tolist()
        seen = list(rows.label_names)
        if len(trained) == 1:
            raise LabelError(
                f"all training rows have the label {escape_unprintable(seen[trained[0]])!r}: there is nothing to learn; is "
                f"{escape_unprintable(str(self.columns.label))} the label column?"
            )
        names = self.labels or order_labels(seen[number] for number in trained)
        unknown = [number for name, number in rows.label_names.items() if name not in names] if self.labels else []
        if unknown:
            row = int(((as_tensor(rows.labels) == unknown[0]) & (splits != UNLABELED)).nonzero()[0])
            name = seen[unknown[0]]
            raise LabelError(
                f"{rows.place(row)}: label {escape_unprintable(name)!r} is not one of data.labels="
                f"[{escape_unprintable(','.join(names))}]{did_you_mean(name, names)}; add it, or set data.labels=null"
            )
        return {name: number for number, name in enumerate(names)}

    def make_pieces(self, rows: TextRows, splits: Tensor, targets: Tensor) -> Iterator[tuple[str, Table]]:
        """The columns of each split, some rows at a time: the texts stand in memory once."""
        for number, split in enumerate(SPLITS):
            chosen = (splits == number) | ((splits == UNLABELED) & (number == TRAIN_SPLIT))
            for part in chosen.nonzero().flatten().split(ROWS_OF_A_PIECE):
                table = Table({"text": rows.texts.take(part), "targets": targets[part]})
                if self.columns.text_pair is not None:
                    table = table.with_column("text_pair", rows.pairs.take(part))
                if self.columns.group is not None:
                    table = table.with_column(GROUP, as_tensor(rows.groups)[part])
                if number == TRAIN_SPLIT and self.files[UNLABELED] is not None:
                    table = table.with_column(LABELED, splits[part] != UNLABELED)
                yield split, table

    def list_facts(self, splits: Tensor, targets: Tensor, names: list[str], shared: int) -> dict[str, Any]:
        """What the reader is told: classes, rows of each in each split, rows that stood in two splits, columns."""
        counts = {
            split: dict(
                zip(names, torch.bincount(targets[splits == number], minlength=len(names)).tolist(), strict=True)
            )
            for number, split in enumerate(SPLITS)
        }
        rare = [name for name in names if not counts["val"][name] and not counts["test"][name]]
        notes = []
        if shared:
            notes.append(f"{shared} rows have a text that stands in two splits (data.duplicates={self.duplicates})")
        if rare:
            notes.append(f"only in training, for lack of rows: {escape_unprintable(', '.join(rare))}")
        return {
            LABELS: names,
            NOTES: notes,
            "columns": {setting.removeprefix("data."): name for setting, name in self.columns.by_setting().items()},
            "rows": counts,
            "unlabeled rows": int((splits == UNLABELED).sum()),
            "only in training": rare,
            f"rows in two splits ({self.duplicates})": shared,
        }


def check_choice(setting: str, word: str, known: Iterable[str]) -> None:
    """A setting is one of a few words.

    Raises:
        ConfigError: It is another.
    """
    if word not in known:
        raise ConfigError(f"{setting}={word}: one of {', '.join(known)} is expected{did_you_mean(word, known)}")


def check_exclusive(settings: dict[str, str | None]) -> None:
    """At most one of the settings is given.

    Raises:
        ConfigError: More are.
    """
    given = [f"data.{name}" for name, value in settings.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both say which split a row belongs to: set one to null")


def check_rows_left(splits: Tensor, content: str = TextRows.content) -> None:
    """Every split has rows.

    Args:
        splits: [N] int8, of each row; those that were dropped have none.
        content: As in ``TextRows``.

    Raises:
        EmptyDatasetError: All rows of one were dropped.
    """
    for number, split in enumerate(SPLITS):
        if not (splits == number).any():
            raise EmptyDatasetError(
                f"every {split} row has the {content} of another split's row, so none is left: give the {split} split others, "
                "or set data.duplicates=keep"
            )


def check_labels(labels: Sequence[object]) -> list[str]:
    """Names of classes as the rows are read.

    Raises:
        ConfigError: There are fewer than two, or one stands twice.
        LabelError: One is no name.
    """
    names = [parse_label_value(label, "a name", "data.labels") for label in labels]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"data.labels=[{escape_unprintable(','.join(names))}]: two names or more, each once, are expected"
        )
    return names


def check_training_labels(rows: TextRows, splits: Tensor, targets: Tensor, names: list[str]) -> None:
    """Every label of val and test stands in a training row.

    Args:
        rows: All.
        splits: [N] int8, of each row.
        targets: [N] int64, class numbers; -1 = the label has none.
        names: Of the classes.

    Raises:
        LabelError: One does not, and no network could learn it.
    """
    trained = targets[splits == TRAIN_SPLIT].unique()
    bad = ((splits == VAL_SPLIT) | (splits == TEST_SPLIT)) & ~torch.isin(targets, trained)
    if bad.any():
        row = int(bad.nonzero()[0])
        name = list(rows.label_names)[rows.labels[row]]
        raise LabelError(
            f"{rows.place(row)}: label {escape_unprintable(name)!r} of the {SPLITS[int(splits[row])]} split stands in no "
            f"training row{did_you_mean(name, names)}; give rows of it to train on, or remove it"
        )
