"""A folder of images as data: what its rows become, how they are split, and what is refused before anything trains."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.data import image_files
from kd_lightning.data.collate import collate_rows
from kd_lightning.data.image_files import find_images, list_image_folder, measure_image, read_class_names, read_pixels
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.sources import image_folder
from kd_lightning.data.sources.image_folder import ImageFolder
from kd_lightning.data.sources.tagged_words import TaggedWords
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.data.table import Table
from kd_lightning.errors import (
    ConfigError,
    DataFormatError,
    EmptyDatasetError,
    KDError,
    LabelError,
    LeakageError,
    MissingExtraError,
)
from kd_lightning.store import Store
from tests.support.images import COLORS, write_image, write_image_folder

COUNTS = {"red": 20, "blue": 10}


def source(folder: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(str(folder), **{"size": 8, "channels": 3, **settings})


def prepare(built: ImageFolder) -> Prepared:
    """The rows; a split of one piece each."""
    found = built.prepare()
    return Prepared(dict(found.pieces), facts=found.facts)


def refused(error: type[KDError], says: str, folder: Path, **settings: Any) -> None:
    with pytest.raises(error, match=says) as caught:
        prepare(source(folder, **settings))
    assert "\n" not in str(caught.value)


def save(path: Path, pixels: Any, mode: str | None = None, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image if mode is None else image.convert(mode)).save(path, **more)
    return path


# -- pixels -----------------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    found = read_pixels(save(tmp_path / "a.png", pixels), 8, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels.transpose(2, 0, 1))
    gray = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(read_pixels(tmp_path / "a.png", 8, 1)[0] - gray).max() <= 1


def test_a_long_image_is_cut_around_its_middle_and_scaled(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24, 3))
    pixels[:, 8:16] = 200
    assert (read_pixels(save(tmp_path / "wide.png", pixels), 8, 3) == 200).all()
    halves = np.repeat(np.repeat(np.arange(16).reshape(4, 4) * 10, 2, axis=0), 2, axis=1)
    shrunk = read_pixels(save(tmp_path / "large.png", np.stack([halves] * 3, -1)), 4, 1)[0]
    # Bilinear with a filter as wide as the scale, so neighbors have a share; in the middle of a ramp they cancel out.
    assert np.array_equal(shrunk[1:3, 1:3], np.arange(16).reshape(4, 4)[1:3, 1:3] * 10)


@pytest.mark.parametrize(("mode", "suffix"), [("P", "png"), ("1", "png"), ("LA", "png"), ("CMYK", "jpg"), ("L", "gif")])
def test_images_of_other_modes_are_read(mode: str, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a.{suffix}", np.full((8, 8, 3), 255), mode)
    assert (read_pixels(path, 8, 3) >= 254).all()


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert (read_pixels(tmp_path / "a.png", 8, 3) == 255).all()


def test_a_turned_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the scene is the right side of the file
    pixels = np.zeros((8, 8, 3))
    pixels[:, 4:] = 255
    found = read_pixels(save(tmp_path / "a.png", pixels, exif=exif), 8, 1)[0]
    assert (found[4:] == 255).all()
    assert (found[:4] == 0).all()


def test_networks_read_bytes_as_floats_up_to_1(tmp_path: Path) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8)
    batch = collate_rows(Table({"inputs": pixels, "targets": torch.tensor([1])}), torch.tensor([0]))
    assert batch["inputs"].dtype == torch.float32
    assert torch.equal(batch["inputs"].reshape(-1), torch.from_numpy((np.arange(256) / np.float32(255)).astype("f4")))
    tokens = Table({"inputs": torch.arange(6, dtype=torch.uint8).reshape(2, 3), "targets": torch.tensor([1, 0])})
    assert collate_rows(tokens, torch.tensor([0]))["inputs"].dtype == torch.int64


# -- rows and splits --------------------------------------------------------------------------------------------------


def test_rows_are_split_by_class_and_hold_the_files(tmp_path: Path) -> None:
    prepared = prepare(source(write_image_folder(tmp_path, COUNTS)))
    assert {split: len(prepared.splits[split]) for split in SPLITS} == {"train": 24, "val": 3, "test": 3}
    assert prepared.facts["labels"] == ["blue", "red"]
    assert prepared.facts["rows"]["val"] == {"blue": 1, "red": 2}
    assert prepared.facts["notes"] == []
    prepared.check(2)
    expected = {
        (label, hashlib.sha256(read_pixels(path, 8, 3).tobytes()).hexdigest())
        for label, name in enumerate(["blue", "red"])
        for path in (tmp_path / name).iterdir()
    }
    found = [
        (target, hashlib.sha256(row.numpy().tobytes()).hexdigest())
        for table in prepared.splits.values()
        for row, target in zip(table["inputs"], table["targets"].tolist(), strict=True)
    ]
    assert len(found) == len(set(found)) == 30
    assert set(found) == expected


def test_the_same_folder_gives_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path, COUNTS)
    first, again, other = (prepare(source(folder, split_seed=seed)).fingerprint() for seed in (0, 0, 1))
    assert first == again != other
    before = source(folder).digest()
    (folder / "red" / "000.png").rename(folder / "blue" / "100.png")
    assert source(folder).digest() != before


def test_pieces_are_small_and_make_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = source(write_image_folder(tmp_path / "images", COUNTS))
    whole = prepare(built)
    monkeypatch.setattr(image_folder, "CHUNK_BYTES", 4 * 3 * 8 * 8)
    assert max(len(table) for _, table in built.prepare().pieces) == 4
    entry = Store(tmp_path / "store").entry("data", "0" * 64)
    with entry.lock(waiting=lambda: None):
        write_prepared(entry, built.prepare())
        stored, fingerprint = read_prepared(entry, memory_map_above=0)
    assert fingerprint == whole.fingerprint()
    assert torch.equal(stored.splits["test"]["inputs"], whole.splits["test"]["inputs"])


def test_folders_of_splits_and_what_is_drawn_where_there_is_none(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", COUNTS)
    write_image_folder(tmp_path / "Test", {"red": 3, "blue": 2}, seed=1)
    prepared = prepare(source(tmp_path))
    assert {split: len(prepared.splits[split]) for split in SPLITS} == {"train": 27, "val": 3, "test": 5}
    write_image_folder(tmp_path / "valid", {"red": 3}, seed=2)
    prepared = prepare(source(tmp_path))
    assert {split: len(prepared.splits[split]) for split in SPLITS} == {"train": 30, "val": 3, "test": 5}
    assert prepared.facts["notes"] == ["no val image of blue"]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    for name in ("car", "plane", "train"):
        for number in range(4):
            write_image(tmp_path / name / f"{number}.png", COLORS["red"], len(name) * 10 + number)
    assert prepare(source(tmp_path)).facts["labels"] == ["car", "plane", "train"]


def test_links_are_followed_and_hidden_files_are_not_seen(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "away", COUNTS)
    folder = tmp_path / "images"
    (folder / "red").mkdir(parents=True)
    (folder / "blue").symlink_to(tmp_path / "away" / "blue")
    for path in (tmp_path / "away" / "red").iterdir():
        (folder / "red" / path.name).symlink_to(path)
    (folder / ".cache").mkdir()
    (folder / "red" / ".DS_Store").write_text("x")
    linked = prepare(source(folder))
    assert linked.fingerprint() == prepare(source(tmp_path / "away")).fingerprint()


def test_what_is_no_image_is_counted_in_one_note(tmp_path: Path) -> None:
    write_image_folder(tmp_path, COUNTS)
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "red" / "list.txt").write_text("x")
    (tmp_path / "red" / "more.png").mkdir()
    (note,) = prepare(source(tmp_path)).facts["notes"]
    assert note == f"{tmp_path}: 3 files not read (no image)"


def test_labels_may_be_given_in_another_order(tmp_path: Path) -> None:
    prepared = prepare(source(write_image_folder(tmp_path, COUNTS), labels=["red", "blue"]))
    assert prepared.facts["rows"]["train"] == {"red": 16, "blue": 8}
    assert torch.bincount(prepared.splits["train"]["targets"]).tolist() == [16, 8]
    refused(LabelError, "label 'blue' is not one of data.labels=.red,blu.; did you mean 'blu'", tmp_path,
            labels=["red", "blu"])  # fmt: skip


def test_numbers_as_names_of_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write_image(tmp_path / str(number) / "a.png", COLORS["red"], number)
    assert read_class_names(tmp_path) == ["1", "9", "10"]


def test_open_settings_come_from_the_names_of_folders(tmp_path: Path) -> None:
    write_image_folder(tmp_path, COUNTS)
    settings = {"path": str(tmp_path), "size": 8, "channels": 3, "labels": None}
    assert ImageFolder.read_open_settings(settings) == {"labels": ["blue", "red"], "num_classes": 2, "in_features": 192}
    assert ImageFolder.read_open_settings({**settings, "labels": ["red", "blue"]})["labels"] == ["red", "blue"]


@pytest.mark.parametrize("kind", [ImageFolder, TextTable, TaggedWords])
@pytest.mark.parametrize("path", [None, 3])
def test_data_without_a_path(path: Any, kind: Any) -> None:
    settings = dict.fromkeys(("labels", "text", "label", "task", "size", "channels"))
    with pytest.raises(ConfigError, match=f"data.path={path}: the path of a file or a folder is expected"):
        kind.read_open_settings({**settings, "path": path})


def test_duplicates_are_dropped_kept_or_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", COUNTS)
    write_image_folder(tmp_path / "val", COUNTS, seed=1)
    write_image_folder(tmp_path / "test", {"red": 3, "blue": 3}, seed=2)
    for split in ("train", "val"):
        (tmp_path / split / "red" / "copy.png").write_bytes((tmp_path / "test" / "red" / "000.png").read_bytes())
    prepared = prepare(source(tmp_path))
    assert {split: len(prepared.splits[split]) for split in SPLITS} == {"train": 30, "val": 30, "test": 6}
    assert prepared.facts["rows in two splits (drop)"] == 2
    assert prepared.facts["notes"] == ["2 images stand in two splits (data.duplicates=drop)"]
    assert len(prepare(source(tmp_path, duplicates="keep")).splits["train"]) == 31
    refused(
        LeakageError,
        r"copy\.png \(train\) and .*copy\.png \(val\) have the same image, as do 1 more",
        tmp_path,
        duplicates="refuse",
    )


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_image_folder(tmp_path / "images", COUNTS)


def test_a_damaged_image_is_named(images: Path) -> None:
    path = images / "red" / "000.png"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path.write_bytes(damaged)
        refused(DataFormatError, r"red/000\.png cannot be read as an image \(.*\): save it again, or remove it", images)


def test_a_truncated_jpeg_is_named(images: Path) -> None:
    path = write_image(images / "red" / "a.jpg", COLORS["red"], 1, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-300])
    refused(DataFormatError, r"red/a\.jpg cannot be read as an image .*truncated", images)


def test_a_link_to_nothing_is_named(images: Path) -> None:
    (images / "red" / "gone.png").symlink_to("nowhere.png")
    refused(DataFormatError, r"red/gone\.png cannot be read \(No such file", images)


@pytest.mark.parametrize("limit", [100, 30])
def test_an_image_that_would_fill_the_memory_is_refused(
    limit: int, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns above it, and refuses above twice as much
    refused(DataFormatError, f"png has more than {limit} pixels, a small file that fills the memory", images)


def test_more_than_8_bits_are_refused(images: Path) -> None:
    Image.new("I;16", (8, 8), 40_000).save(images / "red" / "deep.png")
    refused(DataFormatError, r"deep\.png has more than 8 bits a pixel \(mode I;16\): save it with 8", images)


def test_no_folder_no_classes_one_class_and_an_empty_class(tmp_path: Path) -> None:
    refused(EmptyDatasetError, "nowhere is not a folder", tmp_path / "nowhere")
    refused(EmptyDatasetError, "has no folders inside", tmp_path)
    write_image_folder(tmp_path, {"red": 9})
    refused(LabelError, "has one folder of images, red: a folder for each of two classes", tmp_path)
    (tmp_path / "blue").mkdir()
    refused(EmptyDatasetError, r"blue holds no image \(\.png, .*\): give it some, or remove the folder", tmp_path)


def test_too_few_images_to_draw_splits_from(tmp_path: Path) -> None:
    refused(
        EmptyDatasetError, "fewer than 2 classes have the 3 rows", write_image_folder(tmp_path, {"red": 9, "blue": 2})
    )


def test_a_class_that_training_has_not_seen(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", COUNTS)
    write_image_folder(tmp_path / "test", {"red": 1, "green": 2}, seed=1)
    refused(LabelError, r"green/000\.png: label 'green' of the test split stands in no training row", tmp_path)


def test_folders_of_splits_beside_others(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "val", COUNTS)
    refused(DataFormatError, "has the folders val: have one each for train", tmp_path)
    write_image_folder(tmp_path / "train", COUNTS, seed=1)
    (tmp_path / "raw").mkdir()
    refused(DataFormatError, "has the folders raw, train, val: have one each", tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 0}, "data.size=0: a whole number of pixels"),
        ({"size": 8.5}, "data.size=8.5"),
        ({"channels": 2}, r"data.channels=2: 1 \(gray\) or 3 \(color\)"),
        ({"val": 0.6, "test": 0.4}, "data.val=0.6 data.test=0.4"),
        ({"duplicates": "dorp"}, "data.duplicates=dorp: .*did you mean 'drop'"),
        ({"labels": ["red"]}, "two names or more"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], says: str, images: Path) -> None:
    refused(ConfigError, says, images, **settings)


def test_without_pillow_the_extra_is_named(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    refused(MissingExtraError, r'Pillow is not installed: pip install "kd-lightning\[vision\]"', images)


# -- lists of images --------------------------------------------------------------------------------------------------


def test_images_below_a_folder_in_the_order_of_their_paths(images: Path) -> None:
    (images / "red" / "notes.txt").write_text("x")
    write_image(images / ".hidden" / "a.png", COLORS["red"], 0)
    found, others = find_images(images)
    assert found == sorted([*(images / "blue").iterdir(), *(images / "red").glob("*.png")])
    assert others == 1
    assert find_images(images / "red" / "000.png") == ([images / "red" / "000.png"], 0)
    for nothing in (images / "red" / "notes.txt", images / "nowhere.png"):
        with pytest.raises(EmptyDatasetError, match="neither a folder of images nor an image"):
            find_images(nothing)


def test_sizes_are_read_without_pixels(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", COLORS["red"], 0, size=(30, 20))
    path.write_bytes(path.read_bytes()[:100])
    assert measure_image(path) == (30, 20, True)
    Image.new("L", (3, 4)).save(path)
    assert measure_image(path) == (3, 4, False)


def test_more_than_8_bits_are_told_before_a_run(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((12, 12)), mode="I;16")
    with pytest.raises(DataFormatError, match=r"has more than 8 bits a pixel \(mode I;16\): save it with 8"):
        measure_image(tmp_path / "a.png")


def test_pipes_are_no_images(images: Path) -> None:
    os.mkfifo(images / "red" / "pipe.png")
    assert list_image_folder(images).ignored == 1
    with pytest.raises(EmptyDatasetError, match="neither a folder of images nor an image"):
        find_images(images / "red" / "pipe.png")


@pytest.mark.parametrize("name", [" cat", "cat ", "cat\t"])
def test_a_blank_at_an_end_of_a_class_is_refused(name: str, images: Path) -> None:
    write_image(images / name / "a.png", COLORS["red"], 0)
    refused(DataFormatError, r"the name of this folder has a blank at an end: rename it", images)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_image_folder(tmp_path, COUNTS)
    (tmp_path / "bl\udcff").mkdir()
    refused(DataFormatError, "the name of this folder is not UTF-8", tmp_path)
    assert json.dumps(image_files.as_text("bl\udcff")) == '"bl\\ufffd"'
    (tmp_path / "bl\udcff").rmdir()
    assert list_image_folder(tmp_path).ignored == 0
