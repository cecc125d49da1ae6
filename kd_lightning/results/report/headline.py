"""The one sentence at the head of a sweep's page: what validation chose, and how it compares with the student alone."""

from __future__ import annotations

from kd_lightning.results.numbers import as_finite, shorten_name
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.table import choose_gain_format
from kd_lightning.results.statistics.over_seeds import Configuration

PHRASES = {
    "better": "better than the student alone",
    "worse": "worse than the student alone",
    "no difference shown": "no difference from the student alone is shown",
    "one seed shows nothing": "one seed shows nothing yet",
}


def write_headline(report: Report) -> str:
    """The sentence; where nothing was chosen, the first one of the sweep's own."""
    chosen = [c for c in report.configurations if c.chosen]
    if not chosen or not all(map(is_measured, chosen)):
        return next((sentence for sentence in report.sentences if not sentence.startswith("Provisional")), "")
    judged = [judge_on_fresh_seeds(c, report, of_several=len(chosen) > 1) for c in chosen]
    if len(judged) > 1:  # one for each task
        named = (f"{shorten_name(c.name) or c.metric}: {describe_gain(c, report)}." for c in judged)
        return f"{len(judged)} tasks. {' '.join(named)}"
    (only,), total = judged, len(report.configurations)
    who = f"{shorten_name(only.name)}, chosen on validation from {total} configurations" if total > 1 else "Distilled"
    return f"{who}: {describe_gain(only, report)}."


def is_measured(c: Configuration) -> bool:
    """Its verdict has a phrase, and its gain is a number."""
    return c.verdict in PHRASES and as_finite(c.gain_mean) is not None


def judge_on_fresh_seeds(chosen: Configuration, report: Report, of_several: bool) -> Configuration:
    """What was confirmed on fresh seeds, by now perhaps another than validation would choose; else the chosen one itself."""
    confirmed = (c for c in report.confirmations if is_measured(c) and not (of_several and c.params != chosen.params))
    return next(confirmed, chosen)


def describe_gain(c: Configuration, report: Report) -> str:
    """Verdict, gain, interval and number of seeds."""
    shown = choose_gain_format(report.pool, c.metric, c.mode)
    ends = f" (95% interval {' to '.join(map(shown.text, c.interval))})" if c.interval else ""
    seeds = f"{len(c.seeds)} {'fresh ' * (c in report.confirmations)}seed{'' if len(c.seeds) == 1 else 's'}"
    return f"{PHRASES[c.verdict]}; test gain {shown.text(c.gain_mean)} {shown.unit}{ends} over {seeds}"
