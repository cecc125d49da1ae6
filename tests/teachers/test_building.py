"""A build is whole or goes on; what is damaged, stale, too large or not finite is never read."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_lightning.errors import ConfigError, TeacherOutputError
from kd_lightning.experiment.stored_outputs import TeacherCache
from kd_lightning.store import Entry
from kd_lightning.teachers.stored import writer as building
from kd_lightning.teachers.stored.hidden import Hidden
from kd_lightning.teachers.stored.logits import AllLogits
from kd_lightning.teachers.stored.shards import Shards
from kd_lightning.teachers.stored.topk import TopK
from kd_lightning.teachers.stored.writer import RESERVE, fits_on_disk, is_shard_whole, write_outputs
from tests.support.tiny import SilentBoard
from tests.teachers.cache_support import ROWS, TASK, NoHead, a_job, batch, built, network, rows

SHARDS = 4
"""Of six rows each, the last of five."""


def entry(folder: Path) -> Entry:
    found = Entry(folder / "teacher_outputs" / "key")
    found.folder.mkdir(parents=True, exist_ok=True)
    return found


def asked(index: Sequence[int], log: list[int]) -> dict[str, torch.Tensor]:
    """Rows, with a note of which."""
    log += index
    return batch(index)


def ready(place: Entry, rows_of: Callable[[Sequence[int]], Any] = batch) -> tuple[Shards, list[str]]:
    """The rows, written where need be, and what the board was told."""
    board = SilentBoard()
    return TeacherCache(a_job(Hidden(), rows=rows_of), place, {"of": "test"}).ready(board), board.lines


def content(shards: Shards) -> bytes:
    return shards._bytes(np.arange(ROWS)).tobytes()


def test_the_disk_holds_all_rows_in_shards_with_a_digest_each(tmp_path: Path) -> None:
    shards = built(tmp_path, Hidden())
    files = sorted(path.name for path in shards.folder.iterdir())
    assert [name for name in files if name.endswith(".npy")] == [f"shard-0000{n}.npy" for n in range(SHARDS)]
    assert shards.rows == ROWS
    assert sum(len(np.load(shards.folder / f"shard-0000{n}.npy")) for n in range(SHARDS)) == ROWS


def test_what_will_be_written_is_said_before(tmp_path: Path) -> None:
    _, lines = ready(entry(tmp_path))
    assert lines[0] == "start teacher_outputs"
    assert lines[1].startswith(f"teacher outputs: 2.8 kB for {ROWS} rows")
    assert lines[-1].startswith("done teacher_outputs: Hidden(fp16), 23 rows")


def test_whole_ones_are_read_without_asking_the_teacher(tmp_path: Path) -> None:
    first, _ = ready(entry(tmp_path))
    log: list[int] = []
    again, lines = ready(entry(tmp_path), lambda index: asked(index, log))
    assert set(log) <= {0}  # the layout of a row
    assert lines == ["done teacher_outputs: Hidden(fp16), 23 rows, 2.8 kB (reused key)"]
    assert content(again) == content(first)


def test_whoever_reads_leaves_the_time(tmp_path: Path) -> None:
    """By it, ``kd cache prune`` knows what was not used for long."""
    place = entry(tmp_path)
    ready(place)
    os.utime(place.status_path, (0, 1000))
    ready(place)
    assert time.time() - place.status_path.stat().st_mtime < 60
    assert place.problem() is None


def test_pruned_between_the_look_and_the_opening_they_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = entry(tmp_path)
    whole = content(ready(place)[0])
    looked: list[str | None] = []
    problem = Entry.problem

    def pruned_after_the_first_look(self: Entry) -> str | None:
        looked.append(problem(self))
        if len(looked) == 1:
            shutil.rmtree(self.folder)
        return looked[-1]

    monkeypatch.setattr(Entry, "problem", pruned_after_the_first_look)
    assert content(ready(place)[0]) == whole
    assert looked == [None, ""]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def swap(path: Path) -> None:
    other = path.with_name("shard-00001.npy")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)
    for number in (0, 1):  # their digests go along
        digest = path.with_name(f"shard-0000{number}.json")
        digest.rename(path.with_name(f"{number}.moved"))
    path.with_name("0.moved").rename(path.with_name("shard-00001.json"))
    path.with_name("1.moved").rename(path.with_name("shard-00000.json"))


@pytest.mark.parametrize(
    ("damage", "reason", "rewritten"),
    [(flip, "damaged", 1), (truncate, "damaged", 1), (Path.unlink, "missing", 1), (swap, "damaged", 2)],
)
def test_a_damaged_shard_is_written_again_with_the_reason_and_the_others_stay(
    damage: Callable[[Path], None], reason: str, rewritten: int, tmp_path: Path
) -> None:
    place = entry(tmp_path)
    whole = content(ready(place)[0])
    damage(place.path("shard-00000.npy"))
    assert place.problem()
    log: list[int] = []
    shards, lines = ready(place, lambda index: asked(index, log))
    assert any("written again" in line and reason in line and "shard-0000" in line for line in lines), lines
    assert content(shards) == whole
    assert sorted({row // 6 for row in log} | {0}) == list(range(rewritten))


@pytest.mark.parametrize("name", ["manifest.json", "status.json", "shard-00002.json"])
def test_damage_elsewhere_is_seen_as_well(name: str, tmp_path: Path) -> None:
    place = entry(tmp_path)
    whole = content(ready(place)[0])
    flip(place.path(name))
    shards, lines = ready(place)
    assert any("written again" in line for line in lines)
    assert content(shards) == whole


def test_another_keys_folder_under_this_name_is_not_believed(tmp_path: Path) -> None:
    """Not even its shards, although their digests fit."""
    other = Entry(tmp_path / "teacher_outputs" / "other")
    other.folder.mkdir(parents=True)
    job = a_job(Hidden(), network(seed=1))
    write_outputs(job, other, {}, lambda _: None, lambda *_: None)
    place = entry(tmp_path)
    place.folder.rmdir()
    shutil.copytree(other.folder, place.folder)
    assert not any(is_shard_whole(place, number, (start, stop)) for number, start, stop in job.shards())
    shards, lines = ready(place)
    assert any("another entry's" in line for line in lines)
    assert content(shards) == content(built(tmp_path / "clean", Hidden()))


def slowly(index: Sequence[int]) -> dict[str, torch.Tensor]:
    time.sleep(0.02)
    return batch(index)


def in_process(function: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def write_slowly(folder: Path, mark: Path | None = None) -> None:
    torch.set_num_threads(1)
    log: list[int] = []

    def watched(index: Sequence[int]) -> dict[str, torch.Tensor]:
        log.extend(index)
        return slowly(index)

    ready(entry(folder), watched)
    if mark is not None:
        (mark / str(os.getpid())).write_text(str(len(set(log) - {0})))


def test_a_killed_build_goes_on_from_the_shards_that_are_whole(tmp_path: Path) -> None:
    place = entry(tmp_path)
    process = in_process(write_slowly, tmp_path)
    while not place.path("shard-00001.json").is_file():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = [number for number, *of in a_job(Hidden()).shards() if is_shard_whole(place, number, (of[0], of[1]))]
    assert 0 < len(kept) < SHARDS  # the positive control: it was struck in the middle
    assert place.problem() == ""
    log: list[int] = []
    shards, lines = ready(place, lambda index: asked(index, log))
    assert {row // 6 for row in log if row} == set(range(SHARDS)) - set(kept)
    assert any(f"goes on: {len(kept)} of {SHARDS} files" in line for line in lines)
    assert content(shards) == content(built(tmp_path / "clean", Hidden()))


def test_a_build_that_goes_on_in_other_batches_takes_no_shard_of_other_rows(tmp_path: Path) -> None:
    """The batch size is in no key, and decides how many rows a shard has."""
    place, whole = entry(tmp_path), content(built(tmp_path / "clean", Hidden()))
    job = replace(a_job(Hidden()), batch_size=4)
    write_outputs(job, place, {}, lambda _: None, lambda *_: None)
    assert job.shard_rows != a_job(Hidden()).shard_rows, "positive control: its shards hold other rows"
    place.status_path.unlink()
    assert content(ready(place)[0]) == whole


def test_scores_of_what_is_not_attended_to_have_no_place_on_disk(tmp_path: Path) -> None:
    net = network()
    net.projection = Sick(torch.finfo(torch.float32).min)
    with pytest.raises(TeacherOutputError, match=r"not attended to.*teacher_outputs=live"):
        write_outputs(
            replace(a_job(Hidden(), net), taps=["projection"]), entry(tmp_path), {}, lambda _: None, lambda *_: None
        )


def test_two_processes_write_once(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    processes = [in_process(write_slowly, tmp_path, marks) for _ in range(2)]
    for process in processes:
        process.join()
    assert sorted(path.read_text() for path in marks.iterdir()) == ["0", str(ROWS - 1)]
    assert entry(tmp_path).problem() is None


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, job = entry(tmp_path), a_job(Hidden())
    monkeypatch.setattr(building, "free_bytes", lambda _: 2 * job.bytes - 1)
    with pytest.raises(ConfigError, match=rf"{job.bytes:,} bytes .* free.*teacher_outputs=live"):
        write_outputs(job, place, {}, lambda _: None, lambda *_: None)
    assert list(place.folder.iterdir()) == []
    monkeypatch.setattr(building, "free_bytes", lambda _: 2 * job.bytes)
    write_outputs(job, place, {}, lambda _: None, lambda *_: None)


class Sick(torch.nn.Module):
    """Spoils the last position of the second row of every batch.

    Args:
        value: What stands there then.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        spoilt = hidden.clone()
        spoilt[1:2, -1] = self.value
        return spoilt


