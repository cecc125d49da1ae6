"""What a whole sweep shows, in sentences, most important first.

Where the chosen configuration was confirmed on fresh seeds, that confirmation speaks: those seeds took no part in choosing,
and one comparison needs no correction. Else the sweep itself speaks, its intervals corrected for all configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

from kd_lightning.results.numbers import format_metric, shorten_name
from kd_lightning.results.statistics.over_seeds import Configuration, list_configurations, list_confirmations
from kd_lightning.results.statistics.pairwise import compare_with_chosen
from kd_lightning.results.statistics.pooled_tasks import TaskRuns, probability_of_improvement, share_closed
from kd_lightning.results.statistics.power import (
    MOST_SEEDS,
    POWER,
    count_seeds_needed,
    estimate_gain_sd,
    smallest_gain_of,
)
from kd_lightning.results.statistics.seed_groups import (
    SeedGroup,
    choose_best_group,
    find_best_run,
    group_confirming_jobs,
    group_exploring_jobs,
    split_by_task,
)
from kd_lightning.results.statistics.seed_sentences import (
    MORE_SEEDS,
    NO_DIFFERENCE,
    describe_unequal_steps,
    format_fine_difference,
    format_mean_sd,
)
from kd_lightning.results.statistics.simultaneous_test import FEWEST_POOLED
from kd_lightning.results.statistics.verdict import BOOTSTRAP_RESAMPLES, CONFIDENCE_LEVEL
from kd_lightning.results.sweep_folder import DONE, PRUNED, Job

NAMED = 6
"""Configurations that a sentence names before it says how many more there are."""


def sweep_sentences(jobs: Sequence[Job], planned: int | None = None) -> list[str]:
    """What the whole sweep shows, most important first.

    Args:
        jobs: Its jobs as far as they are known.
        planned: How many it will have; None where that is not known.
    """
    groups, found = group_exploring_jobs(jobs), list_configurations(jobs)
    said = list_provisos(jobs, planned)
    if not found:
        return [*said, "No job has finished: no statement."]
    confirmed = confirmation_sentences(jobs, found)
    tasks = split_by_task(groups)
    if len(tasks) > 1:
        return [*said, *confirmed, *task_sentences(jobs, groups, found, tasks), *list_caveats(groups, found, None)]
    best = next((i for i, each in enumerate(found) if each.chosen), None)
    if best is None:
        said.append("No statement: no configuration has a mean validation value to be chosen by.")
    else:
        *before, verdict = chosen_sentences(groups, found, best)
        if confirmed:
            said += [*confirmed, *before, f"On the sweep's own seeds: {verdict}"]
        else:
            said += [*before, verdict, *power_sentences(found[best])]
        said += pair_sentences(groups, found)
    return [*said, *comparisons_sentences(groups, found), *list_caveats(groups, found, best)]


def list_provisos(jobs: Sequence[Job], planned: int | None) -> list[str]:
    """That the statement is not the last word, where jobs are missing."""
    counts: dict[str, int] = {}
    for job in jobs:
        if job.state != DONE:
            state = job.state if job.record else "starting"
            counts[state] = counts.get(state, 0) + 1
    if planned is not None and planned > len(jobs):
        counts["not started"] = planned - len(jobs)
    pruned = counts.pop(PRUNED, 0)
    said = []
    if counts:
        states = ", ".join(f"{number} {state}" for state, number in counts.items())
        missing = f"{sum(counts.values())} of {max(planned or 0, len(jobs))} jobs are missing ({states})"
        said.append(f"Provisional: {missing}. Verdicts can change until they are there; only the last ones count.")
    if pruned:
        said.append(f"Pruned, that is stopped early for what they showed: {pruned} of the jobs; no mean holds them.")
    return said


# -- what speaks -------------------------------------------------------------------------------------------------------


def confirmation_sentences(jobs: Sequence[Job], found: Sequence[Configuration]) -> list[str]:
    """The verdict on fresh seeds, and why it speaks for the sweep."""
    said = []
    for one in list_confirmations(jobs):
        name, seeds = name_configuration(one), count_seeds(one)
        said.append(f"Confirmation of {name} on {seeds} that the sweep had not used: {one.sentence}")
        if one.null is None:
            continue
        said.append(
            f"This confirmation speaks for the sweep: validation chose {name} on other seeds, so the luck it was chosen "
            "for is not in these numbers, and one comparison needs no correction."
        )
        said += power_sentences(one)
        now = [each for each in found if each.chosen]
        if now and one.name not in {each.name for each in now}:
            said.append(
                f"By the jobs that have finished since, validation would choose {name_configuration(now[0])} instead."
            )
    return said


def chosen_sentences(groups: Sequence[SeedGroup], found: Sequence[Configuration], best: int) -> list[str]:
    """Which configuration validation chose, and its verdict."""
    one, name = found[best], name_configuration(found[best])
    if len(found) == 1:
        return [one.sentence]
    value = format_metric(one.val_mean, one.metric, one.mode)
    said = [
        f"Validation chose {name}: mean {one.metric} {value} over {count_seeds(one)}, the best of {len(found)} "
        "configurations."
    ]
    equal = [name_configuration(each) for each in found if each.val_mean == one.val_mean and each is not one]
    if equal:
        said.append(f"As good on validation: {', '.join(equal)}; the first one is named.")
    most = max(len(group.seeds) for group in groups)
    if len(one.seeds) < most:
        rest = [group for group in groups if len(group.seeds) == most]
        other = choose_best_group(rest)
        instead = (
            ""
            if other is None
            else f"; among those with {most}, validation would choose {shorten_name(rest[other].name)}"
        )
        said.append(f"{name} rests on {len(one.seeds)} of {most} seeds{instead}.")
    return [*said, one.sentence]


def power_sentences(one: Configuration) -> list[str]:
    """What could have been seen, where no difference was shown."""
    if one.verdict != NO_DIFFERENCE or one.null is None:
        return []

    def apart(value: float) -> str:
        return format_fine_difference(value, one.test_mean, one.metric, one.mode, 2)

    smallest = smallest_gain_of(one.null)
    seeds = f"These {count_seeds(one)} and this spread show a gain of {apart(smallest)} in {POWER:.0%} of such sweeps"
    sd, shared = estimate_gain_sd(one.null, len(one.seeds))
    needed = count_seeds_needed(abs(one.gain_mean), sd, one.comparisons, shared) if one.null.pooled else None
    alone = count_seeds_needed(abs(one.gain_mean), sd)
    ways = [f"about {needed} seeds"] if needed else []
    if one.comparisons > 1 and alone and (needed is None or alone < needed):
        ways.append(f"about {alone} fresh seeds in a confirmation (confirm={alone})")
    if not ways:
        return [f"{seeds}; what was found is too small for any number of seeds up to {MOST_SEEDS}."]
    return [f"{seeds}; one of {apart(abs(one.gain_mean))}, as found, takes {', or '.join(ways)}."]


def name_configuration(one: Configuration) -> str:
    """The configuration's name in a sentence."""
    return shorten_name(one.name) or "the one that changes nothing"


