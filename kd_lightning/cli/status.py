"""``kd status [FOLDER]``: how a sweep or a run is doing, from another terminal or another day."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.console import make_console
from kd_lightning.results.sweep_folder import (
    DONE,
    FINAL,
    JOB_FILE,
    LOST,
    PRUNED,
    RESULTS_FILE,
    RUNNING,
    UNDER_WAY,
    WAITING,
    Job,
    Sweep,
    is_sweep,
    read_job,
    read_sweep,
)
from kd_lightning.safety.redaction import HIDDEN
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.sweeps.display import (
    describe_ending,
    draw_bars,
    estimate_seconds_left,
    format_duration,
    get_stage_title,
    make_job_title,
    render_sweep,
    was_interrupted,
)

STATUS_HELP = """\
kd status [FOLDER] [--watch]

  kd status                       the newest sweep or run below outputs/
  kd status outputs/sweeps/NAME   a sweep: how many jobs are where, the best so far, the time left
  kd status outputs/runs/NAME     a single run
  kd status --watch               follows it to its end; in a pipe or file: one line for each change

Exit code: 0 at work or done; 1 something failed or was cut short; 2 there is no such sweep or run.
"""
PLACES = ("sweeps", "runs")
WATCH_SECONDS = 1.0


def run_status_verb(words: list[str]) -> int:
    """The verb; returns the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(STATUS_HELP, end="")
        return 0
    folder = choose_folder([word for word in words if word != "--watch"])
    view = SweepView if is_sweep(folder) else RunView
    return follow_view(lambda: view(folder)) if "--watch" in words else print_view(view(folder))


def choose_folder(words: list[str]) -> Path:
    """The folder that the words name.

    Raises:
        ConfigError: There is none.
    """
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ConfigError(f"kd status {' '.join(words)}: not understood; see kd status --help")
    if words:
        folder = Path(words[0])
        if not folder.is_dir() or not (is_sweep(folder) or is_run_folder(folder)):
            raise ConfigError(f"{folder} is no sweep's or run's folder: give the one that `kd run` printed last")
        return folder
    folders = [path for place in PLACES for path in Path("outputs", place).glob("*") if path.is_dir()]
    found = [path for path in folders if is_sweep(path) or is_run_folder(path)]
    if not found:
        raise ConfigError("outputs/ holds no sweep and no run: give a folder, as in kd status FOLDER")
    return max(found, key=lambda path: path.stat().st_mtime)


def is_run_folder(folder: Path) -> bool:
    """The folder is a run's; older ones have recorded no state."""
    return any((folder / name).is_file() for name in (JOB_FILE, RESULTS_FILE, "overrides.txt"))


class SweepView:
    """What is shown of a sweep at one moment.

    Args:
        folder: The sweep's.
    """

    def __init__(self, folder: Path) -> None:
        self.sweep: Sweep = read_sweep(folder)
        self.running = self.sweep.running
        state = self.sweep.info.get("state") or "not known"
        problem = self.sweep.info.get("error")
        told = f": {problem}" if problem else ""
        self.head = f"{folder}: {'killed' if state == RUNNING and not self.running else state}{told}"

    def picture(self) -> RenderableType:
        """What changes all the time."""
        return render_sweep(self.sweep)

    def ended(self) -> list[str]:
        """A line for each job that is over."""
        names = self.sweep.differing
        return [describe_ending(job, names) for job in self.sweep.jobs if job.state in FINAL]

    def news(self) -> list[str]:
        """Lines that stay as they are once they are true."""
        return [self.head, *self.ended()]

    def waiting(self) -> list[str]:
        """A line for each job that has begun and waits."""
        names = self.sweep.differing
        jobs = [job for job in self.sweep.jobs if job.record and job.state == WAITING]
        return [f"{make_job_title(job, names)}: {WAITING}" for job in jobs]

    def advice(self) -> list[str]:
        """What to type, where something is missing."""
        command = self.sweep.info.get("command")
        if not command or not self.code:
            return []
        command += f"   (put in what {HIDDEN} hides)" if HIDDEN in command else ""
        cut_short = sum(was_interrupted(job) for job in self.sweep.jobs)
        if cut_short and not self.running:
            return [f"{cut_short} interrupted; the same command goes on: {command}"]
        return [f"the same command runs what is missing: {command}"]

    @property
    def code(self) -> int:
        """The exit code: 1 where a job has no result and should have, or is not to come any more."""
        missing = not self.running and self.sweep.count(DONE, PRUNED) < (self.sweep.planned or 0)
        return int(missing or self.sweep.count(*LOST) > 0)


class RunView:
    """What is shown of a single run at one moment.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.job: Job = read_job(folder)
        self.running = self.job.state in UNDER_WAY and bool(self.job.record)
        state = self.job.state
        if not self.job.record:
            state = DONE if (folder / RESULTS_FILE).is_file() else "unfinished (an older version ran it)"
        self.state = "interrupted" if was_interrupted(self.job) else state
        self.head = f"{folder}: {self.state}"

    def picture(self) -> RenderableType:
        """What changes all the time."""
        left = estimate_seconds_left(self.job)
        told = [] if left is None else [Text(f"about {format_duration(left)} left", style="bold")]
        return Group(*told, draw_bars([("run", self.job)] if self.running else []))

    def ended(self) -> list[str]:
        """How it ended."""
        if self.job.results:
            verdict = str(self.job.results.get("verdict", ""))
            return [verdict] if verdict else []
        return [self.job.error] if self.job.state in LOST else []

    def news(self) -> list[str]:
        """Lines that stay as they are once they are true."""
        progress = self.job.progress or {}
        return [self.head, *([get_stage_title(progress)] if "stage" in progress else [])]

    def waiting(self) -> list[str]:
        """Nothing: the first line says it."""
        return []

    def advice(self) -> list[str]:
        """That it goes on, where it was cut short."""
        return ["the same command goes on from the last resume point"] if was_interrupted(self.job) else []

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self.job.state in LOST or self.state.startswith("unfinished"))


View = SweepView | RunView


def print_view(view: View, told: Collection[str] = ()) -> int:
    """Print the state once; the exit code.

    Args:
        view: The sweep or run.
        told: Lines that were printed before.
    """
    console = make_console()
    for part in [view.head, view.picture(), *view.ended(), *view.waiting(), *view.advice()]:
        if not isinstance(part, str):
            console.print(part, soft_wrap=True)
        elif part not in told:
            console.print(escape_unprintable(part), soft_wrap=True, markup=False)
    return view.code


def follow_view(look: Callable[[], View]) -> int:
    """Show it until it is over, on a terminal as a picture that changes, else a line for each change; the exit code."""
    console, view = make_console(), look()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while view.running:
                live.update(view.picture(), refresh=True)
                time.sleep(WATCH_SECONDS)
                view = look()
        return print_view(view)
    told: dict[str, None] = {}
    while view.running:
        for line in view.news():
            if line not in told:
                console.print(escape_unprintable(line), soft_wrap=True, markup=False)
                told[line] = None
        time.sleep(WATCH_SECONDS)
        view = look()
    return print_view(view, told)
