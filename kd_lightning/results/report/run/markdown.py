"""The report as Markdown: the page's table and sentences, readable in a terminal and in a pull request."""

from __future__ import annotations

import html
import re

from kd_lightning.results.report.run.evidence import list_run_facts, make_run_command, make_run_title
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.report.summary import list_summary_sentences, list_summary_tables
from kd_lightning.safety.terminal import escape_unprintable


def render_run_markdown(run: RunFiles) -> str:
    """The whole file."""
    verdict, *more = list_summary_sentences(run.results)
    return (
        "\n\n".join(
            [
                f"# {escape_markdown(make_run_title(run.results))}",
                f"**{escape_markdown(verdict)}**",
                *map(escape_markdown, more),
                *(format_markdown_table(found.header, found.rows) for found in list_summary_tables(run.results)),
                "Learning curves and loss terms: [report.html](report.html).",
                "## What the verdict rests on",
                "\n".join(
                    f"- **{escape_markdown(about)}**: {escape_markdown(sentences)}"
                    for about, sentences in list_run_facts(run)
                ),
                "## Repeat it",
                fence_code(make_run_command(run), "bash"),
                *(["Configuration:", fence_code(run.config, "yaml")] if run.config else []),
            ]
        )
        + "\n"
    )


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no HTML, no links, no cell borders."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(escape_unprintable(" ".join(text.split())), quote=False))


def format_markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table: the first column to the left, numbers to the right."""
    rule = [":---", *["---:"] * (len(header) - 1)]
    lines = [
        [escape_markdown(cell) for cell in header],
        rule,
        *([escape_markdown(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fence_code(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
