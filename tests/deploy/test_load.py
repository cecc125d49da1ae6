"""``kd.load`` says what ``kd predict`` says, and refuses what it refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kd_lightning as kd
from kd_lightning.data.image_files import read_pixels
from kd_lightning.errors import (
    ConfigError,
    DataFormatError,
    EmptyTextError,
    SequenceTooLongError,
    UntrustedTargetError,
)
from tests.deploy.runs import FinishedRun
from tests.support.cli import kd as command
from tests.support.images import COLORS, write_image

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_folder(elsewhere: Path) -> None:
    pass


def told_by_command(capsys: Capture, run: Path, rows: Path, *words: str) -> list[tuple[str, float]]:
    """Label and score of each row, by ``kd predict``."""
    answer = command(capsys, "predict", str(run), str(rows), "--device", "cpu", *words)
    assert answer.code == 0, answer.err
    return [(row["label"], float(row["score"])) for row in csv.DictReader(answer.out.splitlines())]


def read_column(path: Path, *names: str) -> list[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [tuple(row[name] for name in names) for row in csv.DictReader(file)]
    return rows if len(names) > 1 else [row[0] for row in rows]


def shorten(predictions: list[Any]) -> list[tuple[str, float]]:
    return [(each.label, float(str(np.float32(each.score)))) for each in predictions]


@pytest.mark.parametrize("name", ["distilled", "teacher"])
def test_texts(name: str, own_networks: FinishedRun, capsys: Capture) -> None:
    table = own_networks.root / "test.csv"
    model = kd.load(own_networks.away, model=name, device="cpu")
    texts = read_column(table, "review")
    found = model.predict(texts)
    assert shorten(found) == told_by_command(capsys, own_networks.away, table, f"--model={name}")
    assert len({each.label for each in found}) > 1
    probabilities = model.probabilities(np.array(texts))
    assert probabilities.shape == (len(texts), 3)
    assert [model.labels[number] for number in probabilities.argmax(dim=1)] == [each.label for each in found]
    assert [each.score for each in found] == probabilities.max(dim=1).values.tolist()


def test_pairs_of_texts(pretrained_networks: FinishedRun, capsys: Capture) -> None:
    table = pretrained_networks.root / "test.csv"
    model = kd.load(str(pretrained_networks.away), device="cpu")
    found = model.predict(read_column(table, "review", "reply"))
    assert shorten(found) == told_by_command(capsys, pretrained_networks.away, table)
    with pytest.raises(DataFormatError, match="row 1: the model reads pairs of texts: a tuple of two is expected"):
        model.predict([("a", "b"), "ab"])


def test_arrays(images: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((5, 1, 8, 8))
    np.savez(tmp_path / "new.npz", inputs=rows)
    model = kd.load(images.away, device="cpu", batch_size=2)
    expected = told_by_command(capsys, images.away, tmp_path / "new.npz")
    for given in (rows, torch.tensor(rows), rows.tolist()):
        assert shorten(model.predict(given)) == expected
    assert torch.allclose(model.probabilities(rows).sum(dim=1), torch.ones(5))
    with pytest.raises(ConfigError, match=r"a row of inputs has the shape \[8, 8\], the model reads \[1, 8, 8\]"):
        model.predict(rows[:, 0])
    with pytest.raises(DataFormatError, match="reads arrays of numbers"):
        model.predict(["a text"])


def test_files_of_images_and_their_pixels(image_files: FinishedRun, capsys: Capture, elsewhere: Path) -> None:
    paths = [write_image(elsewhere / "new" / f"{name}.png", color, seed=7) for name, color in COLORS.items()]
    model = kd.load(image_files.away, device="cpu")
    found = model.predict(paths)
    assert shorten(found) == told_by_command(capsys, image_files.away, Path("new"))
    assert [each.label for each in found] == list(COLORS)
    assert model.predict([]) == []
    pixels = np.stack([read_pixels(path, 8, 3) for path in paths])
    assert model.predict(pixels) == found
    as_floats = model.probabilities(torch.from_numpy(pixels).float() / 255)
    assert torch.equal(as_floats, model.probabilities([str(path) for path in paths]))
    assert model.predict(np.array(list(map(str, paths)))) == model.predict(iter(paths)) == found
    assert model.predict(pixels.astype(np.float32) / 255) == found
    for alone in (paths[0], str(paths[0])):
        with pytest.raises(DataFormatError, match=r"a list of rows is expected, not .*: put it in brackets"):
            model.predict(alone)
    for numbers in (pixels.astype(np.int64), pixels.tolist(), pixels > 100):
        with pytest.raises(DataFormatError, match=r"pixels are torch\.(int64|bool): bytes \(torch.uint8\), or floats"):
            model.predict(numbers)
    paths[1].write_bytes(b"")
    with pytest.raises(DataFormatError, match=r"green.png cannot be read as an image"):
        model.predict(paths)


def test_tags_of_words(tagging: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    rows = ["Rome City goes to Kim", "market", "Ada Turing quickly ."]
    table = tmp_path / "new.csv"
    table.write_text("\n".join(["text", *rows]))
    model = kd.load(tagging.away, device="cpu")
    found = model.predict(rows)
    assert shorten(found) == told_by_command(capsys, tagging.away, table)
    assert found == model.predict([row.split() for row in rows])
    for row, prediction in zip(rows, found, strict=True):
        assert len(prediction.words) == len(row.split())
        assert prediction.label.split() == [word.label for word in prediction.words]
        assert prediction.score == min(word.score for word in prediction.words)
    with pytest.raises(SequenceTooLongError, match="row 1: more tokens than the model reads: split the text"):
        model.predict(["Rome", "long " * 60])
    with pytest.raises(DataFormatError, match="row 0: words are expected"):
        model.predict([" "])
    with pytest.raises(ConfigError, match=r"use predict_words\(rows\)"):
        model.probabilities(rows)
    with pytest.raises(ConfigError, match="gives no vector to a row"):
        model.embed(rows)


def test_rows_that_are_none(own_networks: FinishedRun) -> None:
    model = kd.load(own_networks.away)
    assert model.predict([]) == []
    with pytest.raises(DataFormatError, match="a list of rows is expected, not str: put it in brackets"):
        model.predict("a film")
    with pytest.raises(EmptyTextError, match="row 1: the text is empty"):
        model.predict(["a film", ""])
    with pytest.raises(DataFormatError, match="row 0: the text is of type float"):
        model.predict([float("nan")])


def test_which_run(own_networks: FinishedRun, images: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="outputs/runs holds no finished run"):
        kd.load("last")
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        kd.load("nowhere")
    with pytest.raises(ConfigError, match="did you mean 'teacher'"):
        kd.load(own_networks.away, model="teecher")
    with pytest.raises(kd.KDError, match="device gpu: one of auto, cpu, cuda is expected"):
        kd.load(own_networks.away, device="gpu")
    monkeypatch.chdir(images.root)
    assert kd.load("last").model.folder == Path("outputs", "runs", images.run.name)
    assert kd.load(images.run / "results.json").model.folder == images.run


def test_a_strangers_folder_runs_no_code(own_networks: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(own_networks.away, tmp_path / "copied")
    description = tmp_path / "copied" / "weights" / "distilled.json"
    found = json.loads(description.read_text())
    found["network"]["_target_"] = "os.system"
    description.write_text(json.dumps(found))
    with pytest.raises(UntrustedTargetError, match="allow"):
        kd.load(tmp_path / "copied")


def test_loading_leaves_seeds_and_dtype(images: FinishedRun) -> None:
    before, rows = torch.get_rng_state(), np.random.default_rng(0).random((5, 1, 8, 8))
    torch.set_default_dtype(torch.float64)
    try:
        model = kd.load(os.fspath(images.away))
        assert torch.get_default_dtype() == torch.float64
        with torch.device("meta"):
            found = model.probabilities(rows)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    assert torch.equal(found, model.probabilities(rows))
    assert torch.equal(torch.get_rng_state(), before)
    assert {parameter.dtype for parameter in model.model.network.parameters()} == {torch.float32}
