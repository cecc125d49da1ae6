"""The order of the rows: a function of seed and step, whoever reads it and wherever the reading starts."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_lightning.data.samplers import EvaluationBatches, StepPart, TrainingBatches
from kd_lightning.errors import ConfigError

IDS = torch.tensor([3, 5, 8, 13, 21, 34, 55])


def stream(steps: int = 21, ids: torch.Tensor = IDS, seed: int = 0, batch_size: int = 4) -> list[int]:
    return [row for batch in TrainingBatches(ids, batch_size, steps, seed) for row in batch]


def epochs(rows: list[int], size: int) -> list[list[int]]:
    return [rows[first : first + size] for first in range(0, len(rows) - size + 1, size)]


# -- training --------------------------------------------------------------------------------------------------------


def test_each_epoch_is_a_permutation_of_the_ids() -> None:
    found = epochs(stream(), len(IDS))
    assert len(found) == 12
    assert all(sorted(epoch) == IDS.tolist() for epoch in found)
    assert len({tuple(epoch) for epoch in found}) == 12


def test_every_batch_is_full_and_len_counts_them() -> None:
    batches = TrainingBatches(IDS, 4, 10, 0)
    assert [len(batch) for batch in batches] == [4] * 10
    assert len(batches) == 10


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    by_four, by_seven = stream(21, batch_size=4), stream(12, batch_size=7)
    assert by_four == by_seven
    assert stream() == stream()
    assert all(a != b for a, b in zip(epochs(stream(), 7), epochs(stream(seed=1), 7), strict=True))


def test_reading_an_order_draws_no_global_random_number() -> None:
    state = torch.get_rng_state()
    stream()
    assert torch.equal(torch.get_rng_state(), state)


@given(
    rows=st.integers(1, 9),
    batch_size=st.sampled_from([1, 2, 4, 8, 16]),
    steps=st.integers(1, 12),
    start=st.integers(0, 12),
    seed=st.integers(0, 3),
)
def test_resuming_gives_the_tail(rows: int, batch_size: int, steps: int, start: int, seed: int) -> None:
    ids = torch.arange(rows)
    whole = list(TrainingBatches(ids, batch_size, steps, seed))
    assert list(TrainingBatches(ids, batch_size, steps, seed, start=start)) == whole[start:]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 3])
def test_resuming_gives_the_tail_with_accumulation(accumulate: int, start: int) -> None:
    whole = list(TrainingBatches(IDS, 8, 6, 0, accumulate=accumulate))
    resumed = TrainingBatches(IDS, 8, 6, 0, start=start, accumulate=accumulate)
    assert list(resumed) == whole[start * accumulate :]
    assert len(resumed) == 6 * accumulate  # Lightning counts the batches of the whole stage


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("start", [0, 2])
def test_a_later_stage_goes_on_where_the_earlier_one_stopped(accumulate: int, start: int) -> None:
    """Pre-training and distillation together read the rows that the student alone reads."""
    alone = list(TrainingBatches(IDS, 4, 9, 0, accumulate=accumulate))
    later = TrainingBatches(IDS, 4, 6, 0, start=start, skip=3, accumulate=accumulate)
    assert list(later) == alone[(3 + start) * accumulate :]
    assert len(later) == 6 * accumulate


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rows_of_a_step_do_not_depend_on_devices_and_accumulation(world: int, accumulate: int) -> None:
    plain = list(TrainingBatches(IDS, 8, 6, 0))
    ranks = [list(TrainingBatches(IDS, 8, 6, 0, accumulate=accumulate, rank=r, world=world)) for r in range(world)]
    for step, expected in enumerate(plain):
        found = []
        for micro in range(accumulate):
            for rank in ranks:
                batch = rank[step * accumulate + micro]
                assert len(batch) == 8 // world // accumulate
                found += batch
        assert found == expected


def test_a_batch_may_be_larger_than_an_epoch() -> None:
    (batch,) = TrainingBatches(torch.arange(3), 8, 1, 0)
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


@pytest.mark.parametrize(("batch_size", "accumulate", "world"), [(9, 2, 1), (9, 1, 2), (4, 2, 4)])
def test_a_batch_that_does_not_divide_is_refused(batch_size: int, accumulate: int, world: int) -> None:
    with pytest.raises(ConfigError, match=f"multiple of {accumulate * world}"):
        TrainingBatches(IDS, batch_size, 1, 0, accumulate=accumulate, world=world)


# -- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 9, 53, 54])
@pytest.mark.parametrize("batch_size", [1, 8, 128])
def test_every_row_is_evaluated_exactly_once(rows: int, world: int, batch_size: int) -> None:
    ranks = [EvaluationBatches(rows, batch_size, rank, world) for rank in range(world)]
    seen = [row for rank in ranks for batch in rank for row in batch if row >= 0]
    assert sorted(seen) == list(range(rows))
    for rank in ranks:
        batches = list(rank)
        assert len(batches) == len(rank) >= 1
        assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_a_process_without_rows_gets_one_stand_in() -> None:
    assert list(EvaluationBatches(1, 8, rank=0, world=2)) == [[0]]
    assert list(EvaluationBatches(1, 8, rank=1, world=2)) == [[-1]]


@pytest.mark.parametrize(("accumulate", "world"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_part_of_a_step_knows_the_rows_of_the_whole(accumulate: int, world: int) -> None:
    whole = list(TrainingBatches(IDS, 8, 6, 0))[2:]
    for rank in range(world):
        parts = list(TrainingBatches(IDS, 8, 6, 0, start=2, accumulate=accumulate, rank=rank, world=world))
        assert all(isinstance(part, StepPart) for part in parts) == (accumulate * world > 1)
        for number, part in enumerate(parts):
            if isinstance(part, StepPart):
                assert part.step == whole[number // accumulate]
                assert set(part) <= set(part.step)
                copied = pickle.loads(pickle.dumps(part))
                assert (list(copied), copied.step) == (list(part), part.step)
