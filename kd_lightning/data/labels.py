"""Which labels a training may read, and how often each class is among them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kd_lightning.data.checks import align_mask, target_column_names
from kd_lightning.data.columns import Ragged, RaggedRows
from kd_lightning.data.table import Table
from kd_lightning.errors import ClassMismatchError, ConfigError
from kd_lightning.seeds import derive_seed

LABELED = "labeled"
"""The column that says whose label may be read, of training rows where not all may."""


def readable_targets(table: Table) -> Iterator[Tensor]:
    """The targets [n] int64 that count, of rows whose label may be read; a few megabytes of rows at a time.

    Args:
        table: ``targets``, and where needed ``mask`` and ``labeled`` ([N] bool).
    """
    flags = (LABELED,) if LABELED in table else ()
    for first, chunk in table.chunks(*target_column_names(table), *flags):
        targets, counts = align_mask("training", first, chunk)
        if flags:
            labeled, raw = chunk[LABELED], chunk["targets"]
            if isinstance(raw, RaggedRows):
                labeled = torch.repeat_interleave(labeled, raw.lengths)
            counts = counts & labeled.reshape(-1, *(1,) * (targets.dim() - 1))
        yield targets[counts].long()


def class_rows(table: Table, num_classes: int) -> Tensor:
    """How often each class is among the readable targets.

    Args:
        table: As in ``readable_targets``.
        num_classes: C.

    Returns:
        [C] int64; 0 where targets are quantities.

    Example:
        >>> flags = torch.tensor([True, True, False, True])
        >>> class_rows(Table({"targets": torch.tensor([0, 2, 2, 2]), "labeled": flags}), 4)
        tensor([1, 0, 2, 0])
    """
    counts = torch.zeros(num_classes, dtype=torch.int64)
    if table.column("targets").dtype.is_floating_point:
        return counts
    for targets in readable_targets(table):
        counts += torch.bincount(targets, minlength=num_classes)
    return counts


def flag_labeled_rows(table: Table, count: int | None, seed: int) -> Tensor | None:
    """Which rows have a label that may be read, [N] bool; None = all.

    Args:
        table: Training rows; those of a transfer set have ``labeled`` False already.
        count: How many keep it, drawn as in ``labeled_rows``; None = all that have one. Targets are read where each row has
            one, and no others.
        seed: As in ``labeled_rows``.

    Raises:
        ConfigError: ``count`` is not possible.
    """
    if count is None:
        return table[LABELED] if LABELED in table else None  # noqa: SIM401  # a table has no `get`
    targets = table["targets"] if has_one_class_each(table) else torch.zeros(len(table), 1)
    if LABELED not in table:
        return labeled_rows(targets, count, seed)
    rows = table[LABELED].nonzero().flatten()
    kept = rows[labeled_rows(targets[rows], count, seed)]
    return torch.zeros(len(table), dtype=torch.bool).index_fill(0, kept, True)


def has_one_class_each(table: Table) -> bool:
    """A row has one target, and no sequence of them."""
    column = table.column("targets")
    return not isinstance(column, Ragged) and column.row_shape == () and not column.dtype.is_floating_point


def labeled_rows(targets: Tensor, count: int, seed: int) -> Tensor:
    """Which rows keep their label: ``count`` of them, in the classes' proportions.

    Args:
        targets: [N] class numbers, stratified; or [N, ...], where rows are drawn uniformly.
        count: How many, from one for each class to N.
        seed: Another seed, other rows.

    Returns:
        [N] bool with exactly ``count`` True.

    Raises:
        ConfigError: ``count`` is not possible.
    """
    generator = torch.Generator().manual_seed(
        derive_seed(seed, "labelled")
    )  # the old word: another would choose other rows
    classes = targets.to(torch.int64) if targets.dim() == 1 else torch.zeros(len(targets), dtype=torch.int64)
    sizes = torch.bincount(classes).double()
    present = int((sizes > 0).sum())
    if not present <= count <= len(targets):
        raise ConfigError(
            f"num_labeled={count}: choose one from {present} (a row for each class) to {len(targets)} (all rows), "
            "or null for all"
        )
    share = (sizes * count / len(targets)).floor().clamp(min=1.0) * (sizes > 0)
    # Largest remainder: the rows still to give away go where the rounding took most; none to a class that is full.
    while int(share.sum()) != count:
        step = 1 if share.sum() < count else -1
        allowed = (share < sizes) if step > 0 else (share > 1)
        error = torch.where(allowed, step * (sizes * count / len(targets) - share), -torch.inf)
        share[int(error.argmax())] += step
    flags = torch.zeros(len(targets), dtype=torch.bool)
    for label, number in enumerate(share.long().tolist()):
        rows = (classes == label).nonzero().flatten()
        flags[rows[torch.randperm(len(rows), generator=generator)[:number]]] = True
    return flags


def check_classes(outputs: int, num_classes: int, who: str, instead: str = "") -> None:
    """The network's logits have the task's number of classes; ``instead`` ends the message.

    Raises:
        ClassMismatchError: They do not (one class would silently broadcast against many).
    """
    if outputs != num_classes:
        raise ClassMismatchError(
            f"the {who} gives {outputs} classes, the data has {num_classes}: set the {who}'s classes or vocabulary to "
            f"{num_classes}{instead}"
        )
