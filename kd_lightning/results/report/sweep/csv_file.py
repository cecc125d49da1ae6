"""``results.csv``: one row a job, with everything that was recorded, in full precision, for other programs.
Text that a spreadsheet would run as a formula has an apostrophe in front.

job, folder, state, error, seconds, reused, command      what became of the job
configuration, chosen, confirm, verdict                  over seeds; confirm: a fresh seed of the chosen one
params.<name>                                            every override, as text
the rest                                                 ``results.json``, a key for each level: models.distilled.val
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.results.report.cells import quote_cell
from kd_lightning.results.report.sweep.commands import write_job_command
from kd_lightning.results.report.sweep.files import list_reused_stages, read_job_seconds
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.sweep_folder import Job, parse_params, read_json_or_none
from kd_lightning.safety import record_fields

PROSE = ("verdict", "command")  # of results.json: said elsewhere in the row, or of one seed alone


def format_jobs_csv(report: Report) -> str:
    """The whole file; a value that a job lacks is empty."""
    rows = [collect_job_values(job, report) for job in report.pool.jobs]
    names = list(dict.fromkeys(name for found in rows for name in found))
    ordered = [name for name in names if not name.startswith("models.")] + [n for n in names if n.startswith("models.")]
    ordered = ordered or ["job"]
    text = io.StringIO()
    writer = csv.DictWriter(text, ordered, lineterminator="\n")
    writer.writerow({name: quote_cell(name) for name in ordered})
    writer.writerows({name: quote_cell(value) for name, value in found.items()} for found in rows)
    return text.getvalue()


def collect_job_values(job: Job, report: Report) -> dict[str, Any]:
    """One job."""
    configuration = next((c for c in [*report.configurations, *report.confirmations] if job.number in c.jobs), None)
    trial = read_json_or_none(job.folder / "trial.json", record_fields.TRIAL_FIELDS) or {}
    return {
        "job": report.pool.labels[job.number],
        "state": job.state,
        "error": job.error,
        "seconds": read_job_seconds(job),
        "reused": " ".join(list_reused_stages(job)),
        "configuration": configuration.name if configuration else None,
        "chosen": configuration.chosen if configuration else None,
        "confirm": job.confirm,
        "verdict": configuration.verdict if configuration else None,
        "trial": trial.get("number"),
        **{f"params.{name}": value for name, value in parse_params(job.overrides).items()},
        **{name: value for name, value in flatten_mapping(job.results or {}) if name not in PROSE},
        "command": write_job_command(job),
    }


def flatten_mapping(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings under its dotted name; floats in full precision, lists as JSON.

    Example:
        >>> list(flatten_mapping({"a": {"b": 0.1, "c": None}, "d": [1, 2]}))
        [('a.b', '0.1'), ('a.c', None), ('d', '[1, 2]')]
    """
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten_mapping(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            yield f"{prefix}{key}", repr(value)
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value