def count_seeds(one: Configuration) -> str:
    """``one seed``, ``3 seeds``."""
    return "one seed" if len(one.seeds) == 1 else f"{len(one.seeds)} seeds"


# -- all configurations ------------------------------------------------------------------------------------------------


def comparisons_sentences(groups: Sequence[SeedGroup], found: Sequence[Configuration]) -> list[str]:
    """How many comparisons there were, what came out, and what was corrected for."""
    if len(found) == 1:
        return []
    words = [each.verdict for each in found]
    tally = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    tested = sum(len(group.seeds) > 1 for group in groups)
    if not tested:
        return [f"{len(found)} configurations with one seed each. One seed shows nothing: {MORE_SEEDS}."]
    each = "each" if tested == len(found) else f"{tested} of them"
    said = [
        f"{len(found)} configurations, {each} compared with the student alone over several seeds: {tally}. Intervals "
        f"and p are corrected for that many: the chance of any false claim among them is held at {1 - CONFIDENCE_LEVEL:.0%}."
    ]
    if all(one.pooled for one in found):
        said.append(
            "The luck of a single training is estimated from all configurations together; the luck of a seed, which they "
            "share, from the seeds."
        )
    elif sum(one.null is not None for one in found) < FEWEST_POOLED:
        said.append("Two are too few to pool their spreads, so each is judged by its own alone.")
    else:
        said.append("The configurations' spreads differ plainly, so each is judged by its own alone.")
    return said


