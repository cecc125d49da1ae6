"""Labels of a table's rows as targets: class numbers, several labels a row, or quantities.

one class       [N] int64
several labels  [N, C] uint8, 1 = the row has the label
a number        [N] float32
no label        [N] float32, zeros
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.row_splits import TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from kd_lightning.data.rows.label_readers import MULTI_LABEL, REGRESSION, LabelReader
from kd_lightning.data.rows.values import parse_label_value
from kd_lightning.data.source import SPLITS
from kd_lightning.data.text_rows import UNLABELED, TextRows, as_tensor
from kd_lightning.errors import ConfigError, LabelError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable

STRATA = 10
"""Parts of equal size into which numbers are cut, so that each split has of each."""


@dataclass(frozen=True)
class RowTargets:
    """Targets of all rows, and what is said of them.

    Attributes:
        values: [N, ...]; see the head of this file. Anything for rows without a label.
        names: Of the classes or labels, in the order of their numbers; empty = they have none.
        facts: For the reader.
        notes: Sentences that whoever trains on the rows should read.
    """

    values: Tensor
    names: list[str]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


class ClassTargets:
    """One class a row.

    Args:
        reader: Reads the labels.
        given: Names in the order of their numbers; None = those of the training rows.
    """

    def __init__(self, reader: LabelReader, given: list[str] | None = None) -> None:
        self.reader = reader
        self.given = given

    def find_strata(self, rows: TextRows) -> Tensor:
        """[N] int64: rows of one number are shared out to the splits alike."""
        return as_tensor(rows.labels)

    def encode(self, values: Sequence[Any], names: Sequence[str]) -> Tensor:
        """The targets of labels; -1 for a class that is not among the names."""
        numbers = {name: number for number, name in enumerate(names)}
        return torch.tensor([numbers.get(value, -1) for value in values], dtype=torch.int64)

    def make(self, rows: TextRows, splits: Tensor) -> RowTargets:
        """Of all rows.

        Args:
            rows: Read by the reader.
            splits: [N] int8, of each row.

        Raises:
            LabelError: A label is not among those that were named, stands in no training row, or there is nothing to learn.
        """
        values, labels = list(rows.label_values), as_tensor(rows.labels)
        check_labels_differ(values, labels[splits == TRAIN_SPLIT], self.reader)
        names = self._choose_names(rows, splits)
        numbers = {name: number for number, name in enumerate(names)}
        owned = [[numbers.get(name, -1) for name in self.reader.list_names(value)] for value in values]
        of_value = torch.tensor([number for number, each in enumerate(owned) for _ in each], dtype=torch.int64)
        of_name = torch.tensor([name for each in owned for name in each], dtype=torch.int64)
        counts = {
            split: count_rows(labels[splits == number], of_value, of_name, len(names))
            for number, split in enumerate(SPLITS)
        }
        self._check_trained(rows, splits, names, counts["train"])
        rare = [n for i, n in enumerate(names) if not counts["val"][i] and not counts["test"][i]]
        notes = [f"only in training, for lack of rows: {escape_unprintable(', '.join(rare))}"] if rare else []
        by_split = {split: dict(zip(names, found.tolist(), strict=True)) for split, found in counts.items()}
        facts = {"rows": by_split, "only in training": rare}
        return RowTargets(self.encode(values, names)[labels], names, facts, notes)

    def _choose_names(self, rows: TextRows, splits: Tensor) -> list[str]:
        values, labels = list(rows.label_values), as_tensor(rows.labels)
        trained = labels[splits == TRAIN_SPLIT].unique().tolist()
        seen = {name for number in trained for name in self.reader.list_names(values[number])}
        names = self.given or self.reader.order_names(seen)
        found = find_unknown(self.reader, rows, splits != UNLABELED, names) if self.given is not None else None
        if found is not None:
            row, name = found
            raise LabelError(
                f"{rows.place(row)}: label {escape_unprintable(name)!r} is not one of data.labels="
                f"[{escape_unprintable(','.join(names))}]{did_you_mean(name, names)}; add it, or set data.labels=null"
            )
        return names

    def _check_trained(self, rows: TextRows, splits: Tensor, names: list[str], train: Tensor) -> None:
        """Every label of val and test stands in a training row: no network could learn another."""
        known = {name for name, count in zip(names, train.tolist(), strict=True) if count}
        found = find_unknown(self.reader, rows, (splits == VAL_SPLIT) | (splits == TEST_SPLIT), known)
        if found is not None:
            row, name = found
            raise LabelError(
                f"{rows.place(row)}: label {escape_unprintable(name)!r} of the {SPLITS[int(splits[row])]} split stands in no "
                f"training row{did_you_mean(name, names)}; give rows of it to train on, or remove it"
            )


class SetTargets(ClassTargets):
    """Several labels a row, or none."""

    def find_strata(self, rows: TextRows) -> Tensor:
        """By a row's rarest label, so that a label with few rows has some in each split; rows without one are alike."""
        values, labels = list(rows.label_values), as_tensor(rows.labels)
        labeled = as_tensor(rows.splits) != UNLABELED
        counts: dict[str, int] = {}
        for value, count in zip(values, torch.bincount(labels[labeled], minlength=len(values)).tolist(), strict=True):
            for name in self.reader.list_names(value):
                counts[name] = counts.get(name, 0) + count
        numbers = {name: number for number, name in enumerate(sorted(counts, key=lambda name: (counts[name], name)), 1)}
        rarest = [min((numbers[name] for name in self.reader.list_names(value)), default=0) for value in values]
        return torch.tensor(rarest, dtype=torch.int64)[labels]

    def encode(self, values: Sequence[Any], names: Sequence[str]) -> Tensor:
        numbers = {name: number for number, name in enumerate(names)}
        targets = torch.zeros(len(values), len(names), dtype=torch.uint8)
        for row, value in zip(targets, values, strict=True):
            row[[numbers[name] for name in self.reader.list_names(value) if name in numbers]] = 1
        return targets

    def make(self, rows: TextRows, splits: Tensor) -> RowTargets:
        made = super().make(rows, splits)
        if len(made.names) < 2:
            raise LabelError(
                f"the training rows have the one label {escape_unprintable(', '.join(made.names))!r}: several are expected; is "
                "data.label_separator what stands between two labels?"
            )
        if int(made.values.sum(dim=1, dtype=torch.int64).max()) < 2:
            made.notes.append("no row has more than one label: is data.label_separator what stands between two?")
        return made


