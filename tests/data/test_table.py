"""Tables: fixed and ragged columns, in memory and in files, chosen rows, what is refused, and rows larger than the memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.data import columns
from kd_lightning.data.collate import collate_rows
from kd_lightning.data.columns import InMemory, Mapped, Ragged, RaggedRows
from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.labels import class_rows, flag_labeled_rows, labeled_rows
from kd_lightning.data.long_tail import long_tailed
from kd_lightning.data.prepared import read_prepared, read_tables, write_prepared
from kd_lightning.data.source import Prepared, PreparedPieces
from kd_lightning.data.table import Table
from kd_lightning.errors import KDError, LabelError, TableError, VocabMismatchError
from kd_lightning.experiment.dataset import limit_rows
from kd_lightning.store import Entry, Store
from tests.support.large_rows import ALLOWED
from tests.support.parts import TinyRows

ROWS, CLASSES = 50, 4
LENGTHS = torch.arange(ROWS) * 7 % 6  # some rows are empty
OFFSETS = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(0)])
DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int16,
    torch.uint8,
    torch.bool,
)


def ragged(dtype: torch.dtype = torch.int32) -> Ragged:
    """Row i holds i * 100, i * 100 + 1, ..."""
    number = torch.repeat_interleave(torch.arange(ROWS), LENGTHS)
    values = number * 100 + torch.arange(len(number)) - OFFSETS[number]
    return Ragged(InMemory(values.to(dtype)), InMemory(OFFSETS))


def fixed() -> Table:
    """A column of every type, of several shapes, and a ragged one."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 100, (ROWS, 2, 3), generator=generator)
    many = {f"of_{str(dtype).partition('.')[2]}": numbers.to(dtype) for dtype in DTYPES}
    return Table(
        {
            "inputs": torch.randn(ROWS, 2, 3, generator=generator),
            "targets": torch.arange(ROWS) % CLASSES,
            "mask": torch.arange(ROWS) % 7 != 3,
            "group": torch.arange(ROWS) // 4,
            "words": ragged(),
            **many,
        }
    )


def prepared(table: Table | None = None, **more: Any) -> Prepared:
    whole = fixed() if table is None else table
    return Prepared({"train": whole, "val": whole, "test": whole}, **more)


def stored(folder: Path, what: Prepared | PreparedPieces | None = None) -> Entry:
    entry = Store(folder).entry("data", "abc")
    with entry.lock(lambda: None):
        write_prepared(entry, prepared() if what is None else what)
    return entry


def same(one: Tensor | RaggedRows, other: Tensor | RaggedRows) -> bool:
    if isinstance(one, RaggedRows) or isinstance(other, RaggedRows):
        assert isinstance(one, RaggedRows)
        assert isinstance(other, RaggedRows)
        return torch.equal(one.values, other.values) and torch.equal(one.lengths, other.lengths)
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.fixture
def mapped(tmp_path: Path) -> Table:
    found, _ = read_prepared(stored(tmp_path), memory_map_above=0)
    return found.splits["train"]


CHOSEN = torch.tensor([7, 0, 49, 7, 13])


# -- columns ----------------------------------------------------------------------------------------------------------


def test_ragged_rows_are_those_between_the_offsets() -> None:
    rows = ragged().take(CHOSEN)
    expected = [[row * 100 + place for place in range(int(LENGTHS[row]))] for row in CHOSEN.tolist()]
    assert [part.tolist() for part in rows.values.split(rows.lengths.tolist())] == expected
    padded = rows.pad(-1)
    assert padded.dtype == torch.int32
    longest = max(map(len, expected))
    assert padded.tolist() == [row + [-1] * (longest - len(row)) for row in expected]
    assert rows.mask().tolist() == [[True] * len(row) + [False] * (longest - len(row)) for row in expected]
    assert [rows.row_of(position) for position in range(len(rows.values))] == [
        row for row, values in enumerate(expected) for _ in values
    ]


def test_ragged_rows_may_all_be_empty_and_their_values_have_a_shape() -> None:
    values = torch.arange(12.0).reshape(6, 2)
    column = Ragged(InMemory(values), InMemory(torch.tensor([0, 2, 2, 6])))
    assert column.take(torch.tensor([1])).pad().shape == (1, 0, 2)
    assert column.take(torch.tensor([2, 0])).pad().tolist() == [
        values[2:].tolist(),
        [*values[:2].tolist(), [0, 0], [0, 0]],
    ]
    assert column.take(torch.tensor([], dtype=torch.int64)).pad().shape == (0, 0, 2)


