"""The configurations of a sweep as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kd_lightning.results.numbers import MISSING_TEXT, format_metric, format_significant, shorten_name
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.statistics.seed_sentences import format_fine_difference


def list_configuration_rows(found: Sequence[Configuration]) -> tuple[list[str], list[list[str]]]:
    """Header and cells for the terminal: a row per configuration, best validation first."""
    metrics = {(one.metric, one.mode) for one in found}
    metric = next(iter(metrics))[0] if len(metrics) == 1 else "metric"
    header = ["configuration", "seeds", f"val {metric}", f"test {metric}", "student alone", "gain", "95% interval"]

    def cells(one: Configuration) -> list[str]:
        def apart(value: float, digits: int = 3) -> str:
            return format_fine_difference(value, one.test_mean, one.metric, one.mode, digits)

        def plus_minus(sd: float | None) -> str:
            return "" if sd is None else f" ± {apart(sd, 2)}"

        return [
            (shorten_name(one.name) or MISSING_TEXT) + (" (chosen)" if one.chosen and len(found) > 1 else ""),
            str(len(one.seeds)),
            format_metric(one.val_mean, one.metric, one.mode) + plus_minus(one.val_sd),
            format_metric(one.test_mean, one.metric, one.mode) + plus_minus(one.test_sd),
            format_metric(one.baseline_mean, one.metric, one.mode),
            apart(one.gain_mean) + plus_minus(one.gain_sd),
            "" if one.interval is None else f"{apart(one.interval[0])} to {apart(one.interval[1])}",
            "" if one.p_adjusted is None else format_significant(one.p_adjusted, 2),
            one.verdict,
        ]

    def order(one: Configuration) -> tuple[bool, float]:
        return not math.isfinite(one.val_mean), -one.val_mean if one.mode == "max" else one.val_mean

    return [*header, "p, adjusted", "verdict"], [cells(one) for one in sorted(found, key=order)]
