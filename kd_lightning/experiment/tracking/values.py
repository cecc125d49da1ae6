"""What trackers are told of a job: its knobs as parameters, and the numbers of ``results.json`` as metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL
from kd_lightning.results.statistics.seed_groups import UNCOUNTED
from kd_lightning.results.sweep_folder import parse_params
from kd_lightning.safety.redaction import redact_settings

Value = float | int | str | bool
CHOICES = {"teacher": "model@teacher.model", "student": "model@student.model"}
"""Short words for a choice -> the choice; under the short words themselves stand the classes."""


def params_of(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Value]:
    """The knobs that people sweep, and whatever else the job changed; what changes no result is left out.

    Args:
        settings: The resolved settings.
        overrides: The job's words, secrets out.
    """
    student = settings["student"]
    knobs = {
        "task": settings["task"]["name"],
        "teacher": class_name(settings["teacher"]["model"]),
        "student": class_name(student["model"]),
        "loss": ",".join(settings["loss"]),
        "hard_loss": hard_loss_name(student["hard_loss"]),
        "teacher.hard_loss": teacher_hard_loss_name(settings),
        "temperature": settings["temperature"],
        "alpha": settings["alpha"],
        "optimizer": class_name(student["optimizer"]),
        "lr": student["optimizer"].get("lr"),
        "batch_size": settings["data"]["batch_size"],
        "seed": settings["seed"],
        "teacher.seed": settings["teacher"]["seed"],
    }
    words = parse_params(overrides).items()
    changed = {
        CHOICES.get(name, name): parse_value(text) for name, text in words if name.split(".")[0] not in UNCOUNTED
    }
    return {name: value for name, value in {**changed, **knobs}.items() if value is not None}


def class_name(node: Mapping[str, Any]) -> str:
    """The last part of a node's ``_target_``."""
    return str(node["_target_"]).rpartition(".")[2]


def hard_loss_name(node: Mapping[str, Any]) -> str:
    """The hard loss and its settings; the plain one, which has no class, under the name of its choice.

    Example:
        >>> hard_loss_name({}), hard_loss_name({"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted", "tau": 1.0})
        ('cross_entropy', 'LogitAdjusted(tau=1.0)')
    """
    if not node:
        return "cross_entropy"
    given = ", ".join(
        f"{name}={value}" for name, value in redact_settings(dict(node)).items() if not name.startswith("_")
    )
    return f"{class_name(node)}({given})"


def teacher_hard_loss_name(settings: Mapping[str, Any]) -> str | None:
    """The same of the teacher; None of one that was trained elsewhere."""
    teacher = settings["teacher"]
    return None if teacher["checkpoint"] or not teacher["train"] else hard_loss_name(teacher["hard_loss"])


def parse_value(text: str) -> Value:
    """A number where the text is one: trackers draw axes of numbers.

    Example:
        >>> parse_value("2"), parse_value("1e-3"), parse_value("mlp_tiny"), parse_value("nan")
        (2.0, 0.001, 'mlp_tiny', 'nan')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def metrics_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of ``results.json`` that jobs are compared by; those that are missing or not finite are left out."""
    models, metric = results["models"], results["metric"]
    found = {
        f"val_{metric}": models[DISTILLED_MODEL]["val"],
        f"test_{metric}": models[DISTILLED_MODEL]["test"],
        f"baseline_val_{metric}": models[BASELINE_MODEL]["val"],
        f"baseline_test_{metric}": models[BASELINE_MODEL]["test"],
        f"teacher_test_{metric}": models[TEACHER_MODEL]["test"],
        "gain": results["gain_over_baseline"],
        "gap_closed": results["gap_closed"],
    }
    for model, before in ((DISTILLED_MODEL, ""), (BASELINE_MODEL, "baseline_"), (TEACHER_MODEL, "teacher_")):
        predictions = models[model].get("predictions") or {}
        found |= {
            f"{before}test_{name}": predictions.get(name) for name in ("agreement", "calibration_error", "macro_f1")
        }
    for name in [f"accuracy_{group}" for group in results.get("class_groups", ())]:
        found |= {
            f"test_{name}": models[DISTILLED_MODEL]["metrics"][name],
            f"baseline_test_{name}": models[BASELINE_MODEL]["metrics"][name],
            f"teacher_test_{name}": models[TEACHER_MODEL]["metrics"][name],
        }
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
