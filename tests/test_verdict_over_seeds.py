"""Sweeps with known numbers: grouping, choosing, the five verdicts, and how often luck is called an effect."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kd_lightning.configuration_table import configuration_rows
from kd_lightning.results import results_of
from kd_lightning.sweeps.folder import Job
from kd_lightning.verdict_over_seeds import Configuration, configurations, sweep_sentences
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
    (found,) = configurations(jobs)
    return found


def by_name(jobs: list[Job]) -> dict[str, Configuration]:
    return {one.name: one for one in configurations(jobs)}


# -- real jobs ---------------------------------------------------------------------------------------------------------


def test_real_jobs_of_two_seeds(tmp_path: Path) -> None:
    jobs = []
    for seed in (0, 1):
        one = experiment(tmp_path, seed=seed, checkpoint_every=100)
        jobs.append(job(seed, f"seed={seed}", json.loads(json.dumps(results_of(one, one.run(), "kd run")))))
    one = only(jobs)
    gains = [each.results["gain_over_baseline"] for each in jobs]
    assert (one.seeds, one.metric, one.mode) == ([0, 1], "cross_entropy", "min")
    assert (one.gain_mean, one.p) == pytest.approx((np.mean(gains), stats.ttest_1samp(gains, 0.0).pvalue))
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
    assert one.p == one.p_holm == pytest.approx(expected.pvalue)
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
    assert "Holm" not in sentence  # one comparison: nothing was corrected


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
    assert (one.verdict, one.p, one.p_holm, one.interval) == ("one seed shows nothing", None, None, None)
    assert (one.val_sd, one.test_sd, one.gain_sd) == (None, None, None)
    assert "seed=0,1,2,3,4" in one.sentence
    assert any("seed=0,1,2,3,4" in sentence for sentence in sweep_sentences(jobs))


def test_equal_gains_are_no_statement() -> None:
    one = only(seeds("", 0, [alone - 2.0 for alone in ALONE]))
    assert (one.verdict, one.p, one.interval, one.gain_sd) == ("no statement", None, None, 0.0)
    assert "each seed has the same gain of 2.00" in one.sentence


def test_equal_models_are_no_difference() -> None:
    one = only(seeds("", 0, ALONE))
    assert (one.verdict, one.p, one.gain_mean) == ("no difference shown", 1.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_judged(bad: float) -> None:
    jobs = [*seeds("alpha=0.5", 0, [GOOD[0], bad, GOOD[2]]), *seeds("alpha=0.9", 3, GOOD[:3])]
    found = by_name(jobs)
    assert (found["alpha=0.5"].verdict, found["alpha=0.5"].p) == ("no statement", None)
    assert "job 1 (seed 1) has a value that is not finite" in found["alpha=0.5"].sentence
    assert found["alpha=0.9"].verdict == "better"
    assert found["alpha=0.9"].p_holm == pytest.approx(2 * found["alpha=0.9"].p)  # it was tried, so it counts
    configuration_rows(list(found.values()))


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


# -- which jobs are one configuration ----------------------------------------------------------------------------------


def test_jobs_are_grouped_by_all_but_their_seeds() -> None:
    words = [("temperature=2", 0), ("temperature=4", 0), ("temperature=2", 1), ("temperature=4", 1)]
    jobs = [
        job(n, f"experiment=x seed={seed} teacher_seed={seed} {word} progress=false", results(seed, 44, 45, 48))
        for n, (word, seed) in enumerate(words)
    ]
    found = configurations(jobs)
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
    assert [(one.name, one.jobs) for one in configurations(jobs)] == [("temperature=2", [0, 1]), ("temperature=4", [2])]


def test_the_same_seed_twice_counts_once() -> None:
    jobs = [*seeds("", 0, GOOD[:2]), *seeds("", 2, GOOD[:2])]
    one = only(jobs)
    assert (one.seeds, one.jobs) == ([0, 1], [0, 1])
    assert one.p == pytest.approx(stats.ttest_rel(ALONE[:2], GOOD[:2]).pvalue)


def test_a_job_that_failed_and_was_done_by_another_is_not_missing() -> None:
    jobs = [*seeds("", 1, GOOD[:2]), job(0, "experiment=x  seed=1", state="pruned")]
    assert only(jobs).verdict != "no statement"


def test_several_teachers_of_one_seed_are_one_draw() -> None:
    """Their students alone are the same network: counted apart, they would feign independence."""
    jobs = [
        job(
            2 * seed + teacher, f"seed={seed} teacher_seed={teacher}", results(seed, 44, test, 48, teacher_seed=teacher)
        )
        for seed, teacher, test in ((0, 0, 45.0), (0, 1, 46.0), (1, 0, 45.5), (1, 1, 45.1))
    ]
    one = only(jobs)
    assert (one.seeds, one.jobs) == ([0, 1], [0, 1, 2, 3])
    assert one.p == pytest.approx(stats.ttest_1samp([2.5, 2.7], 0.0).pvalue)
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
    assert [one.chosen for one in configurations(jobs)] == [False, True]


def test_of_equal_ones_the_first_is_named_and_it_is_said() -> None:
    jobs = [*seeds("alpha=0.5", 0, GOOD[:3]), *seeds("alpha=0.9", 3, GOOD[:3])]
    assert [one.chosen for one in configurations(jobs)] == [True, False]
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


def test_several_comparisons_are_corrected_for() -> None:
    small = [47.7, 48.3, 48.1]
    jobs = [job for i in range(5) for job in seeds(f"alpha=0.{i}", 3 * i, small, val=44.0 + i)]
    first = configurations(jobs)[0]
    assert first.p < 0.05 < first.p_holm == pytest.approx(5 * first.p)
    jobs[9:12] = seeds("alpha=0.3", 9, GOOD[:3], val=40.0)
    found = by_name(jobs)
    assert (found["alpha=0.3"].verdict, found["alpha=0.0"].verdict) == ("better", "no difference shown")
    assert "after Holm's correction for 5 comparisons" in found["alpha=0.3"].sentence
    joined = " ".join(sweep_sentences(jobs))
    assert (
        "5 configurations, each compared with the student alone over several seeds: 4 no difference shown, 1 better."
        in joined
    )
    assert "Holm's correction holds the chance of any false claim among them at 5%" in joined
    assert "share the same 3 students alone" in joined


def test_configurations_of_one_seed_are_no_comparisons() -> None:
    jobs = [*seeds("alpha=0.5", 0, GOOD[:3]), *seeds("alpha=0.7", 3, GOOD[:1]), *seeds("alpha=0.9", 4, SAME[:3])]
    found = by_name(jobs)
    assert found["alpha=0.5"].p_holm == pytest.approx(2 * found["alpha=0.5"].p)
    assert found["alpha=0.7"].p_holm is None
    assert "3 configurations, 2 of them compared with the student alone over several seeds" in " ".join(
        sweep_sentences(jobs)
    )


def test_an_interval_that_leaves_out_0_is_explained_where_the_correction_disagrees() -> None:
    small = [47.7, 48.3, 48.1]
    assert only(seeds("", 0, small)).verdict == "better"
    others = [job for i in range(1, 5) for job in seeds(f"alpha={i}", 3 * i, SAME[:3])]
    one = configurations([*seeds("alpha=0", 0, small), *others])[0]
    assert one.interval[0] > 0
    assert one.verdict == "no difference shown"
    assert "The interval alone leaves out 0; of 5 comparisons, some do so by luck." in one.sentence


def test_baselines_that_the_sweep_changes_too_are_compared_with_the_best_of_them() -> None:
    weak = [seed + 20.0 for seed in ALONE]
    jobs = [
        *seeds("optimizer.lr=1", 0, [52.0, 52.9, 53.1], alone=weak, val=44.0, baseline_val=70.0, baseline_key="a"),
        *seeds("optimizer.lr=2", 3, SAME[:3], val=49.0, baseline_val=48.0, baseline_key="b"),
    ]
    assert by_name(jobs)["optimizer.lr=1"].verdict == "better"
    joined = " ".join(sweep_sentences(jobs))
    assert "The best student alone by validation is another one, that of optimizer.lr=2: 48.53 ± " in joined
    assert "share the same" not in joined


def test_different_budgets_within_a_sweep_are_said() -> None:
    jobs = [
        *seeds("steps.student=800", 0, GOOD[:3]),
        *seeds("steps.student=1600", 3, GOOD[:3], val=43.0, steps=(1600, 800, 800), baseline_key="b"),
    ]
    assert "The student's budget is not the same in all jobs: 800 to 1600 steps." in sweep_sentences(jobs)


@pytest.mark.parametrize(
    "other", [{"metric": "cross_entropy"}, {"data": "other rows"}, {"mode": "max"}], ids=["metric", "data", "mode"]
)
def test_no_statement_across_what_does_not_measure_the_same(other: dict[str, str]) -> None:
    jobs = [*seeds("data=a", 0, GOOD[:3]), *seeds("data=b", 3, GOOD[:3], val=1.0, **other)]
    assert [one.chosen for one in configurations(jobs)] == [False, False]
    assert sweep_sentences(jobs)[0].startswith("No statement across the sweep")
    assert configurations(jobs)[0].verdict == "better"
    configuration_rows(configurations(jobs))


def test_one_teacher_seed_is_said_and_several_are_not() -> None:
    assert any(sentence.startswith("One teacher seed") for sentence in sweep_sentences(seeds("", 0, GOOD[:3])))
    several = [
        job(i, f"seed={i} teacher_seed={i}", results(i, 44.0, GOOD[i], ALONE[i], teacher_seed=i)) for i in range(3)
    ]
    assert not any(sentence.startswith("One teacher seed") for sentence in sweep_sentences(several))


# -- sweeps that are not whole -----------------------------------------------------------------------------------------


def test_an_empty_sweep_says_nothing() -> None:
    assert configurations([]) == []
    assert sweep_sentences([]) == ["No job has finished: no statement."]
    assert configuration_rows([])[1] == []


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
    header, rows = configuration_rows(configurations(jobs))
    assert header[:4] == ["configuration", "seeds", "val perplexity", "test perplexity"]
    assert [row[0] for row in rows] == ["alpha=0.9 (chosen)", "alpha=0.5"]
    assert {len(row) for row in rows} == {len(header)}
    assert rows[0][1:5] == ["3", "44.10 ± 0.10", "45.40 ± 0.44", "48.53"]
    assert rows[0][-1] == "better"


# -- how often luck is called an effect --------------------------------------------------------------------------------


def null_sweep(rng: np.random.Generator, shared: bool, count: int = 8, n: int = 4) -> list[Job]:
    """Configurations that do nothing: each distilled value is its seed's luck and its own, like the student alone's."""
    luck, alone = rng.normal(0, 2, size=n), rng.normal(0, 1, size=n)
    jobs = []
    for i in range(count):
        own = rng.normal(0, 1, size=n)
        base = alone if shared else rng.normal(0, 1, size=n)
        jobs += seeds(f"alpha={i}", n * i, list(50 + luck + own), alone=list(50 + luck + base))
    return jobs


@pytest.mark.parametrize("shared", [True, False], ids=["shared baselines", "own baselines"])
def test_luck_is_called_an_effect_in_at_most_5_of_100_sweeps(shared: bool) -> None:
    rng, sweeps = np.random.default_rng(11), 400
    claimed = uncorrected = 0
    for _ in range(sweeps):
        found = configurations(null_sweep(rng, shared))
        claimed += any(one.verdict in ("better", "worse") for one in found)
        uncorrected += any(one.p < 0.05 for one in found)
    # 400 * 0.05 = 20, standard deviation 4.4.
    assert claimed <= 20 + 3 * 4.4
    # Positive control: without the correction, far more sweeps would have claimed something.
    assert uncorrected > 60


def test_a_real_effect_is_found() -> None:
    rng, found = np.random.default_rng(12), 0
    for _ in range(50):
        jobs = null_sweep(rng, shared=True, count=3, n=5)
        for each in jobs[:5]:
            each.results["models"]["distilled"]["test"] -= 8.0
        found += configurations(jobs)[0].verdict == "better"
    assert found > 45
