"""The one sentence at the head of a sweep's page: what validation chose, and how it compares with the student alone."""

from __future__ import annotations

from kd_lightning.report.numbers import finite, shorten_name
from kd_lightning.report.sweep_model import Report
from kd_lightning.report.sweep_table import gains
from kd_lightning.verdict_over_seeds import Configuration

PHRASES = {
    "better": "better than the student alone",
    "worse": "worse than the student alone",
    "no difference shown": "no difference from the student alone is shown",
    "one seed shows nothing": "one seed shows nothing yet",
}


def headline(report: Report) -> str:
    """The sentence; where nothing was chosen, the first one of the sweep's own."""
    chosen = [c for c in report.configurations if c.chosen]
    if not chosen or not all(map(is_measured, chosen)):
        return next((sentence for sentence in report.sentences if not sentence.startswith("Provisional")), "")
    if len(chosen) > 1:  # one for each task
        named = (f"{shorten_name(c.name) or c.metric}: {compare_with_alone(c, report)}." for c in chosen)
        return f"{len(chosen)} tasks. {' '.join(named)}"
    (only,), total = chosen, len(report.configurations)
    who = f"{shorten_name(only.name)}, chosen on validation from {total} configurations" if total > 1 else "Distilled"
    return f"{who}: {compare_with_alone(only, report)}."


def is_measured(c: Configuration) -> bool:
    """Its verdict has a phrase, and its gain is a number."""
    return c.verdict in PHRASES and finite(c.gain_mean) is not None


def compare_with_alone(chosen: Configuration, report: Report) -> str:
    """The verdict and the gain of a chosen configuration, on fresh seeds where those confirm it."""
    confirmed = next((c for c in report.confirmations if c.params == chosen.params and is_measured(c)), None)
    judged = confirmed or chosen
    shown = gains(report.pool, judged.metric, judged.mode)
    ends = f" (95% interval {' to '.join(map(shown.text, judged.interval))})" if judged.interval else ""
    seeds = f"{len(judged.seeds)} {'fresh ' if confirmed else ''}seed{'' if len(judged.seeds) == 1 else 's'}"
    return f"{PHRASES[judged.verdict]}; test gain {shown.text(judged.gain_mean)} {shown.unit}{ends} over {seeds}"
