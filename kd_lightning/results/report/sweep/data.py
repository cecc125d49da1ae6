"""The numbers that the page's script needs, as one JSON text that is safe inside a ``<script>`` element."""

from __future__ import annotations

import json
from typing import Any

from kd_lightning.results.numbers import as_finite, shorten_number
from kd_lightning.results.report.sweep.curves import SeedCurve
from kd_lightning.results.report.sweep.files import read_measure, read_value
from kd_lightning.results.report.sweep.heat_map import MEASURES
from kd_lightning.results.report.sweep.levels import SweptParameter
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.sweep_folder import Job


def format_report_data(report: Report) -> str:
    """The JSON. ``<``, ``>`` and ``&`` are escaped, so no text in it can end the element or begin another one."""
    text = json.dumps(make_report_data(report), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def make_report_data(report: Report) -> dict[str, Any]:
    """The same as plain values."""
    pool = report.pool
    return {
        "metric": pool.metric,
        "mode": pool.mode,
        "share": report.share,
        "places": report.gains.places,
        "unit": report.gains.unit,
        "measures": list(MEASURES),
        "parameters": [describe_parameter(found) for found in report.swept],
        "chosen": sorted(report.chosen),
        "jobs": {str(job.number): describe_job(job, report) for job in pool.jobs},
        "curves": [describe_curve(line) for line in report.curves.lines] if report.curves else [],
    }


def describe_parameter(found: SweptParameter) -> dict[str, Any]:
    """A swept parameter: its levels, and each job's."""
    return {"name": found.name, "levels": found.levels, "level": {str(n): at for n, at in found.level.items()}}


def describe_job(job: Job, report: Report) -> dict[str, Any]:
    """What the script says about a job."""
    settings = [(name, read_value(job, name)) for name in report.pool.varied]
    numbers = {name: as_finite(read_measure(job, name)) for name in MEASURES} if job in report.pool.scored else {}
    return {
        "label": report.pool.labels[job.number],
        "state": job.state,
        "settings": [[name, shorten_number(value)] for name, value in settings if value is not None],
        **numbers,
    }


def describe_curve(line: SeedCurve) -> dict[str, Any]:
    """What the script says about a configuration's learning curve."""
    points = [[point.step, *(float(f"{value:.6g}") for value in point[1:])] for point in line.points]
    return {"name": line.name, "words": line.words, "points": points}