def test_columns_of_a_file_are_those_in_memory(mapped: Table) -> None:
    whole = fixed()
    assert sorted(mapped.columns) == sorted(whole.columns)
    assert all(isinstance(column, Mapped | Ragged) for column in mapped.columns.values())
    assert len(mapped) == len(whole) == ROWS
    for name in whole.columns:
        assert same(mapped.column(name).whole(), whole.column(name).whole()), name
        assert same(mapped.column(name).slice(3, 9), whole.column(name).slice(3, 9)), name
        assert same(mapped.column(name).take(CHOSEN), whole.column(name).take(CHOSEN)), name
    batch, expected = collate_rows(mapped, CHOSEN), collate_rows(whole, CHOSEN)
    assert batch.keys() == expected.keys()
    assert all(same(batch[name], expected[name]) for name in batch)


@pytest.mark.parametrize("name", ["inputs", "targets", "words", "of_bfloat16", "of_bool"])
def test_chosen_rows_are_those_of_a_tensor(mapped: Table, name: str) -> None:
    for table in (fixed(), mapped):
        twice = table.select(torch.arange(ROWS - 1, -1, -2)).select(torch.tensor([4, 1, 1])).head(2)
        expected = torch.arange(ROWS - 1, -1, -2)[[4, 1]]
        assert twice.ids.tolist() == expected.tolist()
        assert same(twice.column(name).whole(), table.column(name).take(expected))
        assert same(twice.column(name).slice(1, 2), table.column(name).take(expected[1:]))
        assert same(twice.read(torch.tensor([1, 0]))[name], table.column(name).take(expected.flip(0)))
        assert len(table.head(1000)) == ROWS
        assert table.head(3).ids.tolist() == [0, 1, 2]


def test_a_choice_of_a_files_rows_copies_none(mapped: Table) -> None:
    column = mapped.select(CHOSEN).column("inputs")
    assert isinstance(column, Mapped)
    assert column.rows is CHOSEN
    assert column.path == mapped.column("inputs").path  # type: ignore[union-attr]


def test_a_file_that_is_mapped_is_not_written_into(mapped: Table) -> None:
    rows = mapped["inputs"]
    before = rows.clone()
    rows.zero_()
    assert torch.equal(mapped["inputs"], before)


def test_another_process_gets_the_files_name(tmp_path: Path) -> None:
    table = Table({"inputs": torch.zeros(10_000, 10), "targets": torch.zeros(10_000, dtype=torch.int64)})
    entry = stored(tmp_path, prepared(table.with_column("inputs", torch.rand(10_000, 10))))
    whole, _ = read_prepared(entry, memory_map_above=None)
    left, _ = read_prepared(entry, memory_map_above=0)
    sent = pickle.dumps(left)
    assert len(sent) < 3000 < 100_000 < len(pickle.dumps(whole))
    again = pickle.loads(sent)
    assert torch.equal(again.splits["val"]["inputs"], whole.splits["val"]["inputs"])


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_processes_read_the_files(workers: int, mapped: Table) -> None:
    arguments: dict[str, Any] = {"batch_size": 4, "steps": 3, "seed": 0, "workers": workers, "labeled": 20}
    found, expected = (
        ExperimentData(prepared(table), collate_rows, **arguments) for table in (mapped.head(45), fixed().head(45))
    )
    expected.workers = 0
    for module in (found, expected):
        module.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1)  # type: ignore[assignment]
    for one, other in zip(found.train_dataloader(), expected.train_dataloader(), strict=True):
        assert one.keys() == other.keys()
        assert all(same(one[name], other[name]) for name in one)


# -- the store --------------------------------------------------------------------------------------------------------


def test_size_decides_whether_rows_stay_in_their_files(tmp_path: Path) -> None:
    entry = stored(tmp_path)
    size = sum(path.stat().st_size for path in entry.folder.glob("*.safetensors"))
    for above, expected in ((None, InMemory), (size, InMemory), (size - 1, Mapped), (0, Mapped)):
        found, fingerprint = read_prepared(entry, above)
        assert type(found.splits["train"].column("inputs")) is expected
        assert found.fingerprint() == fingerprint == prepared().fingerprint()


