"""The Markdown report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kd_lightning.results.report.run.markdown import (
    escape_markdown,
    fence_code,
    format_markdown_table,
    render_run_markdown,
)
from kd_lightning.results.report.run.run_files import read_run


def test_the_same_table_and_sentences(results: dict[str, Any], write_run: Callable[..., Path]) -> None:
    text = render_run_markdown(read_run(write_run(results, config__yaml="seed: 0\n")))
    assert text.startswith("# Distillation report: language modeling\n\n**The student closes half of the gap.**\n")
    assert "| distilled | 39.00 | 40.00 | 50% | 174,000 | 696.0 kB | 3.95x | 1.23 ms | 100 | 12.3 |" in text
    assert "- **Data**: Fingerprint 9c1185a5." in text
    assert "```bash\nkd run temperature=2\n```" in text
    assert text.endswith("```yaml\nseed: 0\n```\n")


def test_cells_cannot_break_the_table() -> None:
    assert format_markdown_table(["a", "b"], [["x|y", "1\n2"]]) == "| a | b |\n| :--- | ---: |\n| x\\|y | 1 2 |"


def test_hostile_text_is_shown_as_it_is() -> None:
    assert escape_markdown("<script>[a](javascript:b) `*c*`") == "&lt;script&gt;\\[a\\](javascript:b) \\`\\*c\\*\\`"


def test_a_fence_outlasts_the_fences_inside() -> None:
    assert fence_code("a\n````\nb", "yaml") == "`````yaml\na\n````\nb\n`````"
