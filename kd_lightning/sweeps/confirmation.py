"""``confirm=N``: the configuration that validation chose, trained again on N seeds that the sweep has not used.

The luck of a training is in its validation and its test value alike, so the configuration that is best of many is also
the luckiest one. Fresh seeds know nothing of the choice: what they show of it needs no correction.

Both sweepers end here, so it works with every launcher: the jobs go through the sweep's own, numbered on in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from kd_lightning.errors import ConfigError
from kd_lightning.results.numbers import shorten_name
from kd_lightning.results.sweep_folder import DONE, Job, parse_params, read_sweep
from kd_lightning.results.sweep_records import plan_confirmation
from kd_lightning.sweeps.hydra_callback import SweepWatch

if TYPE_CHECKING:
    from kd_lightning.results.statistics.seed_groups import ChosenConfiguration

SETTING = "confirm"
LaunchJobs = Callable[[Sequence[Sequence[str]], int], Any]


def parse_confirm(value: Any) -> int:
    """The setting's value; 0 = nothing is confirmed.

    Raises:
        ConfigError: It is no number of seeds that could show anything.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value == 1:
        raise ConfigError(
            f"confirm={value!r}: a number of fresh seeds is expected, 2 or more (one seed shows nothing); 0 = none"
        )
    return value


def drop_confirm(words: Iterable[str]) -> list[str]:
    """The words for the sweep's jobs. The setting is the sweep's own, no job's.

    Raises:
        ConfigError: It is given several values.
    """
    words = list(words)
    for word in words:
        name, value = next(iter(parse_params([word]).items()))
        if name == SETTING and not value.isdecimal() and value != "null":
            raise ConfigError(f"{word}: one whole number is expected, as in confirm=5")
    return [word for word in words if SETTING not in parse_params([word])]


def refuse_confirm(value: Any) -> None:
    """For a single run, which has nothing to choose from.

    Raises:
        ConfigError: The setting is on.
    """
    if value:
        raise ConfigError(
            f"confirm={value} is for sweeps, and this is a single run: "
            f"kd run -m confirm={value} temperature=1,2,4 seed=0,1,2, or leave it out"
        )


def run_confirmation(
    config: DictConfig, launch: LaunchJobs, wanted: int, first: int, words: Iterable[str], hindrance: str = ""
) -> None:
    """Run the jobs that confirm, once those that explore have ended.

    Args:
        config: The sweep's composed configuration.
        launch: Runs jobs with these overrides, numbered from its second argument on.
        wanted: How many seeds.
        first: Number of the first job.
        words: Overrides of the jobs that explored, secrets in: records have them redacted.
        hindrance: Why it is too early to choose, in one clause; empty where it is not.
    """
    if not wanted:
        return
    from kd_lightning.results.statistics.seed_groups import choose_configuration  # only here: it takes long to import

    folder = Path(str(config.hydra.sweep.dir))
    exploring = [job for job in read_sweep(folder).jobs if not job.confirm]
    choice = None if hindrance else choose_configuration(exploring)
    if choice is None:
        skip_confirmation(folder, hindrance or explain_no_choice(exploring))
        return
    swept = list_swept_teacher_seeds(choice, exploring)
    seeds = pick_fresh_seeds([*choice.seeds, *swept], wanted)
    plan_confirmation(folder, range(first, first + wanted), name=choice.name, overrides=choice.overrides, seeds=seeds)
    print(announce_choice(choice, exploring, seeds), flush=True)
    plain = {SweepWatch.hidden.redact(word): word for word in words}
    kept = [plain.get(word, word) for word in choice.overrides]
    launch([[*kept, f"seed={seed}", *([f"teacher.seed={seed}"] if swept else [])] for seed in seeds], first)


def skip_confirmation(folder: Path, reason: str) -> None:
    """Say and record that nothing is confirmed."""
    plan_confirmation(folder, [], reason=reason)
    print(f"no confirmation: {reason}", flush=True)


def explain_no_choice(jobs: Sequence[Job]) -> str:
    """In one clause, with what to do."""
    if not any(job.results for job in jobs):
        return "no job has finished; the same command runs them again"
    return (
        "validation cannot choose: the jobs differ in task, metric or data, or no configuration went well on all seeds"
    )


def pick_fresh_seeds(used: Iterable[int], wanted: int) -> list[int]:
    """The smallest seeds above all that the sweep has used.

    Example:
        >>> pick_fresh_seeds([0, 1, 7], 2)
        [8, 9]
    """
    first = max(used, default=-1) + 1
    return list(range(first, first + wanted))


def list_swept_teacher_seeds(choice: ChosenConfiguration, exploring: Sequence[Job]) -> list[int]:
    """The teacher's seeds where the sweep varied them: its seed must then be as fresh as the student's. Else none."""
    if "teacher.seed" in parse_params(choice.overrides):
        return []
    words = [parse_params(job.overrides).get("teacher.seed", "") for job in exploring]
    return [int(word) for word in words if word.isdecimal()]


def announce_choice(choice: ChosenConfiguration, exploring: Sequence[Job], seeds: Sequence[int]) -> str:
    """What is confirmed, and how."""
    lost = sum(job.state != DONE for job in exploring)
    without = f" ({lost} of {len(exploring)} jobs gave no result and took no part in the choice)" if lost else ""
    name = shorten_name(choice.name) or "the configuration"
    return f"confirmation: validation chose {name}{without}; fresh seeds {', '.join(map(str, seeds))}"
