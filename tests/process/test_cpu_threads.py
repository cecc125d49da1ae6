"""How many CPU threads a training has: fewer beside other programs, the user's number, and the same when it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from kd_lightning.process import cpu_threads, machine_load
from kd_lightning.process.cpu_threads import THREAD_COUNT_VARIABLES, adapt_threads, fix_threads
from kd_lightning.process.machine_load import (
    LoadMeter,
    Reading,
    busy_share,
    busy_with_others,
    read_core_times,
    usable_cores,
)
from kd_lightning.training.fit import PendingTraining
from kd_lightning.training.together import fit as together
from tests.support.tiny import SilentBoard, experiment
from tests.training.test_resume import Stop, run, stored

CORES = 4


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A machine of four cores on which nobody has decided; the test says how many are busy."""
    found = [0.0]
    for name in THREAD_COUNT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: CORES)
    monkeypatch.setattr(cpu_threads._load, "measure", lambda: found[0])
    monkeypatch.setattr(cpu_threads, "_fixed_by_launcher", [])
    torch.set_num_threads(CORES)
    yield found
    torch.set_num_threads(1)


def threads_of_a_training(recorded: int | None = None) -> tuple[int, list[str]]:
    lines: list[str] = []
    with adapt_threads(recorded, lines.append):
        count = torch.get_num_threads()
    return count, lines


@pytest.mark.parametrize(("cores", "count"), [(0.0, 4), (0.4, 4), (0.6, 3), (1.0, 3), (1.9, 2), (3.0, 1), (4.0, 1)])
def test_a_thread_for_each_free_core(cores: float, count: int, busy: list[float]) -> None:
    busy[0] = cores
    found, lines = threads_of_a_training()
    assert found == count
    assert len(lines) == (count < CORES)
    assert torch.get_num_threads() == CORES, "afterwards as before"


def test_the_line_says_what_to_type(busy: list[float]) -> None:
    busy[0] = 3.0
    assert threads_of_a_training()[1] == [
        "the machine is busy: other programs use 3.0 of 4 cores; training with 1 CPU thread (OMP_NUM_THREADS=4: with all)"
    ]


