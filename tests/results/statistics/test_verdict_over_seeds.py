"""Sweeps with known numbers: grouping, choosing, the five verdicts, confirmation on fresh seeds, several tasks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kd_lightning.experiment.collect_results import results_of
from kd_lightning.results.numbers import format_significant
from kd_lightning.results.statistics.configuration_table import list_configuration_rows
from kd_lightning.results.statistics.over_seeds import Configuration, list_configurations, list_confirmations
from kd_lightning.results.statistics.power import count_seeds_needed, smallest_gain
from kd_lightning.results.statistics.sweep_sentences import sweep_sentences
from kd_lightning.results.sweep_folder import Job
from kd_lightning.sweeps.display import make_job_title
from kd_lightning.sweeps.summary import describe_lost_jobs, list_sweep_rows
from tests.support.sweeps import job, results
from tests.support.tiny import experiment

ALONE = [48.2, 48.9, 48.5, 48.0, 48.7]
GOOD = [45.1, 45.9, 45.2, 45.0, 45.4]
SAME = [48.4, 48.6, 48.6, 47.9, 48.9]


def seeds(
    words: str, first: int, tests: list[float], val: float = 44.0, alone: list[float] = ALONE, **more: Any
) -> list[Job]:
    """A configuration's jobs, one per test value; validation values lie around ``val``."""
    found = [results(i, val + 0.1 * i, test, alone[i], **more) for i, test in enumerate(tests)]
    return [job(first + i, f"experiment=x {words} seed={i}", each) for i, each in enumerate(found)]


def only(jobs: list[Job]) -> Configuration:
    (found,) = list_configurations(jobs)
    return found


def by_name(jobs: list[Job]) -> dict[str, Configuration]:
    return {one.name: one for one in list_configurations(jobs)}


# -- real jobs ---------------------------------------------------------------------------------------------------------


def test_real_jobs_of_two_seeds(tmp_path: Path) -> None:
    jobs = []
    for seed in (0, 1):
        one = experiment(tmp_path, seed=seed, checkpoint_every=100)
        jobs.append(job(seed, f"seed={seed}", json.loads(json.dumps(results_of(one, one.run(), "kd run")))))
    one = only(jobs)
    gains = [each.results["gain_over_baseline"] for each in jobs]
    assert (one.seeds, one.metric, one.mode) == ([0, 1], "cross_entropy", "min")
    assert (one.gain_mean, one.p_adjusted) == pytest.approx((np.mean(gains), stats.ttest_1samp(gains, 0.0).pvalue))
    assert "10 steps each, over 2 seeds" in one.sentence


# -- one configuration -------------------------------------------------------------------------------------------------


def test_numbers_of_a_configuration_by_hand() -> None:
    one = only(seeds("temperature=2", 0, GOOD[:3]))
    gains = np.array(ALONE[:3]) - np.array(GOOD[:3])
    assert (one.name, one.params, one.seeds, one.jobs) == ("", {}, [0, 1, 2], [0, 1, 2])
    assert (one.val_mean, one.test_mean) == pytest.approx((44.1, np.mean(GOOD[:3])))
    assert (one.val_sd, one.test_sd) == pytest.approx((0.1, np.std(GOOD[:3], ddof=1)))
    assert one.baseline_mean == pytest.approx(np.mean(ALONE[:3]))
    assert (one.gain_mean, one.gain_sd) == pytest.approx((gains.mean(), gains.std(ddof=1)))
    expected = stats.ttest_rel(ALONE[:3], GOOD[:3])
    assert one.p_adjusted == pytest.approx(expected.pvalue)
    assert one.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert (one.verdict, one.chosen, one.metric, one.mode) == ("better", True, "perplexity", "min")


def test_sentence_of_a_better_one() -> None:
    sentence = only(seeds("temperature=2", 0, GOOD[:3])).sentence
    assert sentence.startswith(
        "Better than the student alone on this test set: distilled 45.40 ± 0.44 against 48.53 ± "
    )
    for part in (
        "800 steps each",
        "over 3 seeds",
        "paired gain 3.13 ± 0.15",
        "95% interval 2.75 to 3.51",
        "p = 0.00079",
    ):
        assert part in sentence
    assert "corrected" not in sentence  # one comparison: nothing was corrected


