"""``kd predict`` and ``kd eval`` on folders of images, from a run folder alone."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.config.instantiate import build_node
from kd_lightning.config.stored_settings import read_stored_settings
from kd_lightning.data.image_column import ImageColumn
from kd_lightning.deploy.evaluation_record import evaluate_rows
from kd_lightning.deploy.labeled_rows import read_labeled_file
from kd_lightning.deploy.trained_model import load_trained_model
from kd_lightning.errors import CheckpointCorruptError
from tests.deploy.runs import FinishedRun
from tests.support.cli import kd
from tests.support.images import COLORS, write_image, write_image_folder

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_folder(elsewhere: Path) -> None:
    pass


@pytest.fixture
def photos(elsewhere: Path) -> Path:
    """Images that the run has not seen, of another size."""
    folder = elsewhere / "photos"
    for seed, name in enumerate(("blue", "green", "red")):
        for each in range(4):
            write_image(folder / name / f"{each}.png", COLORS[name], 100 + seed * 10 + each, size=(16, 16))
    return Path("photos")


def naive_probabilities(run: Path, path: Path) -> torch.Tensor:
    """By Pillow and the network alone."""
    model = load_trained_model(run, build_node)
    with Image.open(path) as image:
        pixels = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    with torch.no_grad():
        return model.network(torch.from_numpy(pixels / 255).float()[None])[0].softmax(dim=-1)


def test_images_in_the_order_of_their_paths(image_files: FinishedRun, photos: Path, capsys: Capture) -> None:
    answer = kd(capsys, "predict", str(image_files.away), "photos", "--all")
    assert (answer.code, answer.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["path"] for row in rows] == [str(path) for path in sorted(photos.rglob("*.png"))]
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    for row in rows:
        expected = naive_probabilities(image_files.away, Path(row["path"]))
        scores = [float(row[f"score_{name}"]) for name in ("blue", "green", "red")]
        torch.testing.assert_close(torch.tensor(scores), expected, rtol=0, atol=1e-5)
        assert float(row["score"]) == max(scores)


def test_a_damaged_image_keeps_its_place(image_files: FinishedRun, photos: Path, capsys: Capture) -> None:
    damaged = photos / "green" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (photos / "notes.txt").write_text("x")
    answer = kd(capsys, "predict", str(image_files.away), "photos", "--format=jsonl")
    assert answer.code == 1
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["label"] is None for row in rows] == [number == 5 for number in range(12)]
    assert rows[5]["path"] == str(damaged)
    note, bad, count = answer.err.splitlines()
    assert note == "kd predict: photos: 1 file not read (no image)"
    assert bad.startswith(f"kd predict: {damaged} cannot be read as an image")
    assert count == "kd predict: 1 row without a label"


def test_one_image_and_no_image(image_files: FinishedRun, photos: Path, capsys: Capture) -> None:
    path = photos / "red" / "0.png"
    assert kd(capsys, "predict", str(image_files.away), str(path)).out.splitlines()[1].startswith(f"{path},red,")
    path.write_bytes(b"")
    alone = kd(capsys, "predict", str(image_files.away), str(path))
    assert (alone.code, alone.out) == (1, f"path,label,score\n{path},,\n")
    for nothing in ("nowhere", "-"):
        answer = kd(capsys, "predict", str(image_files.away), nothing)
        assert (answer.code, answer.out) == (2, "")
        assert f"{nothing} is neither a folder of images nor an image" in answer.err


def test_evaluated_on_another_folder(image_files: FinishedRun, photos: Path, capsys: Capture) -> None:
    answer = kd(capsys, "eval", str(image_files.away), "data.path=photos", "--json", "--min=accuracy=0.99")
    assert (answer.code, answer.err) == (0, "")
    record = json.loads(answer.out)["models"]["distilled"]
    assert (record["rows"], record["metrics"]["accuracy"]) == (12, 1.0)
    assert record["labels"] == ["blue", "green", "red"]
    (photos / "red").rename(photos / "reds")
    answer = kd(capsys, "eval", str(image_files.away), "data.path=photos")
    assert answer.code == 2
    assert "the model knows no class 'reds', only blue, green, red; did you mean 'red'?" in answer.err


def test_an_evaluation_holds_a_batch_of_images_at_a_time(
    image_files: FinishedRun, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read = ImageColumn._read

    def measured(self: ImageColumn, paths: Sequence[Path]) -> torch.Tensor:
        sizes.append(len(paths))
        return read(self, paths)

    monkeypatch.setattr(ImageColumn, "_read", measured)
    model = load_trained_model(image_files.away, build_node)
    settings = read_stored_settings(image_files.away)
    settings["data"]["eval_batch_size"] = 5
    table = read_labeled_file(model, {"path": str(photos)}, settings["data"])
    assert sizes == []  # the control: the pixels are not there before they are asked for
    in_pieces = evaluate_rows(model, table, settings, model.task)
    assert sizes == [5, 5, 2]
    whole = evaluate_rows(model, table.with_column("inputs", table["inputs"]), settings, model.task)
    assert in_pieces == whole


def test_a_column_of_images_is_one(photos: Path) -> None:
    column = ImageColumn(sorted(photos.rglob("*.png")), 8, 3)
    whole = column.whole()
    assert (whole.shape, whole.dtype, len(column)) == ((12, 3, 8, 8), torch.uint8, 12)
    rows = torch.tensor([7, 0, 7])
    assert torch.equal(column.take(rows), whole[rows])
    assert torch.equal(column.select(rows).whole(), whole[rows])
    assert torch.equal(column.slice(3, 6), whole[3:6])
    assert torch.equal(column.head(2).whole(), whole[:2])


def test_a_folder_of_splits_is_not_evaluated_as_one(image_files: FinishedRun, elsewhere: Path, capsys: Capture) -> None:
    for split in ("train", "test"):
        write_image_folder(elsewhere / "all" / split, {"red": 1, "blue": 1})
    answer = kd(capsys, "eval", str(image_files.away), "data.path=all")
    assert (answer.code, answer.out) == (2, "")
    assert "all has a folder for each split: name one of these as data.path" in answer.err
    assert kd(capsys, "eval", str(image_files.away), "data.path=all/test").code == 0


def test_the_own_test_split_is_gone(image_files: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "eval", str(image_files.away))
    assert answer.code == 2
    assert f"{image_files.root}/images is not a folder" in answer.err


def test_labels_and_shape_stand_in_the_run_folder(image_files: FinishedRun) -> None:
    model = load_trained_model(image_files.away, build_node)
    assert (model.labels, model.shape, model.reads_images) == (["blue", "green", "red"], (3, 8, 8), True)
    by_class = image_files.results["models"]["distilled"]["predictions"]["by_class"]
    assert sum(by_class["rows"]) == 9


def test_a_description_whose_shape_is_no_image(image_files: FinishedRun, tmp_path: Path) -> None:
    run = tmp_path / "copied"
    shutil.copytree(image_files.away, run)
    path = run / "weights" / "distilled.json"
    described = json.loads(path.read_text())
    described["data"]["shape"] = [3, 8, 9]
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointCorruptError, match=r"images of the shape \(3, 8, 9\)"):
        load_trained_model(run, build_node)