@pytest.mark.parametrize("decided", [*THREAD_COUNT_VARIABLES, "launcher"])
def test_who_has_decided_is_heard(decided: str, busy: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    busy[0] = 3.0
    if decided == "launcher":
        fix_threads(2)
    else:
        monkeypatch.setenv(decided, "2")
        torch.set_num_threads(2)
    assert threads_of_a_training() == (2, [])


def test_never_more_than_torch_takes(busy: list[float]) -> None:
    torch.set_num_threads(2)
    busy[0] = 1.0
    assert threads_of_a_training() == (2, [])


@pytest.mark.parametrize(("recorded", "count"), [(2, 2), (9, CORES)])
def test_resumed_it_keeps_its_number(recorded: int, count: int, busy: list[float]) -> None:
    busy[0] = 3.0
    assert threads_of_a_training(recorded) == (count, [])


class Seen(pl.Callback):
    """Notes the threads of each step; stops at one."""

    def __init__(self, stop_at: int = -1) -> None:
        self.threads: list[int] = []
        self.stop_at = stop_at

    def on_train_batch_start(self, *_: object) -> None:
        if len(self.threads) == self.stop_at:
            raise Stop
        self.threads.append(torch.get_num_threads())


def test_a_stage_records_its_number_and_goes_on_with_it(tmp_path: Path, busy: list[float]) -> None:
    first, second = Seen(stop_at=5), Seen()
    busy[0] = 2.0
    with pytest.raises(Stop):
        run(tmp_path, [first])
    busy[0] = 0.0
    run(tmp_path, [second])
    assert first.threads == [2] * 5
    assert second.threads == [2] * (12 - 5) + [CORES] * (10 + 4 + 6)
    recorded = {path.parent.parent.name: json.loads(path.read_text())["threads"] for path in descriptions(tmp_path)}
    assert recorded == {"teacher": 2, "baseline": CORES, "pretrain": CORES, "distill": CORES}


def descriptions(outputs: Path) -> list[Path]:
    return [path for path in outputs.glob("store/*/*/description.json") if path.parent.parent.name != "test"]


def test_another_number_than_it_began_with_is_said(
    tmp_path: Path, busy: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, [Seen(stop_at=5)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    one = experiment(tmp_path)
    one.run()
    assert isinstance(one.context.board, SilentBoard)
    said = [line for line in one.context.board.lines if "began with" in line]
    assert said == [
        "teacher: began with 4 CPU threads, goes on with 1: the last digits may differ (OMP_NUM_THREADS=4: they do not)"
    ]


def test_a_key_does_not_hold_the_number(tmp_path: Path, busy: list[float]) -> None:
    run(tmp_path / "four")
    busy[0] = 3.0
    run(tmp_path / "one")
    assert stored(tmp_path / "four").keys() == stored(tmp_path / "one").keys()


def test_trainings_of_one_fit_have_the_threads_of_one(
    busy: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    busy[0] = 2.0
    found: list[int] = []
    monkeypatch.setattr(together, "begin_or_explain", lambda pending: found.append(torch.get_num_threads()) or Stop())
    one = experiment(tmp_path)
    pending = PendingTraining(one.stage("teacher"), one.entry("teacher"), one.builder.trainer, one.context.board)  # type: ignore[arg-type]
    ends = together.train_together([pending, pending], stack=False)
    assert [type(end) for end in ends] == [Stop, Stop]
    assert found == [2, 2]
    assert torch.get_num_threads() == CORES, "afterwards as before"


@pytest.mark.skipif(not read_core_times(), reason="the system does not tell")
def test_others_are_seen_and_this_process_is_not() -> None:
    before = Reading()
    spin(0.3)
    alone = Reading()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbor:
        spin(0.3)
        beside = Reading()
        neighbor.kill()
    cores = usable_cores()
    first, second = busy_with_others(before, alone), busy_with_others(alone, beside)
    ours = (alone.own - before.own) / (alone.seconds - before.seconds)
    assert 0 <= first <= cores - ours + 0.1, "a tenth for the kernel's hundredths of a second"
    assert second > min(first + 0.3, cores - 1.2), "it has a core of its own, or half of ours"


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def reading(seconds: float, *busy: float, own: float = 0.0) -> Reading:
    """Of cores that have been busy for so long."""
    cores = {core: [int(100 * each), 0, 0, int(100 * (seconds - each)), 0, 0, 0, 0] for core, each in enumerate(busy)}
    return Reading(seconds, cores, own)


def test_what_has_just_ended_or_begun_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "usable_core_ids", lambda: {0, 1})
    monkeypatch.setattr(machine_load, "WINDOW", 0)
    for busy, found in [((0, 10, 10), 0.0), ((0, 0, 1), 0.0), ((0, 10, 11), 1.0)]:
        times = (reading(0, busy[0], 0), reading(10, busy[1], 0), reading(11, busy[2], 0))
        readings = iter(times)
        monkeypatch.setattr(machine_load, "Reading", lambda readings=readings: next(readings))
        assert LoadMeter().measure() == pytest.approx(found)


def test_cores_of_others_and_own_time_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "usable_core_ids", lambda: {0, 1})
    found = busy_with_others(reading(0, 0, 0, 0), reading(10, 10, 5, 10, own=8.0))
    assert found == pytest.approx(0.7)


def test_a_guest_is_counted_once_and_a_disk_is_no_core() -> None:
    times = dict.fromkeys(
        ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "nice guest"), 0
    )
    now = {**times, "user": 3, "guest": 3, "idle": 4, "iowait": 2, "steal": 1}
    assert busy_share([*times.values()], [*now.values()]) == pytest.approx(0.4)
    assert busy_share([*times.values()], [*times.values()]) == 0