@pytest.mark.parametrize(("metric", "mode"), [("perplexity", "min"), ("accuracy", "max")])
def test_both_modes_call_the_same_thing_better(metric: str, mode: str) -> None:
    high, low = [0.91, 0.92, 0.915], [0.85, 0.87, 0.86]
    better, worse = (high, low) if mode == "max" else (low, high)
    kind = {"metric": metric, "mode": mode}
    assert only(seeds("", 0, better, alone=worse, **kind)).verdict == "better"
    assert only(seeds("", 0, worse, alone=better, **kind)).verdict == "worse"


def test_shares_are_told_in_points() -> None:
    one = only(seeds("", 0, [0.91, 0.92, 0.915], alone=[0.85, 0.87, 0.86], metric="accuracy", mode="max"))
    assert "91.50% ± 0.50 points against 86.00% ± 1.00 points" in one.sentence
    assert "paired gain 5.50 points ± 0.50 points" in one.sentence


def test_no_difference_shown() -> None:
    one = only(seeds("", 0, SAME))
    assert one.verdict == "no difference shown"
    assert one.interval[0] < 0 < one.interval[1]
    assert one.sentence.startswith("No difference shown: ")
    assert "etter" not in one.sentence


def test_pairing_finds_what_unpaired_means_would_not() -> None:
    """A seed's luck is in both of its students: the difference is small against the spread, and yet plain."""
    alone = [40.0, 50.0, 60.0, 70.0]
    one = only(seeds("", 0, [39.0, 48.9, 59.1, 69.0], alone=alone))
    assert one.verdict == "better"
    assert stats.ttest_ind([39.0, 48.9, 59.1, 69.0], alone).pvalue > 0.9


def test_one_seed_shows_nothing() -> None:
    jobs = seeds("temperature=2", 0, GOOD[:1])
    one = only(jobs)
    assert (one.verdict, one.p_adjusted, one.interval) == ("one seed shows nothing", None, None)
    assert (one.val_sd, one.test_sd, one.gain_sd) == (None, None, None)
    assert "seed=0,1,2,3,4" in one.sentence
    assert any("seed=0,1,2,3,4" in sentence for sentence in sweep_sentences(jobs))


def test_equal_gains_are_no_statement() -> None:
    one = only(seeds("", 0, [alone - 2.0 for alone in ALONE]))
    assert (one.verdict, one.p_adjusted, one.interval, one.gain_sd) == ("no statement", None, None, 0.0)
    assert "each seed has the same gain of 2.00" in one.sentence