class NumberTargets(ClassTargets):
    """A number a row."""

    def find_strata(self, rows: TextRows) -> Tensor:
        """By size: parts of the rows from the smallest numbers to the largest, as many rows in each."""
        labeled = as_tensor(rows.splits) != UNLABELED
        numbers = self.encode(list(rows.label_values), ())[as_tensor(rows.labels)[labeled]]
        rank = torch.empty(len(numbers), dtype=torch.int64)
        rank[torch.argsort(numbers, stable=True)] = torch.arange(len(numbers))
        parts = max(1, min(STRATA, len(numbers) // (2 * len(SPLITS))))
        strata = torch.zeros(len(rows), dtype=torch.int64)
        strata[labeled] = rank * parts // len(numbers)
        return strata

    def encode(self, values: Sequence[Any], names: Sequence[str]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)

    def make(self, rows: TextRows, splits: Tensor) -> RowTargets:
        if self.given is not None:
            raise ConfigError("data.labels names classes, and the task asks for a number: set data.labels=null")
        values, labels = list(rows.label_values), as_tensor(rows.labels)
        check_labels_differ(values, labels[splits == TRAIN_SPLIT], self.reader)
        targets = self.encode(values, ())[labels]
        train = targets[splits == TRAIN_SPLIT].double()
        facts = {"mean": train.mean(), "std": train.std(correction=0), "min": train.min(), "max": train.max()}
        return RowTargets(targets, [], {"training targets": {name: float(value) for name, value in facts.items()}})


class NoTargets(ClassTargets):
    """Nothing: what is right for a row is what the teacher says of it."""

    def __init__(self) -> None:
        self.given = None

    def find_strata(self, rows: TextRows) -> Tensor:
        return torch.zeros(len(rows), dtype=torch.int64)

    def make(self, rows: TextRows, splits: Tensor) -> RowTargets:
        return RowTargets(torch.zeros(len(rows)), [], {})


TARGET_KINDS: dict[str, type[ClassTargets]] = {MULTI_LABEL: SetTargets, REGRESSION: NumberTargets}
"""Name of a task -> what makes its targets; all others have one class a row."""


def make_target_kind(task: str, reader: LabelReader | None, given: list[str] | None) -> ClassTargets:
    """What makes the targets of a task, by its name; without a reader, none. ``given`` as in ``ClassTargets``."""
    if reader is None:
        return NoTargets()
    return TARGET_KINDS.get(task, ClassTargets)(reader, given)


def count_rows(labels: Tensor, of_value: Tensor, of_name: Tensor, names: int) -> Tensor:
    """[names] int64: rows of each name.

    Args:
        labels: [n] int64 number of each row's value.
        of_value: [p] int64, of each pair of a value and a name that it has, the value.
        of_name: [p] int64, the name; -1 = it counts nowhere.
        names: How many.
    """
    rows = torch.bincount(labels, minlength=int(of_value.max()) + 1 if len(of_value) else 1)
    known = of_name >= 0
    return torch.zeros(names, dtype=torch.int64).index_add_(0, of_name[known], rows[of_value[known]])


def find_unknown(reader: LabelReader, rows: TextRows, chosen: Tensor, known: Container[str]) -> tuple[int, str] | None:
    """The first of the chosen rows [N] bool that has a name which is not known, and the name; None = there is none."""
    names = {
        number: name
        for value, number in rows.label_values.items()
        for name in reader.list_names(value)
        if name not in known
    }
    if not names:
        return None
    labels = as_tensor(rows.labels)
    bad = (chosen & torch.isin(labels, torch.tensor(list(names)))).nonzero().flatten()
    return (int(bad[0]), names[int(labels[bad[0]])]) if len(bad) else None


def check_labels_differ(values: Sequence[Hashable], trained: Tensor, reader: LabelReader) -> None:
    """The training rows [n] int64, by number of their value, have not all the same label.

    Raises:
        LabelError: They have.
    """
    present = trained.unique().tolist()
    if len(present) == 1:
        value = values[present[0]]
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        raise LabelError(
            f"all training rows have the label {escape_unprintable(shown)!r}: there is nothing to learn; is "
            f"{escape_unprintable(', '.join(reader.columns))} the label column?"
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