def test_a_large_cache_leaves_a_gigabyte_and_no_more() -> None:
    assert fits_on_disk(100 * RESERVE, 101 * RESERVE)
    assert not fits_on_disk(100 * RESERVE, 101 * RESERVE - 1)


def sick(value: float) -> Any:
    """A teacher with such hidden states."""
    net = network()
    net.projection = Sick(value)
    return net


@pytest.mark.parametrize(
    ("value", "format", "message"),
    [
        (float("nan"), Hidden(), "not finite"),
        (float("inf"), AllLogits(), "not finite"),
        (float("nan"), TopK(3), "not finite"),
        (1e6, Hidden(), "too large.*another dtype"),
    ],
)
def test_what_cannot_be_kept_names_its_rows(value: float, format: Any, message: str, tmp_path: Path) -> None:
    """The last position does not count in row 1, but in row 4."""
    place = entry(tmp_path)
    with pytest.raises(TeacherOutputError, match=rf"{message}") as error:
        write_outputs(a_job(format, sick(value)), place, {}, lambda _: None, lambda *_: None)
    assert "index [4]" in str(error.value)
    assert place.problem() == ""
    assert not place.path("shard-00000.npy").exists()


def test_positions_that_do_not_count_may_be_anything_and_are_finite_on_disk(tmp_path: Path) -> None:
    shards = built(tmp_path, Hidden(), sick(float("nan")), count=3)
    cached = Hidden()(sick(float("nan")), TASK, shards)
    cached.connect({})
    assert cached(batch([0, 1, 2])).logits.isfinite().all()


