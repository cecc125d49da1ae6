"""The one sentence at the head of a sweep's page: what validation chose, and how it compares with the student alone."""

from __future__ import annotations

from kd_lightning.report.numbers import finite, shorten_name
from kd_lightning.report.sweep_model import Report

PHRASES = {
    "better": "better than the student alone",
    "worse": "worse than the student alone",
    "no difference shown": "no difference from the student alone is shown",
    "one seed shows nothing": "one seed shows nothing yet",
}


def headline(report: Report) -> str:
    """The sentence; where nothing was chosen, the first one of the sweep's own."""
    chosen = next((c for c in report.configurations if c.chosen), None)
    if chosen is None or chosen.verdict not in PHRASES or finite(chosen.gain_mean) is None:
        return next((sentence for sentence in report.sentences if not sentence.startswith("Provisional")), "")
    total = len(report.configurations)
    confirmed = next(
        (c for c in report.confirmations if c.verdict in PHRASES and finite(c.gain_mean) is not None), None
    )
    judged = confirmed or chosen
    who = f"{shorten_name(judged.name)}, chosen on validation from {total} configurations" if total > 1 else "Distilled"
    ends = f" (95% interval {' to '.join(map(report.gains.text, judged.interval))})" if judged.interval else ""
    fresh = "fresh " if confirmed else ""
    seeds = f"{len(judged.seeds)} {fresh}seed{'' if len(judged.seeds) == 1 else 's'}"
    gain = f"test gain {report.gains.text(judged.gain_mean)} {report.gains.unit}{ends} over {seeds}"
    return f"{who}: {PHRASES[judged.verdict]}; {gain}."
