"""The report as Markdown: the page's table and sentences, readable in a terminal and in a pull request."""

from __future__ import annotations

import html
import re

from kd_lightning.results.report.run.evidence import command, facts, title
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.report.summary import summary_sentences, summary_tables
from kd_lightning.safety.terminal import printable


def markdown_page(run: RunFiles) -> str:
    """The whole file."""
    verdict, *more = summary_sentences(run.results)
    return (
        "\n\n".join(
            [
                f"# {plain(title(run.results))}",
                f"**{plain(verdict)}**",
                *map(plain, more),
                *(table(found.header, found.rows) for found in summary_tables(run.results)),
                "Learning curves and loss terms: [report.html](report.html).",
                "## What the verdict rests on",
                "\n".join(f"- **{plain(about)}**: {plain(sentences)}" for about, sentences in facts(run)),
                "## Repeat it",
                fenced(command(run), "bash"),
                *(["Configuration:", fenced(run.config, "yaml")] if run.config else []),
            ]
        )
        + "\n"
    )


def plain(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no HTML, no links, no cell borders."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(printable(" ".join(text.split())), quote=False))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table: the first column to the left, numbers to the right."""
    rule = [":---", *["---:"] * (len(header) - 1)]
    lines = [[plain(cell) for cell in header], rule, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
