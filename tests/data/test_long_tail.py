"""Long-tailed training rows: the profile, what stays as it was, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.labels import class_rows
from kd_lightning.data.long_tail import long_tailed, profile, steepest
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from tests.support.parts import CLASSES, TinyRows
from tests.support.tiny import experiment

SIZES = (60, 50, 70, 55)


def prepared(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Prepared:
    """Rows that can be told apart by their inputs, in a random order."""
    targets = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    rows = Table({"inputs": torch.arange(len(targets)).reshape(-1, 1).float(), "targets": targets[order]})
    return Prepared({"train": rows, "val": rows, "test": rows}, facts={"rows": 1})


def counts(data: Prepared, classes: int = len(SIZES)) -> list[int]:
    return class_rows(data.splits["train"], classes).tolist()


@pytest.mark.parametrize("ratio", [1.0, 3.5, 10.0, 50.0])
def test_counts_are_the_profile_and_the_first_to_the_last_is_the_ratio(ratio: float) -> None:
    found = counts(long_tailed(prepared(), ratio, 4))
    most = found[0]
    assert found == [int(most * ratio ** (-label / 3) + 1e-6) for label in range(4)]
    assert most == min(int(size * ratio ** (label / 3) + 1e-6) for label, size in enumerate(SIZES))
    assert most / ratio - 1 < found[-1] <= most / ratio + 1e-6


@given(st.lists(st.integers(1, 300), min_size=2, max_size=9), st.floats(1, 100))
def test_no_class_gives_more_than_it_has_and_none_keeps_more_than_one_before_it(sizes: list[int], ratio: float) -> None:
    most = min(size * ratio ** (label / (len(sizes) - 1)) for label, size in enumerate(sizes))
    assume(most >= ratio + 1)  # else a class may get no row
    wanted = profile(sizes, ratio)
    assert all(1 <= keeps <= has for keeps, has in zip(wanted, sizes, strict=True))
    assert wanted == sorted(wanted, reverse=True)


def test_rows_stay_in_their_order_whole_and_the_same_each_time() -> None:
    data = prepared()
    state = torch.get_rng_state()
    first, again = long_tailed(data, 10, 4), long_tailed(data, 10, 4)
    assert torch.equal(torch.get_rng_state(), state)
    inputs, targets = (first.splits["train"][name] for name in ("inputs", "targets"))
    assert (inputs.flatten().diff() > 0).all()
    assert torch.equal(data.splits["train"]["targets"][inputs.flatten().long()], targets)
    assert first.fingerprint() == again.fingerprint()
    assert first.splits["val"] is data.splits["val"]
    assert first.splits["test"] is data.splits["test"]
    assert first.facts == {"rows": 1, "imbalance": 10}


def test_another_ratio_or_split_is_other_data_and_fewer_rows_are_a_part_of_more() -> None:
    kept = {
        ratio: set(long_tailed(prepared(), ratio, 4).splits["train"]["inputs"].flatten().tolist()) for ratio in (5, 50)
    }
    assert kept[50] < kept[5]
    prints = {long_tailed(prepared(seed=seed), ratio, 4).fingerprint() for seed, ratio in ((0, 5), (0, 50), (1, 5))}
    assert len(prints | {prepared().fingerprint()}) == 4


def test_a_ratio_of_one_makes_all_classes_alike() -> None:
    assert counts(long_tailed(prepared(), 1, 4)) == [50] * 4


def test_rows_that_do_not_count_are_left_out() -> None:
    data = prepared()
    mask = torch.arange(sum(SIZES)) % 2 == 0
    train = data.splits["train"]
    data.splits["train"] = Table({**train.columns, "mask": mask, "targets": train["targets"].masked_fill(~mask, -100)})
    found = long_tailed(data, 5, 4)
    assert found.splits["train"]["mask"].all()
    assert counts(found)[0] > 0


@pytest.mark.parametrize(
    ("sizes", "ratio", "parts"),
    [
        ((40, 40, 40), 50.0, ["data.imbalance=50", "class 2 would get no row", "set data.imbalance=40 or lower"]),
        ((1000, 5, 1), 5000.0, ["data.imbalance=5000", "would get no row", "set data.imbalance=25 or lower"]),
        ((40, 0, 40), 2.0, ["class 1 has no training row to begin with", "data.imbalance=null"]),
    ],
)
def test_a_class_without_a_row_is_refused(sizes: tuple[int, ...], ratio: float, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        long_tailed(prepared(sizes), ratio, 3)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("sizes", [(40, 40, 40), (1000, 5, 1), (7, 30, 2, 9)])
def test_the_steepest_ratio_is_taken_and_the_next_is_not(sizes: tuple[int, ...]) -> None:
    assert min(profile(list(sizes), steepest(list(sizes)))) == 1
    with pytest.raises(ConfigError):
        profile(list(sizes), steepest(list(sizes)) + 1)


def test_a_ratio_is_the_same_however_it_is_written() -> None:
    assert long_tailed(prepared(), 5, 4).fingerprint() == long_tailed(prepared(), 5.0, 4).fingerprint()


def test_sequences_are_refused() -> None:
    rows = Table({"inputs": torch.zeros(4, 3, dtype=torch.int64), "targets": torch.zeros(4, 3, dtype=torch.int64)})
    with pytest.raises(ConfigError, match=r"data.imbalance=10: the targets have shape \(4, 3\).*data.imbalance=null"):
        long_tailed(Prepared(dict.fromkeys(("train", "val", "test"), rows)), 10, 3)


# -- labels -----------------------------------------------------------------------------------------------------------


def test_class_rows_are_of_what_counts_and_is_labeled() -> None:
    targets = torch.tensor([[0, 1], [1, 2], [-100, 1]])
    flags = {"mask": targets >= 0, "labeled": torch.tensor([True, False, True])}
    assert class_rows(Table({"targets": targets, "mask": targets >= 0}), 4).tolist() == [1, 3, 1, 0]
    assert class_rows(Table({"targets": targets, **flags}), 4).tolist() == [1, 2, 0, 0]


def test_labeled_rows_of_a_long_tail_are_a_long_tail() -> None:
    data = long_tailed(prepared(), 20, 4)
    rows = ExperimentData(data, collate_rows, batch_size=4, steps=1, seed=0, labeled=20, only_labeled=True)
    found = class_rows(rows.train_set.table, 4)
    assert int(found.sum()) == 20
    assert found.min() == 1
    assert found.tolist() == sorted(found.tolist(), reverse=True)


# -- in a run ---------------------------------------------------------------------------------------------------------


def test_a_run_reads_long_tailed_rows_and_their_ratio_is_in_its_keys(tmp_path: Path) -> None:
    whole = experiment(tmp_path).builder.dataset
    tail = experiment(tmp_path, data__imbalance=7).builder.dataset
    assert len(tail.prepared.splits["train"]) < len(whole.prepared.splits["train"])
    assert tail.training_rows[0] == 7 * tail.training_rows[-1]
    for split in ("val", "test"):
        assert torch.equal(tail.prepared.splits[split]["inputs"], whole.prepared.splits[split]["inputs"])
    assert tail.fingerprint != whole.fingerprint
    again = experiment(tmp_path, data__imbalance=7).builder.dataset
    assert tail.fingerprint == again.fingerprint == tail.prepared.fingerprint()
    assert whole.fingerprint == experiment(tmp_path, data__imbalance=None).builder.dataset.fingerprint


def test_a_limit_is_of_the_long_tail(tmp_path: Path) -> None:
    dataset = experiment(tmp_path, data__imbalance=7, data__limit=9).builder.dataset
    whole = experiment(tmp_path, data__imbalance=7).builder.dataset
    assert torch.equal(dataset.prepared.splits["train"]["inputs"], whole.prepared.splits["train"]["inputs"][:9])
    assert dataset.prepared.facts["limit"] == 9
    trained_on = dataset.rows("student", 1, only_labeled=True).train_set.table["targets"].tolist()
    assert len(trained_on) == 9
    for found in (dataset.training_rows, dataset.class_rows("student"), dataset.class_rows("teacher")):
        assert found.tolist() == [trained_on.count(label) for label in range(CLASSES)]
    assert "class_rows" not in dataset.prepared.facts  # they would be those before the limit


def test_class_rows_are_each_roles_own(tmp_path: Path) -> None:
    dataset = experiment(tmp_path, student__num_labeled=6, teacher__num_labeled=15).builder.dataset
    rows: dict[str, Tensor] = {role: dataset.class_rows(role) for role in ("teacher", "student")}
    assert {role: int(found.sum()) for role, found in rows.items()} == {"teacher": 15, "student": 6}
    assert int(dataset.training_rows.sum()) == 40
    assert all(len(found) == CLASSES for found in rows.values())
    assert len(TinyRows().prepare().splits["train"]) == 40
