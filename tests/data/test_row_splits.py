"""Which rows are validated and tested on: shares, classes, groups, time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.data.row_splits import (
    TEST_SPLIT,
    TRAIN_SPLIT,
    VAL_SPLIT,
    draw_groups,
    draw_latest,
    draw_random,
    draw_stratified,
)
from kd_lightning.errors import EmptyDatasetError

BOTH = {VAL_SPLIT: 0.1, TEST_SPLIT: 0.2}


def sizes(splits: Tensor) -> list[int]:
    """Rows of train, val, test."""
    return torch.bincount(splits.long(), minlength=3).tolist()


def test_stratified_takes_the_same_share_of_each_class() -> None:
    classes = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    splits = draw_stratified(classes, BOTH, 0)
    assert [sizes(splits[classes == label]) for label in range(3)] == [[70, 10, 20], [35, 5, 10], [7, 1, 2]]


def test_random_takes_shares_of_all_rows_whatever_their_class() -> None:
    classes = torch.tensor([0] * 90 + [1] * 10)
    found = [draw_random(classes, BOTH, seed) for seed in range(20)]
    assert {tuple(sizes(splits)) for splits in found} == {(70, 10, 20)}
    assert len({tuple(sizes(splits[classes == 1])) for splits in found}) > 3, "the classes' shares differ"


@pytest.mark.parametrize("draw", [draw_stratified, draw_random, draw_groups])
def test_another_seed_is_another_draw(draw) -> None:  # type: ignore[no-untyped-def]
    column = torch.arange(200) % 20
    first, again, other = (draw(column, BOTH, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_class_of_three_rows_is_in_every_split_and_a_rarer_one_trains() -> None:
    classes = torch.tensor([0] * 100 + [1] * 3 + [3] * 2 + [4])
    splits = draw_stratified(classes, BOTH, 0)
    assert sizes(splits[classes == 1]) == [1, 1, 1]
    assert sizes(splits[classes == 3]) == [2, 0, 0]
    assert sizes(splits[classes == 4]) == [1, 0, 0]


def test_one_split_alone_can_be_drawn() -> None:
    splits = draw_stratified(torch.arange(100) % 2, {TEST_SPLIT: 0.3}, 0)
    assert sizes(splits) == [70, 0, 30]
    assert sizes(draw_latest(torch.arange(10), {VAL_SPLIT: 0.2})) == [8, 2, 0]
    assert sizes(draw_groups(torch.arange(10), {VAL_SPLIT: 0.2}, 0)) == [8, 2, 0]


def test_large_shares_leave_rows_to_train_on() -> None:
    assert sizes(draw_random(torch.zeros(6), {VAL_SPLIT: 0.49, TEST_SPLIT: 0.5}, 0)) == [1, 3, 2]
    assert sizes(draw_stratified(torch.arange(6) % 2, {VAL_SPLIT: 0.49, TEST_SPLIT: 0.5}, 0)) == [2, 2, 2]


def test_the_latest_rows_are_the_test_and_those_before_them_validation() -> None:
    times = torch.tensor([5.0, 1, 9, 3, 7, 2, 8, 4, 6, 0])
    splits = draw_latest(times, BOTH)
    assert sorted(times[splits == TEST_SPLIT].tolist()) == [8, 9]
    assert times[splits == VAL_SPLIT].tolist() == [7]
    assert draw_latest(torch.zeros(10), BOTH).tolist() == [0] * 7 + [1, 2, 2], "of the same time, the later in the file"


@pytest.mark.parametrize("seed", range(20))
def test_a_group_is_whole_and_shares_are_kept(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(0, 60, (1000,), generator=generator)
    splits = draw_groups(groups, BOTH, seed)
    assert all(len(splits[groups == group].unique()) == 1 for group in groups.unique())
    train, val, test = sizes(splits)
    assert train + val + test == 1000
    assert 70 <= val <= 100
    assert 170 <= test <= 200


@pytest.mark.parametrize("seed", range(10))
def test_the_largest_group_trains_and_each_split_gets_one(seed: int) -> None:
    for groups in (torch.tensor([0] * 90 + [1] * 5 + [2] * 5), torch.tensor([7] * 40 + [-1] * 30 + [3] * 30)):
        splits = draw_groups(groups, BOTH, seed)
        assert min(sizes(splits)) > 0
        assert splits[0] == TRAIN_SPLIT


def test_too_few_rows_say_how_many_are_needed() -> None:
    with pytest.raises(
        EmptyDatasetError, match=r"5 rows, and fewer than 2 classes have the 3 rows .*: give 2 classes or more 3 rows"
    ):
        draw_stratified(torch.tensor([0, 0, 0, 1, 1]), BOTH, 0)
    assert sizes(draw_stratified(torch.tensor([0, 0, 0, 1, 1, 1]), BOTH, 0)) == [2, 2, 2], "the control"
    assert sizes(draw_stratified(torch.tensor([0, 0, 1, 1]), {VAL_SPLIT: 0.1}, 0)) == [2, 2, 0], "two splits need fewer"
    with pytest.raises(EmptyDatasetError, match="5 rows are too few for 3 splits: give 6 or more"):
        draw_random(torch.arange(5), BOTH, 0)
    with pytest.raises(EmptyDatasetError, match="5 rows are too few for 3 splits"):
        draw_latest(torch.arange(5), BOTH)
    with pytest.raises(EmptyDatasetError, match="2 groups cannot fill 3 splits"):
        draw_groups(torch.arange(100) % 2, BOTH, 0)
