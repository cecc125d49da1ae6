"""``kd noise``: before a sweep, what its seeds can show, from the luck seen in jobs that are done. Files alone."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.cli.report import require_folder
from kd_lightning.errors import KDError
from kd_lightning.experiment.console import TerminalBoard
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.statistics.over_seeds import list_configurations
from kd_lightning.results.statistics.power import (
    DEFAULT_SHARED,
    POWER,
    count_seeds_needed,
    estimate_gain_sd,
    smallest_gain,
)
from kd_lightning.results.statistics.seed_groups import (
    SeedGroup,
    compute_sample_sd,
    explain_unfit,
    group_by_configuration,
)
from kd_lightning.results.statistics.seed_sentences import format_fine_difference
from kd_lightning.results.sweep_folder import Job
from kd_lightning.safety.error_text import to_one_line

NOISE_HELP = """\
kd noise FOLDER [...] [--seeds 3,5,10] [--configurations 9]

  kd noise outputs/sweeps/SWEEP     what seeds can show of such jobs, from the spread between the sweep's seeds
  kd noise outputs/runs/A outputs/runs/B outputs/runs/C
                                    the same from single runs that differ in their seed alone

Prints the smallest gain over the student alone that 3, 5, 10 seeds show with 80 % power, for one configuration and,
corrected, for several compared at once; and how many seeds a gain needs.
"""
DEFAULT_SEED_COUNTS = (3, 5, 10)
GAINS = (0.5, 1.0, 2.0)
"""In standard deviations, beside the one that was found."""


@dataclass(frozen=True)
class NoiseArguments:
    """What the words ask for; ``configurations`` None = as many as the folders hold."""

    folders: list[Path]
    seeds: tuple[int, ...] = DEFAULT_SEED_COUNTS
    configurations: int | None = None


@dataclass(frozen=True)
class Noise:
    """The luck in a configuration's paired gain, pooled over configurations.

    Attributes:
        sd: Standard deviation over seeds, in the metric's unit.
        df: Differences behind it, less one for each configuration.
        shared: How much of its variance all configurations of a seed have in common.
        alone: Standard deviation of the student alone's test value, over its seeds.
        best: The largest mean gain of a configuration with several seeds.
        configurations: How many configurations there are.
        example: A test value, which says how differences are format_difference.
        metric: The metric's name.
        mode: ``min`` or ``max``.
    """

    sd: float
    df: int
    shared: float
    alone: float | None
    best: float
    configurations: int
    example: float
    metric: str
    mode: str

    def format_difference(self, value: float) -> str:
        """A difference of two values of the metric."""
        return format_fine_difference(value, self.example, self.metric, self.mode)


def run_noise_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(NOISE_HELP, end="")
        return 0
    try:
        request = parse_noise_arguments(words)
        found = measure_noise(request.folders)
    except KDError as error:
        print(f"kd noise: {to_one_line(error)}", file=sys.stderr)
        return 2
    print_noise(found, request)
    return 0


def parse_noise_arguments(words: Sequence[str]) -> NoiseArguments:
    """Folders and options.

    Raises:
        KDError: A word is no folder, an option is not known, or its value is no number.
    """
    folders, rest = [], list(words)
    options: dict[str, tuple[int, ...]] = {"--seeds": DEFAULT_SEED_COUNTS, "--configurations": ()}
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in options:
            if not equals and not rest:
                raise KDError(f"{name}: a number is expected, as in {name} 5")
            options[name] = parse_numbers(name, value if equals else rest.pop(0))
        elif name.startswith("-"):
            raise KDError(f"no option {name!r} (see kd noise --help)")
        else:
            folders.append(require_folder(name + equals + value))
    if not folders:
        raise KDError("which folder? Name a sweep, or runs that differ in their seed, as outputs/sweeps/SWEEP")
    return NoiseArguments(folders, options["--seeds"], next(iter(options["--configurations"]), None))


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    Raises:
        KDError: One is none, or too small: one seed shows nothing.
    """
    least = 2 if option == "--seeds" else 1
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise KDError(f"{option} {text}: whole numbers of at least {least} are expected, as in {option} 5")
    return tuple(map(int, parts))