def test_the_files_are_plain_safetensors(tmp_path: Path) -> None:
    entry = stored(tmp_path)
    assert entry.problem() is None
    for name in ("inputs", "targets", "of_bfloat16"):
        (tensor,) = load_file(entry.path(f"val.{name}.safetensors")).values()
        assert same(tensor, fixed()[name])
    assert load_file(entry.path("val.words.offsets.safetensors"))["offsets"].tolist() == OFFSETS.tolist()


@pytest.mark.parametrize("size", [1, 7, ROWS])
def test_pieces_are_the_rows_in_one(tmp_path: Path, size: int) -> None:
    facts: dict[str, Any] = {}

    def pieces() -> Iterator[tuple[str, Table]]:
        for start in range(0, ROWS, size):
            for split in ("train", "val", "test"):
                yield split, fixed().select(torch.arange(start, min(start + size, ROWS)))
        facts["rows"] = ROWS

    entry = stored(tmp_path, PreparedPieces(pieces(), tokenizer="{}", facts=facts))
    found, fingerprint = read_prepared(entry)
    expected = prepared(tokenizer="{}", facts={"rows": ROWS})
    assert found.facts == expected.facts
    assert fingerprint == found.fingerprint() == expected.fingerprint()
    assert same(found.splits["train"].column("words").whole(), fixed().column("words").whole())


def test_pieces_that_do_not_go_together_are_refused_and_leave_no_entry(tmp_path: Path) -> None:
    first = Table({"inputs": torch.zeros(2, 3), "targets": torch.zeros(2, dtype=torch.int64)})
    for second, message in (
        (Table({"inputs": torch.zeros(2, 3)}), r"a piece of the train split has the columns inputs, those before it"),
        (
            first.with_column("inputs", torch.zeros(2, 4)),
            r"a piece of train.inputs is torch.float32 rows of shape \[4\]",
        ),
        (first.with_column("targets", torch.zeros(2)), r"a piece of train.targets is torch.float32 rows of shape \[\]"),
    ):
        with pytest.raises(TableError, match=message):
            stored(tmp_path, PreparedPieces([("train", first), ("train", second)]))
        assert Store(tmp_path).entry("data", "abc").problem() == ""
    with pytest.raises(TableError, match=r"train.inputs is torch.complex64, which cannot be stored: use one of torch"):
        stored(tmp_path, PreparedPieces([("train", Table({"inputs": torch.zeros(2, dtype=torch.complex64)}))]))


def test_long_names_and_no_rows_fit_into_the_files(tmp_path: Path) -> None:
    name = "a" * 150
    entry = stored(tmp_path, prepared(Table({name: torch.zeros(0, 5), "empty": torch.zeros(0, 0, 2)})))
    for left in (True, False):
        found = read_tables(entry.folder, mapped=left)["train"]
        assert found[name].shape == (0, 5)
        assert found["empty"].shape == (0, 0, 2)


# -- a few rows at a time ---------------------------------------------------------------------------------------------


def test_fingerprint_checks_and_counts_do_not_depend_on_how_much_is_read_at_once(
    mapped: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepared()
    expected = whole.fingerprint(), class_rows(whole.splits["train"], CLASSES).tolist()
    words = Table({"inputs": ragged(), "targets": ragged(), "mask": ragged(torch.bool)})
    counts = class_rows(words, 6000)
    for size in (1, 100, 10_000):
        monkeypatch.setattr(columns, "CHUNK_BYTES", size)
        for table in (fixed(), mapped):
            found = prepared(table)
            found.check(CLASSES)
            assert (found.fingerprint(), class_rows(found.splits["train"], CLASSES).tolist()) == expected
        assert torch.equal(class_rows(words, 6000), counts)
    assert counts.sum() == words["mask"].sum()


def test_a_view_has_the_fingerprint_of_the_rows(mapped: Table) -> None:
    for table in (fixed(), mapped):
        view = prepared(table.select(CHOSEN))
        rows = {name: fixed().column(name).take(CHOSEN) for name in table.columns}
        words = rows.pop("words")
        assert isinstance(words, RaggedRows)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), words.lengths.cumsum(0)])
        copied = Table({**rows, "words": Ragged(InMemory(words.values), InMemory(offsets))})  # type: ignore[dict-item]
        assert view.fingerprint() == prepared(copied).fingerprint()


