"""What a run or a distillation has found, as Python sees it: verdict, metrics, and a table for pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kd_lightning.errors import MissingExtraError
from kd_lightning.results.roles import DISTILLED_MODEL, TEACHER_MODEL, list_models

if TYPE_CHECKING:
    import pandas

MEASURED = ("parameters", "latency", "steps", "best_step", "seconds")
"""Columns of the table beside the metrics, as far as they are recorded."""
INTERVAL_OF = {DISTILLED_MODEL: "interval", TEACHER_MODEL: "gap_interval"}
"""Model -> the interval of its gain over the student alone."""


class Findings:
    """Models compared on the same rows.

    Args:
        results: As in ``results.json``.

    Attributes:
        results: Likewise: all that was found, as plain data.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results

    @property
    def verdict(self) -> str:
        """What the comparison shows, and what it does not."""
        return str(self.results["verdict"])

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Model (``teacher``, ``baseline``, ``distilled``, ...) -> metric -> its value on the test rows."""
        return {role.key: dict(found["metrics"]) for role, found in list_models(self.results)}

    def frame(self) -> pandas.DataFrame:
        """A row for each model, a column for each metric.

        Beside these: ``validation``, the value that chose the weights; ``latency``, milliseconds for a row by itself;
        parameters, steps and seconds; and for the distilled student and the teacher ``gain_low`` and ``gain_high``, the 95%
        interval of the gain over the student alone, in the unit of the chosen metric (positive = better).

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas is not installed: pip install pandas") from error
        rows: dict[str, dict[str, Any]] = {}
        for role, found in list_models(self.results):
            interval = self.results.get(INTERVAL_OF.get(role.key, "")) or {}
            rows[role.key] = {
                **found["metrics"],
                "validation": found.get("val"),
                **{name: found[name] for name in MEASURED if name in found},
                **{f"gain_{end}": interval.get(end) for end in ("low", "high")},
            }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("model")

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.verdict}"