def test_equal_models_are_no_difference() -> None:
    one = only(seeds("", 0, ALONE))
    assert (one.verdict, one.p_adjusted, one.gain_mean) == ("no difference shown", 1.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_judged(bad: float) -> None:
    jobs = [*seeds("alpha=0.5", 0, [GOOD[0], bad, GOOD[2]]), *seeds("alpha=0.9", 3, GOOD[:3])]
    found = by_name(jobs)
    assert (found["alpha=0.5"].verdict, found["alpha=0.5"].p_adjusted) == ("no statement", None)
    assert "job 1 (seed 1) has a value that is not finite" in found["alpha=0.5"].sentence
    assert found["alpha=0.9"].verdict == "better"
    assert found["alpha=0.9"].comparisons == 2  # it was tried, so it counts
    alone = only(jobs[3:])
    assert found["alpha=0.9"].interval[0] < alone.interval[0] < alone.interval[1] < found["alpha=0.9"].interval[1]
    list_configuration_rows(list(found.values()))


def test_a_diverged_or_pruned_seed_is_not_passed_over_in_silence() -> None:
    for state, error, word in (("failed", "NonFiniteLossError: loss is nan", "diverged"), ("pruned", "", "pruned")):
        jobs = [*seeds("", 0, GOOD[:3]), job(3, "experiment=x  seed=3", state=state, error=error)]
        one = only(jobs)
        assert one.verdict == "no statement"
        assert word in one.sentence
    # Positive control: a job that was killed by something else leaves an honest mean.
    one = only([*seeds("", 0, GOOD[:3]), job(3, "experiment=x seed=3", state="failed", error="OSError: disk full")])
    assert one.verdict == "better"
    assert one.sentence.endswith("Without job 3 (failed).")


def test_unequal_steps_are_said() -> None:
    jobs = seeds("", 0, GOOD[:3], steps=(800, 400, 300))
    assert "NOT in equal steps: 700 against 800 in job 0" in only(jobs).sentence
    assert any(sentence.startswith("NOT in equal steps") for sentence in sweep_sentences(jobs))
    assert "800 steps each" in only(seeds("", 0, GOOD[:3], steps=(800, 0, 800))).sentence


def test_a_baseline_that_takes_no_steps_is_no_unfair_one() -> None:
    jobs = seeds("", 0, GOOD[:3], steps=(0, 0, 300))
    assert ", 300 steps, over 3 seeds" in only(jobs).sentence
    assert not any(sentence.startswith("NOT in equal steps") for sentence in sweep_sentences(jobs))


# -- which jobs are one configuration ----------------------------------------------------------------------------------


def test_jobs_are_grouped_by_all_but_their_seeds() -> None:
    words = [("temperature=2", 0), ("temperature=4", 0), ("temperature=2", 1), ("temperature=4", 1)]
    jobs = [
        job(n, f"experiment=x seed={seed} teacher.seed={seed} {word} progress=false", results(seed, 44, 45, 48))
        for n, (word, seed) in enumerate(words)
    ]
    found = list_configurations(jobs)
    assert [(one.name, one.params, one.jobs) for one in found] == [
        ("temperature=2", {"temperature": "2"}, [0, 2]),
        ("temperature=4", {"temperature": "4"}, [1, 3]),
    ]


def test_order_and_settings_that_change_no_result_do_not_split_a_configuration() -> None:
    jobs = [
        job(0, "alpha=0.5 temperature=2 seed=0 outputs=a logger=[mlflow]", results(0, 44, 45, 48)),
        job(1, "temperature=2 seed=1 alpha=0.5 outputs=b", results(1, 44, 45, 48)),
        job(2, "temperature=4 seed=1 alpha=0.5 outputs=b", results(1, 44, 45, 48)),
    ]
    assert [(one.name, one.jobs) for one in list_configurations(jobs)] == [
        ("temperature=2", [0, 1]),
        ("temperature=4", [2]),
    ]


def test_the_same_seed_twice_counts_once() -> None:
    jobs = [*seeds("", 0, GOOD[:2]), *seeds("", 2, GOOD[:2])]
    one = only(jobs)
    assert (one.seeds, one.jobs) == ([0, 1], [0, 1])
    assert one.p_adjusted == pytest.approx(stats.ttest_rel(ALONE[:2], GOOD[:2]).pvalue)


def test_a_job_that_failed_and_was_done_by_another_is_not_missing() -> None:
    jobs = [*seeds("", 1, GOOD[:2]), job(0, "experiment=x  seed=1", state="pruned")]
    assert only(jobs).verdict != "no statement"


def test_several_teachers_of_one_seed_are_one_draw() -> None:
    """Their students alone are the same network: counted apart, they would feign independence."""
    jobs = [
        job(
            2 * seed + teacher, f"seed={seed} teacher.seed={teacher}", results(seed, 44, test, 48, teacher_seed=teacher)
        )
        for seed, teacher, test in ((0, 0, 45.0), (0, 1, 46.0), (1, 0, 45.5), (1, 1, 45.1))
    ]
    one = only(jobs)
    assert (one.seeds, one.jobs) == ([0, 1], [0, 1, 2, 3])
    assert one.p_adjusted == pytest.approx(stats.ttest_1samp([2.5, 2.7], 0.0).pvalue)
    assert only(jobs[:2]).verdict == "one seed shows nothing"


def test_a_folder_without_a_job_file_is_nobodys() -> None:
    jobs = [*seeds("", 0, GOOD[:2]), Job(2, job(2, "").folder, {})]
    assert only(jobs).seeds == [0, 1]
    assert "1 starting" in sweep_sentences(jobs)[0]


# -- choosing and comparing --------------------------------------------------------------------------------------------


def test_validation_chooses_and_test_does_not() -> None:
    """The other one is better on test, and would be taken by who looks there."""
    jobs = [*seeds("alpha=0.5", 0, GOOD[:3], val=44.0), *seeds("alpha=0.9", 3, [20.0, 21.0, 22.5], val=46.0)]
    found = by_name(jobs)
    assert (found["alpha=0.5"].chosen, found["alpha=0.9"].chosen) == (True, False)
    sentences = sweep_sentences(jobs)
    assert (
        sentences[0] == "Validation chose alpha=0.5: mean perplexity 44.10 over 3 seeds, the best of 2 configurations."
    )
    assert sentences[1] == found["alpha=0.5"].sentence


def test_a_test_value_that_is_not_finite_does_not_take_part_in_choosing_either() -> None:
    jobs = [*seeds("alpha=0.5", 0, [math.nan, *GOOD[1:3]], val=44.0), *seeds("alpha=0.9", 3, GOOD[:3], val=46.0)]
    assert by_name(jobs)["alpha=0.5"].chosen


def test_higher_is_chosen_where_higher_is_better() -> None:
    kind = {"metric": "accuracy", "mode": "max", "alone": [0.85, 0.87, 0.86]}
    jobs = [
        *seeds("alpha=0.5", 0, [0.91, 0.92, 0.915], val=0.80, **kind),
        *seeds("alpha=0.9", 3, [0.88, 0.89, 0.90], val=0.85, **kind),
    ]
    assert [one.chosen for one in list_configurations(jobs)] == [False, True]


def test_a_search_s_settings_have_four_significant_digits() -> None:
    one, two = "optimizer.lr=0.0048372619", "optimizer.lr=0.0123456789"
    jobs = [*seeds(one, 0, GOOD[:3]), *seeds(two, 3, SAME[:3], val=46.0)]
    shown = [
        *sweep_sentences(jobs),
        *(cell for row in list_configuration_rows(list_configurations(jobs))[1] for cell in row),
    ]
    shown += [
        make_job_title(jobs[0], ["optimizer.lr"]),
        *(row[1] for row in list_sweep_rows(jobs)[1]),
        *describe_lost_jobs([job(6, one)]),
    ]
    text = "\n".join(shown)
    for short, full in (("0.004837", "0.00483726"), ("0.01235", "0.0123456")):
        assert short in text
        assert full not in text


def test_of_equal_ones_the_first_is_named_and_it_is_said() -> None:
    jobs = [*seeds("alpha=0.5", 0, GOOD[:3]), *seeds("alpha=0.9", 3, GOOD[:3])]
    assert [one.chosen for one in list_configurations(jobs)] == [True, False]
    assert "As good on validation: alpha=0.9; the first one is named." in sweep_sentences(jobs)


def test_a_configuration_of_fewer_seeds_does_not_win_in_silence() -> None:
    jobs = [
        *seeds("alpha=0.5", 0, GOOD[:3], val=45.0),
        *seeds("alpha=0.9", 3, GOOD[:2], val=40.0),
        job(5, "experiment=x alpha=0.9 seed=2", state="failed", error="OSError: disk full"),
    ]
    sentences = sweep_sentences(jobs)
    assert sentences[0].startswith("Provisional: 1 of 6 jobs are missing (1 failed).")
    assert "alpha=0.9 rests on 2 of 3 seeds; among those with 3, validation would choose alpha=0.5." in sentences
    assert by_name(jobs)["alpha=0.9"].chosen


def grid(count: int, gain: float, luck: float = 0.4, n: int = 4) -> list[Job]:
    """Configurations with the same mean gain; ``luck`` is each training's own."""
    rng = np.random.default_rng(9)
    alone = [48.0 + s for s in range(n)]
    jobs = []
    for i in range(count):
        own = rng.normal(0, luck, n)
        jobs += seeds(f"alpha=0.{i}", n * i, list(np.array(alone) - gain - own + own.mean()), val=44.0 + i, alone=alone)
    return jobs


def test_several_comparisons_are_corrected_for_and_interval_p_and_verdict_agree() -> None:
    few, many = (list_configurations(grid(count, gain=0.7))[0] for count in (1, 9))
    assert few.p_adjusted is not None
    assert many.p_adjusted is not None
    assert "both corrected for 9 comparisons" in many.sentence
    for gain in (0.2, 0.5, 0.7, 1.0, 2.0):
        for one in list_configurations(grid(9, gain)):
            apart = not one.interval[0] <= 0 <= one.interval[1]
            assert apart == (one.p_adjusted < 0.05) == (one.verdict == "better")
    joined = " ".join(sweep_sentences(grid(9, 2.0)))
    assert "9 configurations, each compared with the student alone over several seeds: 9 better." in joined
    assert "the chance of any false claim among them is held at 5%" in joined
    assert "estimated from all configurations together" in joined


def test_a_sweep_of_9_times_3_that_gains_on_every_seed_ends_in_better() -> None:
    """The chosen one gains 8.45 points on every seed, p = 0.019 alone; Holm's correction used to make 0.17 of it."""
    alone = np.array([0.8905, 0.8690, 0.8505])
    own = np.random.default_rng(2).normal(0, 0.0045, (9, 3))
    own[0] = [-0.0013, 0.0017, -0.0004]
    gains = np.linspace(0.0845, 0.05, 9)[:, None] + [[-0.0205, 0.001, 0.0195]] + own - own.mean(1, keepdims=True)
    jobs = [
        found
        for i, row in enumerate(gains)
        for found in seeds(
            f"alpha=0.{i}", 3 * i, list(alone + row), 0.9 - i / 100, list(alone), metric="accuracy", mode="max"
        )
    ]
    chosen = next(one for one in list_configurations(jobs) if one.chosen)
    assert (chosen.name, round(chosen.gain_mean, 4)) == ("alpha=0.0", 0.0845)
    single = stats.ttest_1samp(gains[0], 0.0).pvalue
    assert round(single, 3) == 0.019
    assert 9 * single > 0.15
    assert chosen.verdict == "better"
    assert sweep_sentences(jobs)[1].startswith("Better than the student alone on this test set:")


def test_spreads_that_differ_plainly_are_said() -> None:
    jobs = grid(9, gain=2.0, luck=0.3, n=5)
    rng = np.random.default_rng(1)
    for each in jobs[:5]:
        each.results["models"]["distilled"]["test"] += rng.normal(0, 6.0)
        each.results["models"]["distilled"]["val"] = 60.0
    jobs = [job(each.number, " ".join(each.overrides), refresh(each.results)) for each in jobs]
    found = list_configurations(jobs)
    assert not any(one.pooled for one in found)
    assert "spreads differ plainly, so each is judged by its own" in " ".join(sweep_sentences(jobs))
    assert found[0].interval[1] - found[0].interval[0] > 3 * (found[1].interval[1] - found[1].interval[0])


def refresh(found: dict[str, Any]) -> dict[str, Any]:
    """Results whose gain is that of their values."""
    return {**found, "gain_over_baseline": found["models"]["baseline"]["test"] - found["models"]["distilled"]["test"]}


def test_configurations_of_one_seed_are_no_comparisons() -> None:
    jobs = [*seeds("alpha=0.5", 0, GOOD[:3]), *seeds("alpha=0.7", 3, GOOD[:1]), *seeds("alpha=0.9", 4, SAME[:3])]
    found = by_name(jobs)
    assert found["alpha=0.5"].comparisons == 2
    assert found["alpha=0.7"].p_adjusted is None
    assert "3 configurations, 2 of them compared with the student alone over several seeds" in " ".join(
        sweep_sentences(jobs)
    )


def test_no_difference_says_what_could_have_been_seen() -> None:
    small = [48.0, 48.3, 48.3]
    jobs = seeds("", 0, small)
    gains = np.array(ALONE[:3]) - np.array(small)
    smallest = smallest_gain(float(gains.std(ddof=1)), 3)
    said = next(sentence for sentence in sweep_sentences(jobs) if sentence.startswith("These 3 seeds"))
    assert f"show a gain of {format_significant(smallest, 2)} in 80% of such sweeps" in said
    assert (
        f"one of 0.33, as found, takes about {count_seeds_needed(float(gains.mean()), float(gains.std(ddof=1)))} seeds."
        in said
    )
    nothing = next(sentence for sentence in sweep_sentences(seeds("", 0, SAME[:3])) if sentence.startswith("These"))
    assert "too small for any number of seeds up to 1000" in nothing
    assert not any(sentence.startswith("These") for sentence in sweep_sentences(seeds("", 0, GOOD[:3])))


def test_configurations_are_compared_with_the_chosen_one() -> None:
    jobs = [
        *seeds("alpha=0.1", 0, GOOD[:4], val=44.0),
        *seeds("alpha=0.2", 4, [test + 0.02 * i for i, test in enumerate(GOOD[:4])], val=45.0),
        *seeds("alpha=0.3", 8, [test + 3 + 0.1 * (i % 2) for i, test in enumerate(GOOD[:4])], val=46.0),
        *seeds("alpha=0.4", 12, [test - 3 + 0.1 * (i % 2) for i, test in enumerate(GOOD[:4])], val=46.0),
    ]
    said = sweep_sentences(jobs)
    assert "The chosen one is not shown to differ on test from: alpha=0.2." in said
    assert "Worse on test than the chosen one: alpha=0.3." in said
    assert "Better on test than the chosen one: alpha=0.4." in said


# -- confirmation on fresh seeds ---------------------------------------------------------------------------------------


def confirming(first: int, words: str, tests: list[float]) -> list[Job]:
    return [
        job(first + i, f"experiment=x {words} seed={5 + i}", results(5 + i, 30.0, test, ALONE[i]), confirm=True)
        for i, test in enumerate(tests)
    ]


EXPLORED = [*seeds("alpha=0.5", 0, SAME[:3], val=44.0), *seeds("alpha=0.9", 3, GOOD[:3], val=46.0)]


def test_the_confirmation_speaks_and_takes_no_part_in_the_choice() -> None:
    jobs = [*EXPLORED, *confirming(6, "alpha=0.5", GOOD)]
    assert list_configurations(jobs) == list_configurations(EXPLORED)
    (one,) = list_confirmations(jobs)
    assert (one.name, one.seeds, one.jobs, one.comparisons) == ("alpha=0.5", [5, 6, 7, 8, 9], [6, 7, 8, 9, 10], 1)
    assert one.p_adjusted == pytest.approx(stats.ttest_rel(ALONE, GOOD).pvalue)
    said = sweep_sentences(jobs)
    assert said[0].startswith(
        "Confirmation of alpha=0.5 on 5 seeds that the sweep had not used: Better than the student"
    )
    assert said[1].startswith("This confirmation speaks for the sweep")
    assert "On the sweep's own seeds: No difference shown" in " ".join(said)
    assert sweep_sentences(EXPLORED)[0].startswith("Validation chose alpha=0.5")  # without it, the sweep speaks


def test_a_confirmation_that_is_not_done_is_provisional() -> None:
    waiting = job(7, "experiment=x alpha=0.5 seed=6", state="running", confirm=True)
    said = sweep_sentences([*EXPLORED, *confirming(6, "alpha=0.5", GOOD[:1]), waiting])
    assert said[0].startswith("Provisional: 1 of 8 jobs are missing (1 running).")
    assert said[1].startswith(
        "Confirmation of alpha=0.5 on one seed that the sweep had not used: One seed shows nothing"
    )


def test_a_choice_that_changed_since_is_said() -> None:
    said = " ".join(sweep_sentences([*EXPLORED, *confirming(6, "alpha=0.9", GOOD)]))
    assert "By the jobs that have finished since, validation would choose alpha=0.5 instead." in said


def test_baselines_that_the_sweep_changes_too_are_compared_with_the_best_of_them() -> None:
    weak = [seed + 20.0 for seed in ALONE]
    jobs = [
        *seeds("optimizer.lr=1", 0, [52.0, 52.9, 53.1], alone=weak, val=44.0, baseline_val=70.0, baseline_key="a"),
        *seeds("optimizer.lr=2", 3, SAME[:3], val=49.0, baseline_val=48.0, baseline_key="b"),
    ]
    assert by_name(jobs)["optimizer.lr=1"].verdict == "better"
    joined = " ".join(sweep_sentences(jobs))
    assert "The best student alone by validation is another one, that of optimizer.lr=2: 48.53 ± " in joined


def test_different_budgets_within_a_sweep_are_said() -> None:
    jobs = [
        *seeds("student.steps=800", 0, GOOD[:3]),
        *seeds("student.steps=1600", 3, GOOD[:3], val=43.0, steps=(1600, 800, 800), baseline_key="b"),
    ]
    assert "The student's budget is not the same in all jobs: 800 to 1600 steps." in sweep_sentences(jobs)


@pytest.mark.parametrize(
    "other", [{"metric": "cross_entropy"}, {"data": "other rows"}, {"mode": "max"}], ids=["metric", "data", "mode"]
)
def test_tasks_are_judged_each_by_itself(other: dict[str, str]) -> None:
    jobs = [*seeds("data=a", 0, GOOD[:3]), *seeds("data=b", 3, GOOD[:3], val=1.0, **other)]
    found = list_configurations(jobs)
    assert [(one.chosen, one.comparisons) for one in found] == [(True, 1), (True, 1)]
    assert found[0] == only(jobs[:3]) or found[0].verdict == "better"
    said = sweep_sentences(jobs)
    assert said[0] == "2 tasks, told apart by task, metric or data; each has a verdict of its own."
    assert said[1].startswith("Language modeling (perplexity), data=a: Better than the student alone")
    list_configuration_rows(found)


def test_several_tasks_are_pooled_on_the_share_of_the_gap_that_is_closed() -> None:
    jobs = [
        *seeds("data=a", 0, GOOD[:4]),
        *seeds("data=b", 4, [0.90, 0.91, 0.92, 0.90], alone=[0.85, 0.86, 0.87, 0.86], metric="accuracy", mode="max"),
    ]
    for each in jobs[4:]:
        each.results["models"]["teacher"]["test"] = 0.96
    closed = [(a - g) / (np.mean(ALONE[:4]) - 31.0) for a, g in zip(ALONE[:4], GOOD[:4], strict=True)]
    closed += [gain / 0.10 for gain in (0.05, 0.05, 0.05, 0.04)]
    middle = stats.trim_mean(closed, 0.25)
    said = next(sentence for sentence in sweep_sentences(jobs) if sentence.startswith("Over 2 of 2 tasks"))
    assert f"distillation closes {middle:.0%} of the gap" in said
    assert "with probability 1.00 (1.00 to 1.00)" in said
    assert "Validation chose on these seeds, so some luck is in it." in said


def test_one_teacher_seed_is_said_and_several_are_not() -> None:
    assert any(sentence.startswith("One teacher seed") for sentence in sweep_sentences(seeds("", 0, GOOD[:3])))
    several = [
        job(i, f"seed={i} teacher.seed={i}", results(i, 44.0, GOOD[i], ALONE[i], teacher_seed=i)) for i in range(3)
    ]
    assert not any(sentence.startswith("One teacher seed") for sentence in sweep_sentences(several))


# -- sweeps that are not whole -----------------------------------------------------------------------------------------


def test_an_empty_sweep_says_nothing() -> None:
    assert list_configurations([]) == []
    assert sweep_sentences([]) == ["No job has finished: no statement."]
    assert list_configuration_rows([])[1] == []


def test_missing_jobs_make_it_provisional() -> None:
    jobs = [
        *seeds("", 0, GOOD[:3]),
        job(3, "experiment=x seed=3", state="running"),
        job(4, "experiment=x seed=4", state="failed", error="RuntimeError: x"),
    ]
    first = sweep_sentences(jobs, planned=7)[0]
    assert first.startswith("Provisional: 4 of 7 jobs are missing (1 running, 1 failed, 2 not started).")
    assert not any(sentence.startswith("Provisional") for sentence in sweep_sentences(jobs[:3], planned=3))


def test_pruned_jobs_are_not_missing_but_mentioned() -> None:
    jobs = [*seeds("alpha=0.5", 0, GOOD[:2]), job(2, "experiment=x alpha=0.9 seed=0", state="pruned")]
    sentences = sweep_sentences(jobs)
    assert sentences[0].startswith("Pruned")
    assert not any(sentence.startswith("Provisional") for sentence in sentences)


def test_many_configurations_of_one_seed() -> None:
    jobs = [job for i in range(3) for job in seeds(f"alpha=0.{i}", i, GOOD[:1], val=44.0 + i)]
    joined = " ".join(sweep_sentences(jobs))
    assert "3 configurations with one seed each. One seed shows nothing: seed=0,1,2,3,4" in joined
    assert "etter" not in joined


# -- the terminal's table ----------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_configuration_best_validation_first() -> None:
    jobs = [*seeds("alpha=0.5", 0, SAME[:3], val=46.0), *seeds("alpha=0.9", 3, GOOD[:3], val=44.0)]
    header, rows = list_configuration_rows(list_configurations(jobs))
    assert header[:4] == ["configuration", "seeds", "val perplexity", "test perplexity"]
    assert [row[0] for row in rows] == ["alpha=0.9 (chosen)", "alpha=0.5"]
    assert {len(row) for row in rows} == {len(header)}
    assert rows[0][1:5] == ["3", "44.10 ± 0.10", "45.40 ± 0.44", "48.53"]
    assert rows[0][-1] == "better"
