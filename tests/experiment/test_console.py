"""The lines of a run on the terminal and in ``progress.json``."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from kd_lightning.experiment.console import Line, TerminalBoard
from kd_lightning.results.sweep_records import ProgressFile

LINES = (
    Line("data", "split data", 0),
    Line("teacher", "teacher", 20),
    Line("teacher_outputs", "store teacher", 0, "rows"),
    Line("distill", "distill", 30),
)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_plain_lines_where_nobody_watches() -> None:
    console = Console(file=io.StringIO(), width=120)
    with TerminalBoard(console=console) as board:
        board.expect(LINES)
        board.start("data")
        board.done("data", "64 rows")
        board.start("teacher")
        board.start("teacher_outputs", 64)
        board.done("teacher", "validation 1 [x] \x1b")
    assert text_of(console).splitlines() == [
        "split data ...",
        "split data: 64 rows",
        "teacher: 20 steps ...",
        "store teacher: 64 rows ...",
        "teacher: validation 1 [x] \\x1b",
    ]


def test_stages_are_in_view_as_soon_as_they_are_expected() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with TerminalBoard(console=console) as board:
        board.expect(LINES[:2])
        board.start("teacher")
        board.update("teacher", 5, "")
        board.expect([Line("teacher", "another title", 99), Line("last", "[b]last[/b] \x1b", 7)])
    last = text_of(console).rpartition("split data")[2]
    assert "teacher       " in last, "13 letters wide"
    assert " 5/20 " in last, "a stage that is known stays as it is"
    assert "[b]last[/b] \\x1b" in last
    assert "another title" not in last


def test_progress_tells_the_title_and_counts_the_steps_that_come_later(tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []

    class Recorded(ProgressFile):
        def update(self, *told: object) -> None:  # type: ignore[override]
            seen.append(told)
            super().update(*told)  # type: ignore[arg-type]

    path = tmp_path / "progress.json"
    with TerminalBoard(console=Console(file=io.StringIO()), progress=Recorded(path)) as board:
        board.expect(LINES[:3])
        board.start("teacher")
        assert json.loads(path.read_text(encoding="utf-8"))["title"] == "teacher"
        board.expect(LINES)
        board.start("teacher_outputs", 64)  # rows are no steps
        board.start("data")
        board.update("data", 1, "half")
    assert seen == [
        ("teacher", "teacher", 0, 20, "", 0),
        ("teacher_outputs", "store teacher", 0, 64, "", 30),
        ("data", "split data", 0, 0, "", 50),
        ("data", "split data", 1, 0, "half", 50),
    ]
    assert not path.exists()
