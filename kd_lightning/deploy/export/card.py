"""``model_card.md``: what a bundle is, what it is worth, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lightning.deploy.export.parity import Parity
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import CheckpointCorruptError
from kd_lightning.results.numbers import format_metric, format_percent, format_whole
from kd_lightning.results.report.run.markdown import escape_markdown, fence_code, format_markdown_table
from kd_lightning.results.report.run.run_files import read_results
from kd_lightning.results.sweep_folder import RESULTS_FILE
from kd_lightning.results.table import list_model_rows
from kd_lightning.store import publish

if TYPE_CHECKING:
    from kd_lightning.deploy.export.formats import Format

CARD_FILE = "model_card.md"
TO_FILL_IN = "not said"
"""Stands where only people know."""


def write_card(model: TrainedModel, chosen: Format, parity: Parity, folder: Path) -> None:
    """Write the card of a bundle.

    Raises:
        CheckpointCorruptError: The run's results lack something.
    """
    path = model.folder / RESULTS_FILE
    try:
        text = render_card(model, chosen, parity, read_results(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorruptError(f"{path}: no {error}: repeat the run's command") from error
    publish(folder / CARD_FILE, text)


def render_card(model: TrainedModel, chosen: Format, parity: Parity, results: dict[str, Any]) -> str:
    """The card.

    Args:
        model: That was exported.
        chosen: The format.
        parity: How near to the model the export is.
        results: Of its run.
    """
    show = lambda value: format_metric(value, parity.metric, parity.mode)  # noqa: E731
    header, rows = list_model_rows(results)
    same = parity.answers - parity.differing
    lines = [
        f"# {escape_markdown(model.name)}, {escape_markdown(results['task'])}",
        "",
        f"{escape_markdown(results['verdict'])}",
        "",
        format_markdown_table(header, rows),
        "",
        "## This file",
        "",
        f"Format {chosen.name}: {chosen.what}. On the {format_whole(parity.rows)} rows it was checked with, {parity.metric} is "
        f"{show(parity.of_export)}, that of the model it was made of {show(parity.of_model)}; "
        f"{format_percent(same / parity.answers, 2)} of {format_whole(parity.answers)} answers are the same.",
        "",
        fence_code("pip install -r requirements.txt\npython inference.py --check\npython inference.py --help", "sh"),
        "",
        "## Where it comes from",
        "",
        "Trained by",
        "",
        fence_code(str(results["command"]), "sh"),
        "",
        *(f"- {name}: {escape_markdown(str(value))}" for name, value in list_origins(model, results).items()),
        "",
        "## Limits",
        "",
        "Measured on the test split of its own data alone. It answers every row, also one unlike all that it was trained on, "
        "and its scores are the network's own, not calibrated beyond what the table says.",
    ]
    return "\n".join(lines) + "\n"


def list_origins(model: TrainedModel, results: dict[str, Any]) -> dict[str, str]:
    """Facts of a model's past, by name."""
    teacher = results["models"].get("teacher", {})
    return {
        "data": f"digest {model.fingerprint}",
        "teacher": f"{format_whole(teacher.get('parameters', 0))} parameters, digest {results['teacher_hash']}",
        "seed": str(results["seed"]),
        "license of the data": TO_FILL_IN,
        "license of the teacher": TO_FILL_IN,
        "license of this model": TO_FILL_IN,
    }
