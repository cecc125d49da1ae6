"""From a run's logged values to its two charts.

Learning curves: the validation metric of every model over optimizer steps. A stage that goes on from another one's
weights counts its steps from 0 again, so its curve is moved right by the steps that were done before: the distilled
student's whole budget then lies on the axis of the student that was trained alone.

Loss terms: what the distilled student was trained on, unweighted, in all of its stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from statistics import fmean

from kd_lightning.results.numbers import is_share
from kd_lightning.results.report.charts.chart import Chart, Point, Series
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.roles import (
    BASELINE_MODEL,
    DISTILLED_MODEL,
    TEACHER_MODEL,
    Role,
    find_role,
    list_lineage,
    list_models,
    read_model_record,
)

# Training values that are logged beside the loss terms and are none.
NOT_A_LOSS = ("lr", "learning_rate", "temperature", "alpha", "grad_norm", "epoch", "accuracy", "perplexity", "seconds")
MOST_LOSS_POINTS = 200  # of one line of the second chart; beyond it neighbors are averaged
MODEL_STYLES = {
    TEACHER_MODEL: 0,
    BASELINE_MODEL: 1,
    DISTILLED_MODEL: 3,
}  # what every run has looks the same in all of them
OTHER_STYLES = (2, 4, 5, 6, 7)  # the other models in turn
TERM_STYLES = (7, 4, 5, 6, 1, 2, 3, 0)  # not those of the stages first
KEPT_NOTE = "A ring marks the checkpoint that was kept."
CONTINUED_NOTE = (
    " Distillation goes on from the pre-trained student's, and its steps are "
    "drawn after those of the pre-training: the student's whole budget lies on the axis of the student alone."
)
TERMS_NOTE = f"Unweighted, on training batches; of more than {MOST_LOSS_POINTS} values, neighbors are averaged."


def read_logged(run: RunFiles, role: Role, split: str, name: str, scale: float = 1.0) -> tuple[Point, ...]:
    """One value of one stage over the steps; of a step logged twice (a resumed run) the later value counts."""
    rows = [row for row in run.metrics.get(role.stage, []) if row.split == split and row.name == name]
    latest = {role.steps_before + row.step: scale * row.value for row in rows if math.isfinite(row.value)}
    return tuple(sorted(latest.items()))


def draw_learning_curves(run: RunFiles) -> Chart | None:
    """The validation metric of every stage; None when nothing was logged."""
    metric, mode = run.results["metric"], run.results["mode"]
    models = [role for role, _ in list_models(run.results)]
    plain = [value for role in models for _, value in read_logged(run, role, "val", metric)]
    share = bool(plain) and all(is_share(value, metric, mode) for value in plain)
    lines = [_curve(run, role, style, 100.0 if share else 1.0) for role, style in assign_model_styles(models)]
    series = tuple(line for line in lines if line is not None)
    direction = "Lower" if mode == "min" else "Higher"
    if not series:
        return None
    return Chart(
        title="Learning curves of all stages on one axis",
        x_label=_steps_label(run),
        y_label=f"validation {metric}{', %' if share else ''}",
        series=series,
        note=f"{direction} is better. {KEPT_NOTE}{CONTINUED_NOTE if any(role.start for role in models) else ''}",
        may_log=not share,
        boundary=_boundary(run),
    )


def assign_model_styles(models: Sequence[Role]) -> list[tuple[Role, int]]:
    """Each model with the style of its line; there are eight, and beyond that many models they repeat."""
    others = cycle(OTHER_STYLES)
    return [(role, MODEL_STYLES[role.key] if role.key in MODEL_STYLES else next(others)) for role in models]


def _curve(run: RunFiles, role: Role, style: int, scale: float) -> Series | None:
    points = read_logged(run, role, "val", run.results["metric"], scale)
    best = read_model_record(run.results, role.key).get("best_step")
    chosen = [point for point in points if best is not None and point[0] == role.steps_before + best]
    return Series(role.label, style, points, chosen[0] if chosen else None) if points else None


def chart_loss_terms(run: RunFiles) -> Chart | None:
    """The loss terms of the distilled student; None when nothing was logged."""
    styles = dict(zip(_terms(run), cycle(TERM_STYLES), strict=False))
    series = tuple(
        Series(name, style, thin_points(points))
        for role in list_lineage(run.results, DISTILLED_MODEL)
        for name, style in styles.items()
        if (points := read_logged(run, role, "train", name))
    )
    if not series:
        return None
    title = "Training loss terms of the distilled student"
    return Chart(title, _steps_label(run), "loss term", series, TERMS_NOTE, boundary=_boundary(run))


def _terms(run: RunFiles) -> list[str]:
    """Names of the loss terms in the order in which they were first logged."""
    stages = [run.metrics.get(role.stage, []) for role in list_lineage(run.results, DISTILLED_MODEL)]
    names = dict.fromkeys(row.name for rows in stages for row in rows if row.split == "train")
    return [
        name for name in names if name not in (*NOT_A_LOSS, run.results["metric"]) and not name.startswith("weight_")
    ]


def _boundary(run: RunFiles) -> int | None:
    """Where distillation takes over, when there is something to see on both sides."""
    role = find_role(run.results, DISTILLED_MODEL)
    both = run.metrics.get(role.start) and run.metrics.get(role.stage)
    return role.steps_before or None if both else None


def _steps_label(run: RunFiles) -> str:
    return f"optimizer steps of {run.results['batch_size']} rows each"


def thin_points(points: tuple[Point, ...], most: int = MOST_LOSS_POINTS) -> tuple[Point, ...]:
    """At most ``most`` points: neighbors averaged, each group drawn at its last step.

    Example:
        >>> thin_points(((1, 4.0), (2, 2.0), (3, 9.0)), most=2)
        ((2, 3.0), (3, 9.0))
    """
    size = math.ceil(len(points) / most)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return tuple((group[-1][0], fmean(value for _, value in group)) for group in groups)
