"""Is an export the model? Its answers to all rows of a split, by its own run time, beside those of the network.

The rows go the whole way: texts through the bundle's tokenizer, outputs through its label names. So a layer that is missing,
labels in another order and a tokenizer of another run are all seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kd_lightning.data.table import PAIR_COLUMN, TEXT_COLUMN, WORDS_COLUMN, Table
from kd_lightning.data.texts import decode_texts
from kd_lightning.data.words import split_row
from kd_lightning.deploy.evaluation_record import Measured, measure_rows
from kd_lightning.deploy.export.inference import Model
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, ExportError
from kd_lightning.experiment.settings import Settings
from kd_lightning.tasks.base import Task
from kd_lightning.types import OutputKind

if TYPE_CHECKING:
    from kd_lightning.deploy.export.formats import Format

ON_CPU = {"accelerator": "cpu", "precision": "32-true"}
"""Settings of the trainer: both sides compute alike."""
DISAGREEING = {32: 0.001, 8: 0.1}
"""Bits of the weights -> share of the answers that may be others; one may always be."""
NEAR = {32: 0.01, 8: 0.1}
"""Likewise -> how far numbers may lie apart that count as the same answer, in units of their standard deviation."""
SMALLEST_SPREAD = 1e-3
"""Of numbers that hardly differ, in units of the largest."""
CHECKED_AT_ONCE = 1024


@dataclass(frozen=True)
class Parity:
    """An export beside its model.

    Attributes:
        metric: Name of the task's metric.
        of_model: Its value of the network, on the CPU in float32.
        of_export: That of the export.
        rows: How many were asked.
        differing: How many of the answers are others.
        answers: How many there are: rows, or words or tokens of rows.
        mode: ``min`` or ``max``: which way the metric is better.
    """

    metric: str
    of_model: float
    of_export: float
    rows: int
    differing: int
    answers: int
    mode: str

    def check(self, tolerance: float, chosen: Format) -> None:
        """The export is the model.

        Args:
            tolerance: How far the metric may lie off, in its own unit; of one that is above 1, as a share of it. So large a
                share of the answers may be others, too.
            chosen: Its format.

        Raises:
            ExportError: It is not.
        """
        off = abs(self.of_export - self.of_model) / max(1.0, abs(self.of_model))
        if not off <= max(tolerance, 0.0):
            raise ExportError(
                f"the export is not the model: {self.metric} {self.of_export:.6g} on {self.rows} rows, {self.of_model:.6g} "
                f"before ({tolerance:g} is allowed; --tolerance says another limit). Nothing is left of it"
            )
        allowed = max(1, int(max(DISAGREEING[chosen.bits], tolerance) * self.answers))
        if self.differing > allowed:
            raise ExportError(
                f"the export is not the model: {self.differing} of {self.answers} answers are others ({allowed} are allowed; "
                "--tolerance says another share). Nothing is left of it"
            )


class ExportedNetwork(nn.Module):
    """Answers as the network did, by the run time of its bundle.

    Args:
        bundle: Loaded.
        labels: Names of the model's outputs, in its order; outputs come in that.
    """

    def __init__(self, bundle: Model, labels: list[str]) -> None:
        super().__init__()
        self.bundle = bundle
        named: list[str] = bundle.labels
        if named and sorted(named) != sorted(labels):
            raise ExportError(f"the export has the labels {', '.join(named)}, the model {', '.join(labels)}")
        self.order = [named.index(label) for label in labels] if named else None

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Logits [..., C] float32."""
        names = [name for name in self.bundle.about["inputs"] if name not in named]
        fed = {**dict(zip(names, inputs, strict=True)), **named}
        made = torch.from_numpy(self.bundle.run({name: tensor.cpu().numpy() for name, tensor in fed.items()}))
        return made if self.order is None else made[..., self.order]


def measure_parity(model: TrainedModel, folder: Path, table: Table, settings: Settings, task: Task) -> Parity:
    """Ask network and bundle about all rows.

    Args:
        model: Its network.
        folder: The bundle.
        table: Rows with targets; texts as texts.
        settings: Of the model's run.
        task: As the run tested with.

    Raises:
        ExportError: The bundle's tokenizer reads a row otherwise, or its labels are others.
    """
    bundle = Model(folder)
    check_reading(model, bundle, table)
    on_cpu: Settings = {**settings, "trainer": {**settings["trainer"], **ON_CPU}}
    own = measure_rows(model, table, on_cpu, task)
    exported = replace(model, network=ExportedNetwork(bundle, model.labels))
    theirs = measure_rows(exported, table, on_cpu, task)
    differing, answers = count_differing(own, theirs, task, bundle.about["bits"])
    return Parity(
        metric=task.monitor,
        of_model=float(own.metrics[task.monitor].compute()),
        of_export=float(theirs.metrics[task.monitor].compute()),
        rows=len(table),
        differing=differing,
        answers=answers,
        mode=task.mode,
    )


def count_differing(own: Measured, theirs: Measured, task: Task, bits: int) -> tuple[int, int]:
    """How many answers differ, and how many there are."""
    if task.output_kind is OutputKind.VECTORS:  # of which nothing is kept but how near they are to the teacher's
        first, second = (each.by_row[task.monitor].rows()["sums"] for each in (own, theirs))
        return int(((first - second).abs() > NEAR[bits]).sum()), len(first)
    first, second = (each.predictions.positions()["predicted"] for each in (own, theirs))
    if task.output_kind is OutputKind.QUANTITIES:
        spread = max(float(first.std(correction=0)), SMALLEST_SPREAD * float(first.abs().max()))
        return int(((first - second).abs() > NEAR[bits] * spread).sum()), len(first)
    same = first == second
    same = same.all(dim=-1) if same.dim() > 1 else same
    return int((~same).sum()), len(same)


def check_reading(model: TrainedModel, bundle: Model, table: Table) -> None:
    """The bundle's tokenizer makes of every row what the model was tested with.

    Raises:
        ExportError: Not so; names the row.
    """
    if model.encoder is None:
        return
    for start in range(0, len(table), CHECKED_AT_ONCE):
        part = table.select(torch.arange(start, min(start + CHECKED_AT_ONCE, len(table))))
        task, read = model.task, model.read_by_network(part)
        inputs = task.inputs(task.collate(read, torch.arange(len(part))))
        wanted = [inputs.args[0], *inputs.kwargs.values()]
        rows = list(list_rows(part))
        try:
            found = bundle.read(rows)
        except ValueError as error:
            raise ConfigError(
                f"rows {start} to {start + len(part) - 1} cannot be read by the export: {error}"
            ) from error
        for name, tensor in zip(bundle.about["inputs"], wanted, strict=True):
            theirs, ours = found[name], tensor.numpy()
            if theirs.shape != ours.shape or not np.array_equal(theirs, ours):
                raise ExportError(
                    f"the export is not the model: its tokenizer reads rows {start} to {start + len(part) - 1} otherwise "
                    f"({name}). Nothing is left of it"
                )


def list_rows(table: Table) -> Iterator[Any]:
    """Rows as a user gives them: texts, pairs of them, or words."""
    if WORDS_COLUMN in table:
        yield from (split_row(row) for row in read_column(table, WORDS_COLUMN))
    elif PAIR_COLUMN in table:
        yield from zip(read_column(table, TEXT_COLUMN), read_column(table, PAIR_COLUMN), strict=True)
    else:
        yield from read_column(table, TEXT_COLUMN)


def read_column(table: Table, name: str) -> list[str]:
    """All texts of a column."""
    return decode_texts(table.column(name).take(torch.arange(len(table))))  # type: ignore[arg-type]
