"""Rows, their checks, which of them are labeled, and the loaders of a stage."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.datamodule import ExperimentData, RowsDataset
from kd_lightning.data.labels import check_classes, labeled_rows
from kd_lightning.data.loader import InMemoryLoader
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ClassMismatchError, ConfigError, EmptyDatasetError, LabelError, VocabMismatchError
from kd_lightning.store import Store
from kd_lightning.types import HOST_INDEX, Batch

CLASSES = 4


def rows(count: int) -> Table:
    return Table({"inputs": torch.arange(count * 2.0).reshape(count, 2), "targets": torch.arange(count) % CLASSES})


def prepared(train: int = 20, other: int = 9, **changes: Any) -> Prepared:
    return Prepared({"train": rows(train), "val": rows(other), "test": rows(other)}, **changes)


def changed(split: str, **tensors: Tensor) -> Prepared:
    whole = prepared()
    whole.splits[split] = Table({**whole.splits[split].columns, **tensors})
    return whole


def data(given: Prepared | None = None, **changes: Any) -> ExperimentData:
    arguments: dict[str, Any] = {"batch_size": 4, "steps": 10, "seed": 0, **changes}
    return ExperimentData(given or prepared(), collate_rows, **arguments)


def at(module: ExperimentData, step: int = 0, rank: int = 0, world: int = 1) -> ExperimentData:
    """As if attached to a trainer at that step."""
    module.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world)  # type: ignore[assignment]
    return module


# -- fingerprint -----------------------------------------------------------------------------------------------------


def test_fingerprint_is_of_content_alone() -> None:
    assert prepared().fingerprint() == prepared().fingerprint()
    moved = prepared()
    moved = Prepared(
        {split: Table(dict(reversed(moved.splits[split].columns.items()))) for split in ("val", "test", "train")}
    )
    assert moved.fingerprint() == prepared().fingerprint()
    transposed = rows(20)["inputs"].t().contiguous().t()
    assert changed("train", inputs=transposed).fingerprint() == prepared().fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        changed("train", inputs=rows(20)["inputs"].index_fill(0, torch.tensor([19]), 7.0)),
        changed("test", targets=(torch.arange(9) + 1) % CLASSES),
        changed("val", targets=(torch.arange(9) % CLASSES).int()),
        changed("val", inputs=rows(9)["inputs"].reshape(9, 1, 2)),
        changed("val", mask=torch.ones(9, dtype=torch.bool)),
        prepared(train=19),
        prepared(tokenizer="{}"),
        prepared(facts={"limit": 20}),
        Prepared({"train": rows(20), "val": rows(9), "test": rows(9), "extra": rows(1)}),
    ],
)
def test_fingerprint_sees_every_part(other: Prepared) -> None:
    assert other.fingerprint() != prepared().fingerprint()


# -- checks ----------------------------------------------------------------------------------------------------------


def test_good_rows_pass() -> None:
    prepared().check(CLASSES)
    garbage = torch.arange(9) % CLASSES
    garbage[3], garbage[5] = -100, 10**6
    mask = torch.ones(9, dtype=torch.bool)
    mask[[3, 5]] = False
    changed("val", targets=garbage, mask=mask).check(CLASSES)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_rows_is_refused(split: str) -> None:
    empty = prepared()
    empty.splits[split] = rows(0)
    missing = prepared()
    del missing.splits[split]
    for whole in (empty, missing):
        with pytest.raises(EmptyDatasetError, match=f"the {split} split has no rows"):
            whole.check(CLASSES)


@pytest.mark.parametrize("bad", [-1, -100, CLASSES, 10**6])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_target_that_is_no_class_is_named_with_its_row(split: str, bad: int) -> None:
    whole = prepared()
    whole.splits[split]["targets"][6] = bad
    with pytest.raises(LabelError, match=f"{split} row 6 has target {bad}, allowed are 0 to 3"):
        whole.check(CLASSES)


def test_a_bad_target_at_a_counted_position_is_found_beside_masked_ones() -> None:
    targets = torch.zeros(9, 3, dtype=torch.int64)
    targets[2, 0], targets[4, 1] = 99, 7
    mask = torch.ones(9, 3, dtype=torch.bool)
    mask[2, 0] = False
    with pytest.raises(LabelError, match="val row 4 has target 7"):
        changed("val", targets=targets, mask=mask).check(CLASSES)


def test_targets_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(LabelError, match=r"train targets are torch.float32"):
        changed("train", targets=torch.zeros(20)).check(CLASSES)
    with pytest.raises(LabelError, match="no position of the val split counts"):
        changed("val", mask=torch.zeros(9, dtype=torch.bool)).check(CLASSES)


def test_a_token_outside_the_vocabulary_is_refused_for_text_alone() -> None:
    prepared().check(CLASSES)  # its inputs are numbers up to 39, and no tokens
    with pytest.raises(VocabMismatchError, match="train rows hold token 39") as error:
        prepared(tokenizer="{}").check(CLASSES)
    assert "data.vocab_size=40" in str(error.value)


def test_classes_of_network_and_data_must_agree() -> None:
    check_classes(4, 4, "student")
    with pytest.raises(ClassMismatchError, match="the student gives 1 classes, the data has 4"):
        check_classes(1, 4, "student")


# -- labeled rows ---------------------------------------------------------------------------------------------------


@st.composite
def targets_and_count(draw: st.DrawFn) -> tuple[Tensor, int]:
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any))
    targets = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    present = sum(size > 0 for size in sizes)
    return targets[torch.randperm(len(targets))], draw(st.integers(present, len(targets)))


@given(targets_and_count(), st.integers(0, 5))
def test_labeled_rows_are_exactly_as_many_and_in_proportion(example: tuple[Tensor, int], seed: int) -> None:
    targets, count = example
    flags = labeled_rows(targets, count, seed)
    assert flags.dtype == torch.bool
    assert flags.shape == targets.shape
    assert int(flags.sum()) == count
    shares = []
    for label in targets.unique().tolist():
        size = int((targets == label).sum())
        given_away = int((flags & (targets == label)).sum())
        assert 1 <= given_away <= size
        shares.append((given_away, size * count / len(targets)))
    # Where no class has to be lifted to its one row, each is within one row of its proportion.
    if all(quota >= 1 for _, quota in shares):
        assert all(abs(given_away - quota) < 1 for given_away, quota in shares)


def test_labeled_rows_depend_on_the_seed_and_draw_no_global_number() -> None:
    targets = torch.arange(40) % 4
    state = torch.get_rng_state()
    first = labeled_rows(targets, 8, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, labeled_rows(targets, 8, 0))
    assert not torch.equal(first, labeled_rows(targets, 8, 1))


def test_rows_of_sequences_are_drawn_uniformly() -> None:
    flags = labeled_rows(torch.zeros(30, 7, dtype=torch.int64), 9, 0)
    assert flags.shape == (30,)
    assert int(flags.sum()) == 9
    assert int(labeled_rows(torch.zeros(30, 7, dtype=torch.int32), 1, 0).sum()) == 1


@pytest.mark.parametrize("count", [0, 3, 41, -1])
def test_a_number_of_labels_that_is_not_possible_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"num_labeled={count}: choose one from 4") as error:
        labeled_rows(torch.arange(40) % 4, count, 0)
    assert "to 40 (all rows)" in str(error.value)


# -- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_holds_the_rows_asked_for_with_their_index() -> None:
    whole = Table(
        {
            "inputs": torch.arange(10, dtype=torch.int32).reshape(5, 2),
            "targets": torch.arange(5, dtype=torch.uint8),
            "mask": torch.tensor([[True, False]] * 5),
            "group": torch.arange(5),
            "labeled": torch.tensor([True, False, True, False, True]),
        }
    )
    batch = RowsDataset(whole, collate_rows).__getitems__([4, 1])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "inputs": [[8, 9], [2, 3]],
        "targets": [4, 1],
        "mask": [[True, False], [True, False]],
        "labeled": [True, False],
        "index": [4, 1],
    }
    assert batch["inputs"].dtype == batch["targets"].dtype == batch["index"].dtype == torch.int64
    assert batch["mask"].dtype == batch["labeled"].dtype == torch.bool
    assert RowsDataset(rows(5), collate_rows).__getitems__([0])["inputs"].dtype == torch.float32
    assert len(RowsDataset(whole, collate_rows)) == 5


def test_the_stand_in_of_a_process_without_rows_does_not_count() -> None:
    batch = RowsDataset(rows(5), collate_rows).__getitems__([-1])
    assert batch["inputs"].shape == (1, 2)
    assert not batch["mask"].any()
    assert batch["mask"].shape == batch["targets"].shape


def read(loader: Any) -> list[Batch]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(loader)


def test_training_starts_at_the_trainers_step() -> None:
    whole = read(at(data()).train_dataloader())
    tail = read(at(data(), step=7).train_dataloader())
    assert len(whole) == 10
    assert [batch["index"].tolist() for batch in tail] == [batch["index"].tolist() for batch in whole[7:]]
    for batch in whole:
        assert torch.equal(batch["inputs"], rows(20)["inputs"][batch["index"]])
        assert "labeled" not in batch
    assert sorted(torch.cat([batch["index"] for batch in whole[:5]]).tolist()) == list(range(20))


def test_a_later_stage_reads_on_in_the_same_stream() -> None:
    alone = read(at(data()).train_dataloader())
    later = read(at(data(steps=6, first_step=4), step=1).train_dataloader())
    assert [batch["index"].tolist() for batch in later] == [batch["index"].tolist() for batch in alone[5:]]


def test_two_devices_share_each_training_batch() -> None:
    plain = read(at(data()).train_dataloader())
    shares = [read(at(data(), rank=rank, world=2).train_dataloader()) for rank in (0, 1)]
    for expected, first, second in zip(plain, *shares, strict=True):
        assert torch.equal(torch.cat([first["index"], second["index"]]), expected["index"])


def test_a_supervised_stage_sees_labeled_rows_alone_and_a_soft_stage_all_of_them_flagged() -> None:
    flags = labeled_rows(rows(20)["targets"], 8, 0)
    alone = read(at(data(labeled=8, only_labeled=True)).train_dataloader())
    assert {row for batch in alone for row in batch["index"].tolist()} == set(flags.nonzero().flatten().tolist())
    assert all(batch["labeled"].all() for batch in alone)
    soft = read(at(data(labeled=8)).train_dataloader())
    assert {row for batch in soft for row in batch["index"].tolist()} == set(range(20))
    for batch in soft:
        assert torch.equal(batch["labeled"], flags[batch["index"]])
    assert len(read(at(data(only_labeled=True)).train_dataloader())) == 10  # labeled=None: all rows have one


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
def test_evaluation_reads_its_split_in_order_without_padding(split: str, rank: int, world: int) -> None:
    whole = prepared()
    whole.splits[split] = whole.splits[split].with_column("inputs", rows(9)["inputs"] + 100)
    module = at(data(whole, labeled=8, eval_batch_size=2), rank=rank, world=world)
    batches = read(getattr(module, f"{split}_dataloader")())
    index = torch.cat([batch["index"] for batch in batches])
    assert index.tolist() == list(range(rank, 9, world))
    assert torch.equal(torch.cat([batch["inputs"] for batch in batches]), whole.splits[split]["inputs"][index])
    assert all("labeled" not in batch for batch in batches)


def test_rows_in_memory_come_as_through_a_data_loader() -> None:
    module = at(data(labeled=8))
    for loader in (module.train_dataloader(), module.val_dataloader()):
        assert isinstance(loader, InMemoryLoader)
        slow = DataLoader(loader.rows, batch_sampler=loader.batches, collate_fn=lambda batch: batch)  # type: ignore[arg-type, var-annotated]
        assert len(loader) == len(slow)
        for one, other in zip(read(loader), read(slow), strict=True):
            assert list(one) == list(other)
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_gpu_gets_pinned_rows_and_workers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = at(data(workers=2)).train_dataloader()
    assert isinstance(patient, DataLoader)
    assert (patient.num_workers, patient.persistent_workers, patient.pin_memory) == (2, True, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    pinned = at(data()).train_dataloader()
    assert isinstance(pinned, DataLoader)
    assert pinned.pin_memory


def test_a_batch_on_another_device_keeps_its_row_numbers_at_hand() -> None:
    rows, batch = data(), next(iter(data().test_dataloader()))
    moved = rows.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved["index"].device.type == "meta"
    assert moved[HOST_INDEX] is batch["index"]
    assert HOST_INDEX not in rows.transfer_batch_to_device(batch, torch.device("cpu"), 0)


def test_evaluation_works_without_a_trainer() -> None:
    assert sum(len(batch["index"]) for batch in read(data().test_dataloader())) == 9


def test_a_batch_larger_than_the_split_is_refused_when_built() -> None:
    data(batch_size=20)
    with pytest.raises(ConfigError, match=r"data.batch_size 21 > 20 training rows"):
        data(batch_size=21)


def test_prepared_rows_survive_the_store(tmp_path: Path) -> None:
    whole = prepared(tokenizer='{"é": 1}', facts={"rows": 20})
    mask = torch.ones(9, dtype=torch.bool)
    inputs = torch.zeros(2, 9).t()  # not contiguous
    whole.splits["val"] = Table({**whole.splits["val"].columns, "mask": mask, "inputs": inputs})
    entry = Store(tmp_path).entry("data", "abc")
    with entry.lock(lambda: None):
        write_prepared(entry, whole)
    again, fingerprint = read_prepared(entry)
    assert again.fingerprint() == fingerprint == whole.fingerprint()
    assert entry.problem() is None