def measure_noise(folders: Sequence[Path]) -> Noise:
    """The luck in what the folders hold.

    Raises:
        KDError: No configuration has two seeds, or they were measured in different metrics.
    """
    named = ", ".join(map(str, folders))
    jobs = read_pool(folders).judged
    groups = [group for group in group_by_configuration(jobs) if not explain_unfit(group)]
    if not groups:
        raise KDError(f"{named}: no job has finished, so nothing tells the luck; kd run -m seed=0,1,2 ... first")
    if len({run.kind for group in groups for run in group.runs}) > 1:
        raise KDError(f"{named}: the jobs differ in task or metric; name those of one kind")
    gains = {i: group.by_seed(lambda run: run.gain) for i, group in enumerate(groups) if len(group.seeds) > 1}
    if not gains:
        raise KDError(
            f"{named}: one seed for each configuration, and one seed tells nothing of luck; "
            "run one configuration with several: kd run -m seed=0,1,2 ..."
        )
    df = sum(len(values) - 1 for values in gains.values())
    squares = sum((len(values) - 1) * statistics.variance(values) for values in gains.values())
    if not squares:
        raise KDError(f"{named}: every seed has the same gain; does the seed matter here?")
    _, metric, mode = groups[0].runs[0].kind
    return Noise(
        sd=math.sqrt(squares / df),
        df=df,
        shared=estimate_shared(jobs),
        alone=compute_sample_sd(students_alone(groups)),
        best=max(statistics.fmean(values) for values in gains.values()),
        configurations=len(groups),
        example=groups[0].runs[0].test,
        metric=metric,
        mode=mode,
    )


def estimate_shared(jobs: Sequence[Job]) -> float:
    """How much of the luck all configurations of a seed share, as the sweep found it; what is usual where it has but one."""
    found = [(one.null, len(one.seeds)) for one in list_configurations(jobs) if one.null]
    shares = [estimate_gain_sd(null, seeds)[1] for null, seeds in found if null.comparisons > 1]
    return statistics.median(shares) if shares else DEFAULT_SHARED


def students_alone(groups: Sequence[SeedGroup]) -> list[float]:
    """Test values of the configuration with the most seeds; others often share them."""
    group = max(groups, key=lambda group: len(group.seeds))
    return group.by_seed(lambda run: run.baseline)


def print_noise(found: Noise, request: NoiseArguments) -> None:
    """Print the luck, what seeds show, and how many a gain needs."""
    board, several = TerminalBoard(), request.configurations or max(2, found.configurations)
    alone = "" if found.alone is None else f"; the student alone by {found.format_difference(found.alone)}"
    board.say(
        f"{found.metric}: from seed to seed the gain over the student alone differs by "
        f"{found.format_difference(found.sd)} (standard deviation, {found.df} degrees of freedom){alone}."
    )
    power = f"{POWER:.0%}"
    corrected = f"best of {several} configurations"
    rows = [
        [
            str(seeds),
            *(found.format_difference(smallest_gain(found.sd, seeds, number, found.shared)) for number in (1, several)),
        ]
        for seeds in request.seeds
    ]
    board.table(f"smallest gain shown with {power} power", ["seeds", "one configuration", corrected], rows)
    gains = sorted({*(part * found.sd for part in GAINS), *([found.best] if found.best > 0 else [])})
    rows = [
        [
            found.format_difference(gain) + (" (the largest found)" if gain == found.best else ""),
            *(format_count(count_seeds_needed(gain, found.sd, number, found.shared)) for number in (1, several)),
        ]
        for gain in gains
    ]
    board.table(f"seeds that show a gain with {power} power", ["gain", "one configuration", corrected], rows)


def format_count(seeds: int | None) -> str:
    """A number of seeds; None = more than are ever run."""
    return "over 1000" if seeds is None else str(seeds)