@pytest.mark.parametrize("left", [True, False])
def test_chosen_rows_are_the_same_wherever_they_lie(tmp_path: Path, left: bool) -> None:
    entry = stored(tmp_path, TinyRows(90, 9).prepare())
    whole, found = TinyRows(90, 9).prepare(), read_prepared(entry, 0 if left else None)[0]
    cut, expected = (limit_rows(long_tailed(rows, 5, 3), 30) for rows in (found, whole))
    assert cut.fingerprint() == expected.fingerprint()
    train = cut.splits["train"]
    assert isinstance(train.column("inputs"), Mapped if left else InMemory)
    assert torch.equal(whole.splits["train"]["inputs"][train.ids], train["inputs"])
    assert torch.equal(flag_labeled_rows(train, 9, 0), labeled_rows(expected.splits["train"]["targets"], 9, 0))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a table without columns: give it inputs and targets"),
        (
            {"inputs": torch.zeros(3, 2), "targets": torch.zeros(4)},
            r"numbers of rows \(inputs 3, targets 4\): give each",
        ),
        ({"my column": torch.zeros(3)}, "a column is called 'my column': letters, digits and underscores"),
        ({"inputs": torch.tensor(1.0)}, "column inputs is a single number: give it a value for every row"),
        (
            {"inputs": (3, [0, 2, 1, 3])},
            "column inputs: row 1 ends at 1, before its start 2: offsets must not decrease",
        ),
        (
            {"inputs": (3, [0, 2])},
            "column inputs: offsets go from 0 to 2, and it has 3 values: they must go from 0 to 3",
        ),
        ({"inputs": (3, [])}, r"column inputs has offsets torch.float32 \[0\]: \[rows \+ 1\] int64 is expected"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(given: dict[str, Any], message: str) -> None:
    made = {
        name: Ragged(InMemory(torch.zeros(what[0])), InMemory(torch.tensor(what[1])))
        if isinstance(what, tuple)
        else what
        for name, what in given.items()
    }
    with pytest.raises(TableError, match=message):
        Table(made)


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(TableError, match="the rows have no column 'target', only inputs, targets"):
        Table({"inputs": torch.zeros(1), "targets": torch.zeros(1)})["target"]
    with pytest.raises(TableError, match="have no column 'targets', only inputs: have the source give it"):
        prepared(Table({"inputs": torch.zeros(1)})).check(2)
    rows: Any = {"inputs": torch.zeros(1)}
    with pytest.raises(TableError, match=r"the val split is a dict: make it kd_lightning.data.table.Table\(columns\)"):
        Prepared({"val": rows})


WORDS = Table({"inputs": ragged(), "targets": ragged()})
ONE_FLAG = Ragged(InMemory(torch.ones(1, dtype=torch.bool)), InMemory((torch.arange(ROWS + 1) > 0).long()))
"""The first row has one, the others none."""


@pytest.mark.parametrize(
    ("table", "classes", "error", "message"),
    [
        (WORDS, 802, LabelError, "train row 9 has target 900, allowed are 0 to 801"),
        (
            WORDS.with_column("targets", torch.zeros(ROWS, dtype=torch.int64)),
            4900,
            VocabMismatchError,
            "train rows hold token 4900, but data.vocab_size is 4900: set data.vocab_size=4901",
        ),
        (
            WORDS.with_column("mask", torch.zeros(ROWS, dtype=torch.bool)),
            5,
            LabelError,
            "no position of the train split",
        ),
        (
            WORDS.with_column("mask", ONE_FLAG),
            5000,
            TableError,
            "train row 0: the mask has 1 flags for 0 targets: give one for each",
        ),
        (
            Table({"inputs": torch.zeros(ROWS), "targets": torch.zeros(ROWS).long(), "mask": ragged(torch.bool)}),
            2,
            TableError,
            "the train split has a mask of rows that differ in length",
        ),
    ],
)
def test_rows_of_different_lengths_are_checked(table: Table, classes: int, error: type[KDError], message: str) -> None:
    with pytest.raises(error, match=message):
        prepared(table, tokenizer="{}").check(classes)


# -- larger than the memory -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited by RLIMIT_DATA")
def test_a_training_on_more_rows_than_the_process_may_have_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.large_rows", str(tmp_path)]
    # One thread, one heap, and large blocks go back to the system when they are free: else what a heap keeps counts as well.
    alone = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **alone}, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["train_bytes"] > 3 * ALLOWED
    # The positive controls: with so much memory a column cannot be copied, nor can a run hold its rows.
    assert "nable to allocate" in report["copied"]
    assert "annot allocate memory" in report["in_memory"]
