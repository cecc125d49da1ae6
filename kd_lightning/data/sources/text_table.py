"""Your own texts: a file with a text and a label (or several, or a number) in each row, split into train, val and test.

Validation and test rows come from files of their own (``val_path``, ``test_path``), or from ``path``: the rows that
``split_column`` names, or a share of the training rows, drawn by class (by rarest label, by size of the number), at random, by
``group``, or the latest by ``time``. A text that stands in two splits would be learned by heart before it is tested:
``duplicates`` says what is done with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.label_targets import RowTargets, check_labels, make_target_kind
from kd_lightning.data.labels import LABELED
from kd_lightning.data.leakage import SHARED_ROWS
from kd_lightning.data.row_splits import SPLIT_DRAWS, TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT, draw_groups, draw_latest
from kd_lightning.data.rows.content import date_rows, digest_rows
from kd_lightning.data.rows.label_readers import EMBEDDING, LABEL_SEPARATOR, REGRESSION, make_label_reader
from kd_lightning.data.rows.values import check_distinct_columns, hash_text
from kd_lightning.data.source import LABELS, NOTES, SPLITS, PreparedPieces
from kd_lightning.data.table import GROUP, Table
from kd_lightning.data.table_columns import choose_text_column
from kd_lightning.data.table_profile import TableProfile, profile_table
from kd_lightning.data.text_augmentation import read_text_augmentation
from kd_lightning.data.text_rows import UNLABELED, ColumnNames, TextRows, as_tensor
from kd_lightning.errors import ConfigError, EmptyDatasetError, did_you_mean
from kd_lightning.process.packaged import expand_packaged_path

ROWS_OF_A_PIECE = 2**14
RANDOM = "random"


@lru_cache(maxsize=32)
def _profile_once(path: Path, changed: tuple[int, int] | None, *how: Any) -> TableProfile:
    """The jobs of a sweep ask for the same file."""
    return profile_table(path, *how)


class TextTable:
    """Texts with labels in ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` files, or in folders of ``.txt`` files.

    Args:
        path: The file, or ``package:NAME/FILE`` = one inside an installed package; the others have the same columns, but for
            ``split_column`` and ``time``.
        text: Column of the texts.
        label: Column of the labels: words or whole numbers, or numbers; where a row has several labels, also a column for each
            that says 0 or 1; None for tasks without labels.
        text_pair: Column of second texts, for tasks on pairs; None = there is none.
        labels: Names in the order of class numbers; None = those of the training rows, sorted.
        val_path: File of the validation rows; None = from ``path``.
        test_path: File of the test rows; None = from ``path``.
        split: How rows are drawn for splits without a file: ``stratified`` = from each class alike (a class with fewer rows
            than splits is left to train), or by the rarest of several labels, or by size; ``random``, and so always without
            labels. Not read with ``group`` or ``time``.
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
        task: Name of the task: it says of what kind the labels are (``make_label_reader``).
        label_separator: Between the names of several labels in one value.
        synthetic: ``copies``, ``mask`` and ``cut`` of a ``TextAugmentation``: more training texts made of those that there are,
            whose label nobody reads; None = none.

    Raises:
        ConfigError: A setting is not possible, or two contradict each other.
    """

    def __init__(
        self,
        path: str,
        text: str,
        label: str | Sequence[str] | None = None,
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
        task: str = "text_classification",
        label_separator: str = LABEL_SEPARATOR,
        synthetic: Mapping[str, Any] | None = None,
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
        if task == EMBEDDING and text_pair is not None:
            raise ConfigError(
                "data.text_pair: an embedding is one text's, and kd eval compares those of pairs: set it to null"
            )
        reader = None if task == EMBEDDING else make_label_reader(task, label or (), label_separator)
        self.unread = [] if reader or label is None else ["data.label is not read: the task has no labels"]
        self.columns = ColumnNames(text, reader, text_pair, split_column, group, time)
        check_distinct_columns(dict(ColumnNames(text, reader, text_pair).by_setting()))
        self.kind = make_target_kind(task, reader, None if labels is None else check_labels(labels))
        files = {TRAIN_SPLIT: path, VAL_SPLIT: val_path, TEST_SPLIT: test_path, UNLABELED: unlabeled}
        self.files = {role: None if name is None else expand_packaged_path(name) for role, name in files.items()}
        self.split = RANDOM if reader is None else split  # without labels there are no classes to draw from alike
        self.shares = {VAL_SPLIT: val, TEST_SPLIT: test}
        self.split_seed = split_seed
        self.duplicates = duplicates
        self.delimiter = delimiter
        self.augmentation = read_text_augmentation(synthetic)
        if self.augmentation is not None and text_pair is not None:
            raise ConfigError(
                "data.synthetic makes single texts, and data.text_pair names second ones: set one of them to null"
            )

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The columns, labels, number of classes, and mean and spread of numbers, that the data's settings leave open.

        Args:
            settings: ``path``, ``text``, ``label``, ``text_pair``, ``labels``, ``num_classes``, ``delimiter``, ``task``,
                ``label_separator`` of the data.

        Raises:
            KDError: As ``profile_table``.
        """
        label = settings["label"]
        if settings["task"] == EMBEDDING:
            path = check_data_path(settings["path"])
            return {} if settings["text"] else {"text": choose_text_column(path, settings["delimiter"])}
        named = settings["labels"] is not None and settings["text"] is not None and label is not None
        if named and settings["task"] != REGRESSION:
            return {"num_classes": len(settings["labels"])}
        path, columns = check_data_path(settings["path"]), tuple(label) if isinstance(label, list) else label
        changed = date_rows(path)
        how = (settings[name] for name in ("text_pair", "delimiter", "task", "label_separator"))
        found = _profile_once(path, changed, settings["text"], columns, *how)
        opened = {"text": found.text, "label": found.label}
        if found.numbers is not None:
            return opened | {"num_classes": 1, "target_mean": found.numbers.mean, "target_std": found.numbers.std}
        labels = list(found.labels) if settings["labels"] is None else settings["labels"]
        return opened | {"labels": labels, "num_classes": len(labels)}

    def digest(self) -> str:
        digest = hashlib.sha256()
        for role, path in self.files.items():
            if path is not None:
                digest.update(f"{role} {digest_rows(Path(path))}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> PreparedPieces:
        rows = self.read_files()
        splits = self.draw_splits(rows)
        splits, shared = SHARED_ROWS[self.duplicates](rows, splits)
        check_rows_left(splits)
        splits = self.add_synthetic_texts(rows, splits)
        targets = self.kind.make(rows, splits)
        values = targets.values.clone()
        values[splits == UNLABELED] = 0
        pieces = self.make_pieces(rows, splits, values)
        return PreparedPieces(pieces, facts=self.list_facts(splits, targets, shared))

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
            drawn = SPLIT_DRAWS[self.split](self.kind.find_strata(rows)[train], shares, self.split_seed)
        splits[train] = drawn
        return splits

    def add_synthetic_texts(self, rows: TextRows, splits: Tensor) -> Tensor:
        """More rows without a label, none of which has a text that stands there already; the splits [N] int8 of all."""
        if self.augmentation is None:
            return splits
        seen = set(rows.keys)
        for row in ((splits == TRAIN_SPLIT) | (splits == UNLABELED)).nonzero().flatten().tolist():
            for text in self.augmentation.change(rows.texts[row], self.split_seed, row):
                key = hash_text(text, None)
                if key not in seen:
                    seen.add(key)
                    rows.append_unlabeled(text, key, row)
        return torch.cat([splits, splits.new_full((len(rows) - len(splits),), UNLABELED)])

    def make_pieces(self, rows: TextRows, splits: Tensor, targets: Tensor) -> Iterator[tuple[str, Table]]:
        """The columns of each split, some rows at a time: the texts stand in memory once."""
        has_unlabeled = bool((splits == UNLABELED).any())
        for number, split in enumerate(SPLITS):
            chosen = (splits == number) | ((splits == UNLABELED) & (number == TRAIN_SPLIT))
            for part in chosen.nonzero().flatten().split(ROWS_OF_A_PIECE):
                table = Table({"text": rows.texts.take(part), "targets": targets[part]})
                if self.columns.text_pair is not None:
                    table = table.with_column("text_pair", rows.pairs.take(part))
                if self.columns.group is not None:
                    table = table.with_column(GROUP, as_tensor(rows.groups)[part])
                if number == TRAIN_SPLIT and has_unlabeled:
                    table = table.with_column(LABELED, splits[part] != UNLABELED)
                yield split, table

    def list_facts(self, splits: Tensor, targets: RowTargets, shared: int) -> dict[str, Any]:
        """What the reader is told: labels, what is in each split, rows that stood in two splits, columns."""
        notes = list(self.unread)
        if shared:
            notes.append(f"{shared} rows have a text that stands in two splits (data.duplicates={self.duplicates})")
        return {
            **({LABELS: targets.names} if targets.names else {}),
            NOTES: [*notes, *targets.notes],
            "columns": {setting.removeprefix("data."): name for setting, name in self.columns.by_setting().items()},
            **targets.facts,
            "unlabeled rows": int((splits == UNLABELED).sum()),
            f"rows in two splits ({self.duplicates})": shared,
        }


def check_data_path(path: object) -> Path:
    """``data.path``.

    Raises:
        ConfigError: It is none.
        MissingExtraError: It names a package that is not installed.
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"data.path={path!r}: the path of a file or a folder is expected")
    return Path(expand_packaged_path(str(path)))


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
