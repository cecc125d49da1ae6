"""``kd noise``: the luck in finished jobs, and what seeds can show of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kd_lightning.cli.noise import measure_noise
from kd_lightning.results.statistics.power import smallest_gain
from kd_lightning.results.sweep_records import begin_job, begin_sweep, end_job
from kd_lightning.store import publish_json
from tests.support.cli import kd
from tests.support.sweeps import results

GAINS = {"1": (4.0, 6.0, 5.0), "2": (8.0, 8.5, 9.0)}


def sweep(folder: Path, gains: dict[str, tuple[float, ...]]) -> Path:
    """Configurations whose jobs have gained so much over a student alone that has a perplexity of 48, seed by seed."""
    begin_sweep(folder, "kd run -m", ["-m"], "worker", "basic")
    jobs = [(name, seed, gain) for name, values in gains.items() for seed, gain in enumerate(values)]
    for number, (name, seed, gain) in enumerate(jobs):
        place = folder / str(number)
        begin_job(place, number, [f"temperature={name}", f"seed={seed}"])
        found = results(seed, 40.0, 48.0 + seed - gain, 48.0 + seed)
        publish_json(place / "results.json", {**found, "batch_size": 8})
        end_job(place, "done")
    return folder


def test_the_spread_is_pooled_over_configurations(tmp_path: Path) -> None:
    found = measure_noise([sweep(tmp_path / "s", GAINS)])
    assert found.sd == pytest.approx(math.sqrt((2 * 1.0 + 2 * 0.25) / 4))
    assert (found.df, found.configurations, found.best, found.alone) == (4, 2, 8.5, 1.0)


def test_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(tmp_path / "s", GAINS)
    answer = kd(capsys, "noise", str(folder), "--seeds", "3,6", "--configurations=9")
    assert (answer.code, answer.err) == (0, "")
    luck = measure_noise([folder])
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines() if line.strip()}
    for seeds in (3, 6):
        assert rows[str(seeds)] == [
            luck.format_difference(smallest_gain(luck.sd, seeds, number, luck.shared)) for number in (1, 9)
        ]
    assert "(the largest found)" in answer.out
    assert "best of 9 configurations" in answer.out


@pytest.mark.parametrize(
    ("gains", "words", "wanted"),
    [
        ({"1": (4.0,), "2": (5.0,)}, (), "one seed for each configuration"),
        ({"1": (4.0, 4.0)}, (), "every seed has the same gain"),
        (GAINS, ("--seeds", "1"), "--seeds 1: whole numbers of at least 2"),
        (GAINS, ("--seeds",), "--seeds: a number is expected"),
        (GAINS, ("--sed=3",), "no option '--sed'"),
        ({}, (), "no job has finished"),
    ],
)
def test_what_tells_nothing_is_said_in_one_line(
    gains: dict[str, tuple[float, ...]],
    words: tuple[str, ...],
    wanted: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = kd(capsys, "noise", str(sweep(tmp_path / "s", gains)), *words)
    assert (answer.code, len(answer.err.splitlines()), answer.out) == (2, 1, "")
    assert wanted in answer.err
    assert kd(capsys, "noise", "--help").code == 0
    assert kd(capsys, "noise").code == 2