def test_a_weight_that_is_not_finite_is_found_although_hidden_states_are(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        net.head.weight[3, 3] = torch.nan
    with pytest.raises(TeacherOutputError, match=r"head\.weight"):
        built(tmp_path, Hidden(), net)


def test_a_feature_without_rows_is_refused(tmp_path: Path) -> None:
    class Turned(NoHead):
        def __init__(self) -> None:
            super().__init__()
            self.turn = torch.nn.Flatten(0)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits = super().forward(inputs)
            self.turn(logits)
            return logits

    with pytest.raises(TeacherOutputError, match=r"teacher_outputs=live"):
        built(tmp_path, AllLogits(), Turned(), ["turn"])


def test_unigram_frequencies_are_those_of_the_targets_smoothed(tmp_path: Path) -> None:
    shards = built(tmp_path, TopK(3, "unigram"))
    targets = rows()["targets"][rows()["mask"]].tolist()
    expected = [(targets.count(c) + 1) / (len(targets) + TASK.num_classes) for c in range(TASK.num_classes)]
    torch.testing.assert_close(shards.extras["frequencies"], torch.tensor(expected, dtype=torch.float64))


def test_batches_do_not_depend_on_where_a_build_was_stopped(tmp_path: Path) -> None:
    """A shard is whole batches, except the last one."""
    job = a_job(Hidden())
    assert job.shard_rows % job.batch_size == 0
    assert [start for _, start, _ in job.shards()] == list(range(0, ROWS, job.shard_rows))