def pair_sentences(groups: Sequence[SeedGroup], found: Sequence[Configuration]) -> list[str]:
    """Which configurations can be told apart from the chosen one."""
    pairs = compare_with_chosen(groups, found)
    said = []
    for sentence, verdict in (
        ("The chosen one is not shown to differ on test from", "not told apart"),
        ("Better on test than the chosen one", "better"),
        ("Worse on test than the chosen one", "worse"),
    ):
        names = [name_configuration(pair.configuration) for pair in pairs if pair.verdict == verdict]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        if names:
            said.append(f"{sentence}: {', '.join(names[:NAMED])}{more}.")
    return said


def task_sentences(
    jobs: Sequence[Job], groups: Sequence[SeedGroup], found: Sequence[Configuration], tasks: Sequence[Sequence[int]]
) -> list[str]:
    """The verdict of each task, and how distillation did over all of them."""
    said = [f"{len(tasks)} tasks, told apart by task, metric or data; each has a verdict of its own."]
    chosen = [i for i, one in enumerate(found) if one.chosen]
    said += [f"{task_name(groups[i])}, {name_configuration(found[i])}: {found[i].sentence}" for i in chosen]
    fresh = {(group.name, group.runs[0].kind): group for group in group_confirming_jobs(jobs)}
    spoken = [fresh.get((groups[i].name, groups[i].runs[0].kind), groups[i]) for i in chosen]
    runs = [TaskRuns.of(group) for group in spoken]
    usable = [task for task in runs if task.has_gap]
    if len(usable) < 2:
        return said
    closed, improved = share_closed(usable), probability_of_improvement(usable)
    luck = (
        ""
        if all(group in fresh.values() for group in spoken)
        else " Validation chose on these seeds, so some luck is in it."
    )
    said.append(
        f"Over {len(usable)} of {len(tasks)} tasks, distillation closes {closed[0]:.0%} of the gap between student alone and "
        f"teacher (interquartile mean; {CONFIDENCE_LEVEL:.0%} interval {closed[1]:.0%} to {closed[2]:.0%}); a distilled "
        f"student beats one alone with probability {improved[0]:.2f} ({improved[1]:.2f} to {improved[2]:.2f}); "
        f"{BOOTSTRAP_RESAMPLES} resamples of the seeds within each task.{luck}"
    )
    return said


def task_name(group: SeedGroup) -> str:
    """A task in words."""
    task, metric, _ = group.runs[0].kind
    return f"{task.replace('_', ' ').capitalize()} ({metric})"


def list_caveats(groups: Sequence[SeedGroup], found: Sequence[Configuration], best: int | None) -> list[str]:
    """What else a reader must know: budgets, a better student alone elsewhere, one teacher."""
    said = []
    unequal = [
        name_configuration(one) for one, group in zip(found, groups, strict=True) if describe_unequal_steps(group)
    ]
    if unequal:
        said.append(f"NOT in equal steps, so no fair comparison: {', '.join(unequal)}.")
    steps = sorted({run.steps[1] for group in groups for run in group.runs})
    if len(steps) > 1:
        said.append(f"The student's budget is not the same in all jobs: {steps[0]} to {steps[-1]} steps.")
    if best is not None:
        said += better_alone(groups, best)
    if len({run.teacher_seed for group in groups for run in group.runs}) == 1 < max(len(one.seeds) for one in found):
        said.append(
            "One teacher seed for all: the intervals hold the luck of the student's seed, not of the teacher's."
        )
    return said


def better_alone(groups: Sequence[SeedGroup], best: int) -> list[str]:
    """Where the sweep changes the student alone, too: the one validation would choose, if it is not the chosen one's."""
    own = groups[best].baseline_keys
    others = [i for i, group in enumerate(groups) if i != best and own.isdisjoint(group.baseline_keys)]
    top = find_best_run(groups, {i: groups[i].by_seed(lambda run: run.baseline_val) for i in (best, *others)})
    if top is None or top == best:
        return []
    _, metric, mode = groups[top].runs[0].kind
    value = format_mean_sd(groups[top].by_seed(lambda run: run.baseline), metric, mode)
    name = shorten_name(groups[top].name) or "the configuration that changes nothing"
    return [f"The best student alone by validation is another one, that of {name}: {value} test {metric}."]
