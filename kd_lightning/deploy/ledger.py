"""One table for distilling, pruning and quantising: each model of a run in 32 and in 8 bits, measured alike, by one run time.

Every row is a file of onnxruntime, asked about the whole test split: metric with interval, share of the gap closed, agreement
with the teacher, calibration, bytes, memory, load time, latency. So a student can be compared with a quantised teacher, and
with one that was pruned to its size, with the paired interval of the difference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kd_lightning.data.table import Table
from kd_lightning.deploy.compress.afterwards import find_sparsity, prune_afterwards, zip_files, zip_weights
from kd_lightning.deploy.evaluation_record import Measured, describe_evaluation, measure_rows
from kd_lightning.deploy.export.bundle import list_model_files, write_parts
from kd_lightning.deploy.export.formats import FORMATS, check_installed
from kd_lightning.deploy.export.inference import Model
from kd_lightning.deploy.export.parity import ON_CPU, ExportedNetwork
from kd_lightning.deploy.export.traced_network import make_example
from kd_lightning.deploy.latency import TimedFormat, list_timed_rows, time_bundles
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.collect_results import compare_rows
from kd_lightning.experiment.settings import Settings
from kd_lightning.results.numbers import format_difference, format_metric, format_percent, format_significant
from kd_lightning.results.report.gap import measure_share_closed
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL, find_role
from kd_lightning.tasks.base import Task
from kd_lightning.training.compression.magnitude_pruning import measure_sparsity
from kd_lightning.types import OutputKind

IN_32_BITS, IN_8_BITS = "onnx", "onnx-int8"
"""Formats of the rows."""
WIDTHS = {IN_32_BITS: "32 bits", IN_8_BITS: "8 bits"}
PRUNED_STUDENT, QUANTIZED_STUDENT = "distilled_pruned", "distilled_quantized"
PRUNED_QUANTIZED_STUDENT = "distilled_pruned_and_quantized"
"""Students of ``compress``, where the run has them."""
CUT = "+cut"
"""Behind the name of a model, none of which has such a sign: the same, pruned after its training."""
LEDGER_PAIRS = (
    ((DISTILLED_MODEL, IN_32_BITS), (TEACHER_MODEL, IN_8_BITS)),
    ((DISTILLED_MODEL, IN_8_BITS), (TEACHER_MODEL, IN_8_BITS)),
    ((DISTILLED_MODEL, IN_32_BITS), (TEACHER_MODEL + CUT, IN_32_BITS)),
    ((DISTILLED_MODEL, IN_8_BITS), (TEACHER_MODEL + CUT, IN_8_BITS)),
    ((DISTILLED_MODEL, IN_8_BITS), (DISTILLED_MODEL, IN_32_BITS)),
    ((DISTILLED_MODEL, IN_8_BITS), (BASELINE_MODEL, IN_8_BITS)),
    ((QUANTIZED_STUDENT, IN_8_BITS), (DISTILLED_MODEL, IN_8_BITS)),
    ((PRUNED_STUDENT, IN_32_BITS), (DISTILLED_MODEL, IN_32_BITS)),
    ((PRUNED_STUDENT, IN_32_BITS), (DISTILLED_MODEL + CUT, IN_32_BITS)),
    ((PRUNED_QUANTIZED_STUDENT, IN_8_BITS), (DISTILLED_MODEL, IN_8_BITS)),
)
"""Whose difference a sentence tells, where both are there: model and format."""

SAME_SIZE = 0.005
"""How far a ratio of sizes may be from 1 that is no difference."""
TOLD_APART_FROM = 5
"""Rounds from which files whose rounds do not overlap count as differently fast: of equal ones one pair in 126 does not."""
PRUNED_FROM = 0.05
"""Share of zeros from which a model counts as pruned: rounding makes a few, too."""


@dataclass(frozen=True)
class Contender:
    """A model that gets rows.

    Attributes:
        model: With its network; pruned afterwards, where it is.
        name: What rows call it.
        label: What a reader calls it.
        forms: Of its files.
    """

    model: TrainedModel
    name: str
    label: str
    forms: tuple[str, ...] = (IN_32_BITS, IN_8_BITS)


@dataclass(frozen=True)
class LedgerRow:
    """A model in a format.

    Attributes:
        model: Its name in the run.
        form: Of its file.
        label: What a reader calls it.
        parameters: Numbers of the network, before they lost bits.
        sparsity: Share of zeros among the weights of its matrices and convolutions.
        zipped_bytes: Of its file, zipped: what zeros and 8 bits save that is sent or stored so.
        record: As ``evaluate_rows`` returns it.
        rows: ``index``, ``sums``, ``counts`` of the task's metric by row; empty where it has none.
        predicted: What it predicts, [N] or [N, C]; None of vectors.
        cost: Latency, memory, load time, size.
        share_closed: Of the gap between the student alone and the teacher; None without one.
        agreement: With the teacher in 32 bits; None of quantities and vectors.
    """

    model: str
    form: str
    label: str
    parameters: int
    sparsity: float
    zipped_bytes: int
    record: dict[str, Any]
    rows: dict[str, Any]
    predicted: torch.Tensor | None
    cost: TimedFormat
    share_closed: float | None
    agreement: float | None

    def describe(self) -> dict[str, Any]:
        """As plain data."""
        kept = {name: self.record[name] for name in ("rows", "metrics", "intervals")}
        cost = {name: value for name, value in self.cost.describe().items() if name != "format"}
        told = {
            "share_closed": self.share_closed,
            "agreement": self.agreement,
            "parameters": self.parameters,
            "sparsity": self.sparsity,
            "zipped_bytes": self.zipped_bytes,
        }
        return {"model": self.model, "format": self.form, "label": self.label, **kept, **told, **cost}


@dataclass(frozen=True)
class Ledger:
    """The rows, and what they say.

    Attributes:
        metric: The task's.
        mode: ``min`` or ``max``.
        rows: In the order of the models.
        sentences: Of the comparisons.
    """

    metric: str
    mode: str
    rows: list[LedgerRow]
    sentences: list[str]


def make_ledger(
    models: Sequence[TrainedModel],
    results: dict[str, Any],
    table: Table,
    settings: Settings,
    as_tested: Callable[[Task], Task],
    rounds: int,
) -> Ledger:
    """Measure all models of a run.

    Args:
        models: The run's.
        results: Of the run.
        table: Its test split; texts as texts.
        settings: Its settings.
        as_tested: Makes of a model's task that which its run tested with.
        rounds: Processes that each file is timed in.

    Raises:
        ConfigError: No network can be written as ONNX.
        KDError: One cannot be asked.
        MissingExtraError: The extra ``export`` is not installed.
    """
    contenders, left_out = list_contenders(models, results)
    built: list[tuple[Contender, str, Measured, int]] = []
    folders: dict[str, Path] = {}
    on_cpu: Settings = {**settings, "trainer": {**settings["trainer"], **ON_CPU}}
    with tempfile.TemporaryDirectory() as place:
        for each in contenders:
            example = make_example(each.model)
            for form in each.forms:
                check_installed(FORMATS[form])
                folder = Path(place) / f"{len(folders)}-{form}"
                folder.mkdir()
                try:
                    write_parts(each.model, FORMATS[form], example, folder)
                except ConfigError as error:
                    left_out.append(f"{each.label}, {WIDTHS[form]}: not in the ledger: {error}")
                    continue
                asked = replace(each.model, network=ExportedNetwork(Model(folder), each.model.labels))
                measured = measure_rows(asked, table, on_cpu, as_tested(each.model.task))
                built.append((each, form, measured, zip_files(list_model_files(folder))))
                folders[folder.name] = folder
        if not built:
            raise ConfigError(f"none of the run's models is a graph for onnxruntime: {left_out[0]}")
        costs = time_bundles(folders, list(list_timed_rows(models[0], table)), rounds, threads=1)
    task = as_tested(models[-1].task)
    teachers = [measured for each, form, measured, _ in built if (each.name, form) == (TEACHER_MODEL, IN_32_BITS)]
    teacher = predictions_of(teachers[0], task) if teachers else None
    rows = [make_row(*one, cost, results, teacher, task) for one, cost in zip(built, costs, strict=True)]
    return Ledger(task.monitor, task.mode, rows, [*compare_rows_of_models(rows, table, task), *left_out])


def make_row(
    contender: Contender,
    form: str,
    measured: Measured,
    zipped: int,
    cost: TimedFormat,
    results: dict[str, Any],
    teacher: torch.Tensor | None,
    task: Task,
) -> LedgerRow:
    """See ``LedgerRow``."""
    model = contender.model
    record, predicted = describe_evaluation(model, measured), predictions_of(measured, task)
    student = model.name not in (TEACHER_MODEL, BASELINE_MODEL)
    return LedgerRow(
        model=contender.name,
        form=form,
        label=f"{contender.label}, {WIDTHS[form]}",
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        sparsity=measure_sparsity(model.network),
        zipped_bytes=zipped,
        record=record,
        rows=measured.by_row[task.monitor].rows(),
        predicted=predicted,
        cost=cost,
        share_closed=measure_share_closed(results, record["metrics"][task.monitor]) if student else None,
        agreement=None if predicted is None or teacher is None else float((predicted == teacher).double().mean()),
    )


def list_contenders(models: Sequence[TrainedModel], results: dict[str, Any]) -> tuple[list[Contender], list[str]]:
    """The models as they are; the teacher pruned until its zipped weights are no larger than the distilled student's; and,
    beside a student that was pruned while it was distilled, the distilled one pruned as much afterwards. What is left out and
    why, in sentences."""
    labels = {model.name: find_role(results, model.name).label for model in models}
    named = {model.name: model for model in models}
    found = [Contender(model, model.name, labels[model.name]) for model in models]
    left_out = []

    def cut(name: str, sparsity: float) -> None:
        label = f"{labels[name]}, {format_percent(sparsity, 1)} pruned afterwards"
        pruned = Contender(prune_afterwards(named[name], sparsity), name + CUT, label)
        found.insert(1 + [each.name for each in found].index(name), pruned)

    if TEACHER_MODEL in named and DISTILLED_MODEL in named:
        sparsity = find_sparsity(named[TEACHER_MODEL].network, zip_weights(named[DISTILLED_MODEL].network))
        if sparsity is None:
            left_out.append(f"{labels[TEACHER_MODEL]}: with every weight pruned it is still larger than the student.")
        elif sparsity:
            cut(TEACHER_MODEL, sparsity)
    if PRUNED_STUDENT in named and DISTILLED_MODEL in named:
        cut(DISTILLED_MODEL, measure_sparsity(named[PRUNED_STUDENT].network))
    return found, left_out


def predictions_of(measured: Measured, task: Task) -> torch.Tensor | None:
    """Classes or labels that it says; None of quantities and vectors, which are never quite equal."""
    if task.output_kind not in (OutputKind.CLASSES, OutputKind.LABELS):
        return None
    return measured.predictions.positions()["predicted"]


def compare_rows_of_models(rows: Sequence[LedgerRow], table: Table, task: Task) -> list[str]:
    """A sentence for each of ``LEDGER_PAIRS`` that is there."""
    by_place = {(row.model, row.form): row for row in rows}
    pairs = [(by_place[one], by_place[other]) for one, other in LEDGER_PAIRS if one in by_place and other in by_place]
    return [compare_two(one, other, table, task) for one, other in pairs]


def compare_two(one: LedgerRow, other: LedgerRow, table: Table, task: Task) -> str:
    """Which is better, with the interval, or that nothing is shown; sizes and latencies beside it."""
    values = [row.record["metrics"][task.monitor] for row in (one, other)]
    shown = [format_metric(value, task.monitor, task.mode) for value in values]
    said = f"{one.label}: {shown[0]} {task.monitor}; {other.label}: {shown[1]}"
    interval = None
    if one.rows and other.rows:
        index = one.rows["index"]
        groups = (index if table.groups is None else table.groups[index]).numpy()
        interval = compare_rows(task, other.rows, one.rows, groups)
    if interval is None:
        verdict = "no interval, so no statement"
    else:
        low, high = (format_difference(interval[end], values[0], task.monitor, task.mode) for end in ("low", "high"))
        word = "better" if interval["low"] > 0 else "worse" if interval["high"] < 0 else "no difference shown"
        verdict = f"{word} (95% interval {low} to {high})"
    return f"{said}: {verdict}; {describe_costs(one, other)}."


def describe_costs(one: LedgerRow, other: LedgerRow) -> str:
    """How many times smaller or larger, faster or slower; no word on speed where the rounds of both overlap.

    Zeros make a file no smaller until it is zipped: where one of them is pruned, that size is told.
    """
    zipped = max(one.sparsity, other.sparsity) > PRUNED_FROM
    size = other.zipped_bytes / one.zipped_bytes if zipped else other.cost.model_bytes / one.cost.model_bytes
    speed = other.cost.quantile(1, 0.5) / one.cost.quantile(1, 0.5)
    (low, high), (lower, higher) = one.cost.spread(1), other.cost.spread(1)
    rounds = min(len(each.cost.answers[1]) for each in (one, other))
    apart = rounds >= TOLD_APART_FROM and (high < lower or higher < low)
    sizes = say_times(size, "smaller", "larger") if abs(size - 1) > SAME_SIZE else "of the same size"
    sizes += " when zipped" if zipped else ""
    return f"{sizes}, " + (
        f"{say_times(speed, 'faster', 'slower')} at 1 row" if apart else "speeds at 1 row not told apart"
    )


def say_times(ratio: float, more: str, less: str) -> str:
    """A ratio in words.

    Example:
        >>> say_times(4.0, "smaller", "larger"), say_times(0.5, "smaller", "larger")
        ('4.00 times smaller', '2.00 times larger')
    """
    return f"{format_significant(max(ratio, 1 / ratio), 3)} times {more if ratio >= 1 else less}"
