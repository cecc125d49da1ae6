"""A data set of the ``datasets`` library as data: its rows, splits and classes, its key, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.config.shorthands import expand_files
from kd_lightning.data.rows import hub_dataset
from kd_lightning.data.rows.hub_dataset import DatasetAddress, digest_dataset, parse_address
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.source import SPLITS
from kd_lightning.data.sources.hub_texts import HubTexts
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.deploy.labeled_rows import check_file_settings
from kd_lightning.errors import ConfigError, DataFormatError, EmptyDatasetError, KDError, LabelError, MissingExtraError
from tests.data.test_text_table import prepare, texts
from tests.support.cli import kd, settings_of
from tests.support.datasets_library import CLASSES, list_rows, save_dataset
from tests.support.hub import review_words

datasets = pytest.importorskip("datasets")
TEXTS = ("task=text_classification", "data=hf", "teacher=text_transformer", "student=bilstm")


@pytest.fixture(autouse=True)
def no_cache_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"train": list_rows(40), "validation": list_rows(8, "movie"), "test": list_rows(10, "picture")}
    return save_dataset(tmp_path / "saved", rows)


def source(path: Path | str, **settings: Any) -> HubTexts:
    return HubTexts(str(path), **{"text": "body", "label": "kind", **settings})


def test_rows_splits_and_classes_are_those_of_the_data_set(folder: Path) -> None:
    found = prepare(source(folder, labels=CLASSES))
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = datasets.load_from_disk(str(folder))[name]
        assert texts(found, split) == rows["body"]
        assert found.splits[split]["targets"].tolist() == rows["kind"]
    assert found.facts["labels"] == list(CLASSES)


def test_settings_that_are_open_are_read_from_it(folder: Path) -> None:
    data = settings_of(*TEXTS, f"data.path={folder}")["data"]
    assert {name: data[name] for name in ("text", "label", "labels", "num_classes")} == {
        "text": "body",
        "label": "kind",
        "labels": list(CLASSES),
        "num_classes": 2,
    }


def test_splits_that_it_lacks_are_drawn_and_own_ones_may_be_left_out(tmp_path: Path, folder: Path) -> None:
    alone = save_dataset(tmp_path / "alone", {"all": list_rows(40)})
    assert {name: len(rows) for name, rows in prepare(source(alone)).splits.items()} == {
        "train": 32,
        "val": 4,
        "test": 4,
    }
    drawn = prepare(source(folder, val_split=None, test_split=None))
    assert all(text.startswith("film") for split in SPLITS for text in texts(drawn, split))
    named = prepare(source(folder, val_split="test", test_split="validation"))
    assert texts(named, "val")[0].startswith("picture")


def test_a_saved_split_alone_and_one_by_its_address(folder: Path) -> None:
    assert len(list(read_rows(f"hf:{folder}#test"))) == 10
    found = list(read_rows(f"hf:{folder / 'test'}"))
    assert found[1] == (2, {"body": "picture 1 bad", "kind": "neg"})
    assert len(prepare(source(folder / "train")).splits["train"]) == 32
    table = TextTable(f"hf:{folder}#train", "body", "kind", test_path=f"hf:{folder}#test")
    assert len(prepare(table).splits["test"]) == 10


@pytest.mark.parametrize("ending", ["parquet", "csv", "json"])
def test_a_folder_of_files_is_read_as_the_library_reads_it(ending: str, tmp_path: Path, folder: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for split, rows in datasets.load_from_disk(str(folder)).items():
        getattr(rows, f"to_{ending}")(str(files / f"{split}.{ending}"))
    found, saved = (prepare(source(each)) for each in (files, folder))
    assert [texts(found, split) for split in SPLITS] == [texts(saved, split) for split in SPLITS]
    # The library writes the classes' names into Parquet files; the others have their numbers alone.
    assert found.facts["labels"] == (["neg", "pos"] if ending == "parquet" else ["0", "1"])


def test_several_labels_pairs_and_numbers(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["sad", "funny", "long"])
    kinds = [[[], [0], [1], [0, 2]][number % 4] for number in range(40)]
    columns = {**list_rows(40), "kinds": kinds, "stars": [number / 4 for number in range(40)]}
    columns["other"] = [f"other {number}" for number in range(40)]
    folder = save_dataset(tmp_path / "several", {"train": columns})
    rows = datasets.load_from_disk(str(folder))["train"].cast_column("kinds", datasets.List(names))
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "named"))
    words = (
        "task=multi_label",
        "data=hf",
        "teacher=text_transformer",
        "student=bilstm",
        f"data.path={tmp_path / 'named'}",
    )
    labels = settings_of(*words, "data.text=body", "data.label=kinds", "loss=[binary_kd]")["data"]["labels"]
    assert labels == names.names
    several = prepare(source(tmp_path / "named", label="kinds", task="multi_label", labels=labels))
    place = {text: number for number, text in enumerate(rows["body"])}
    for text, targets in zip(texts(several, "train"), several.splits["train"]["targets"], strict=True):
        assert targets.nonzero().flatten().tolist() == kinds[place[text]]
    pairs = prepare(source(tmp_path / "named", text_pair="other"))
    assert all(text.startswith("other") for text in texts(pairs, "test", "text_pair"))
    stars = prepare(source(tmp_path / "named", label="stars", task="regression"))
    for text, target in zip(texts(stars, "val"), stars.splits["val"]["targets"].tolist(), strict=True):
        assert target == place[text] / 4


@pytest.mark.slow
def test_the_short_form_trains_and_eval_and_predict_read_it_too(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in review_words(tmp_path / "outputs", folder) if not word.startswith("data=")]
    small = ("teacher.model.width=8", "teacher.model.heads=2", "teacher.model.layers=1", "teacher.model.vocab_size=260")
    done = kd(capsys, "run", f"data=hf:{folder}", *words, *small)
    assert done.code == 0, done.err
    run = done.out.splitlines()[-1]
    results = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    assert results["labels"] == list(CLASSES)
    answer = kd(capsys, "eval", run, f"data.path=hf:{folder}#test", "--json")
    record = json.loads(answer.out)["models"]["distilled"]
    assert record["metrics"]["accuracy"] == pytest.approx(results["models"]["distilled"]["test"])
    predicted = kd(capsys, "predict", run, f"hf:{folder}#validation")
    assert predicted.code == 0, predicted.err
    assert len(predicted.out.splitlines()) == 1 + 8
    assert "kd run data=hf:films finds its columns" in kd(capsys, "init", "hf:films").err


# -- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_is_of_the_content_and_the_same_in_every_process(tmp_path: Path, folder: Path) -> None:
    first = source(folder).digest()
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(next(copied.rglob("*.arrow")), (1, 1))
    program = (
        "import sys; from kd_lightning.data.sources.hub_texts import HubTexts; "
        "print(HubTexts(sys.argv[1], 'body', 'kind').digest())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(copied)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == source(copied).digest() == first
    rows = {"train": list_rows(40), "validation": list_rows(8, "movie"), "test": list_rows(10, "picturE")}
    assert source(save_dataset(tmp_path / "changed", rows)).digest() != first
    assert (
        source(save_dataset(tmp_path / "named", rows, ["neg", "pos"])).digest() != source(tmp_path / "changed").digest()
    )
    assert source(folder, test_split="validation", val_split=None).digest() != first


def test_rows_of_a_data_set_that_has_changed_are_read_again(tmp_path: Path) -> None:
    for text in ("first", "second"):
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        save_dataset(tmp_path / "saved", {"train": list_rows(4, text)})
        assert next(read_rows(f"hf:{tmp_path / 'saved'}"))[1]["body"].startswith(text)


# -- of the hub -------------------------------------------------------------------------------------------------------


def test_a_name_of_the_hub_is_asked_for_with_its_revision_and_subset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(*arguments: Any, **more: Any) -> Any:
        asked.append((arguments, more))
        return datasets.load_from_disk(str(folder))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    hub_dataset._load_once.cache_clear()
    built = source("nobody/films", subset="short", revision="v2")
    assert texts(prepare(built), "test")[0].startswith("picture")
    assert built.digest() == source("nobody/films@v2?short").digest()
    assert asked == [(("nobody/films", "short"), {"revision": "v2"})]


def test_offline_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    refused(EmptyDatasetError, r"hf:nobody/films is no folder.*run once without HF_DATASETS_OFFLINE=1", "nobody/films")


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(error: type[KDError], says: str, path: Path | str, **settings: Any) -> None:
    """Building or preparing says so, in one line."""
    with pytest.raises(error, match=says) as caught:
        prepare(source(path, **settings))
    assert "\n" not in str(caught.value)


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    refused(
        ConfigError, "has no split 'tst', only train, validation, test; did you mean 'test'", folder, test_split="tst"
    )
    refused(ConfigError, "data.test_split=train: these rows train", folder, test_split="train")
    refused(ConfigError, "has no column 'bdy', only body, kind; did you mean 'body'", folder, text="bdy")
    refused(ConfigError, "data.revision=v2 is of data sets of the hub", folder, revision="v2")
    refused(EmptyDatasetError, "nothing: no such folder", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    refused(DataFormatError, "cannot be read .*: name a folder that save_to_disk", tmp_path / "empty")
    two = save_dataset(tmp_path / "two", {"one": list_rows(4), "other": list_rows(4)})
    refused(ConfigError, "has the splits one, other: which one is for train. data.train_split=NAME", two)
    hidden = {**list_rows(8), "kind": [0, 1, -1, 0, 1, 0, 1, 0]}
    refused(LabelError, "#train:3: kind is missing", save_dataset(tmp_path / "hidden", {"train": hidden}))


def test_code_of_a_data_set_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n")
    refused(DataFormatError, "cannot be read", folder)
    assert not (tmp_path / "ran").exists()


def test_without_the_library_its_install_line_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    hub_dataset._load_once.cache_clear()
    refused(MissingExtraError, r'datasets is not installed: pip install "kd-lightning\[datasets\]"', folder)


def test_what_is_no_address_is_a_path() -> None:
    assert parse_address("films.csv") is None
    assert parse_address("hf:") is None


def test_embeddings_need_no_label(folder: Path) -> None:
    words = ("task=embedding", f"data=hf:{folder}", "data.num_classes=8", "teacher=text_transformer", "student=bilstm")
    data = settings_of(*expand_files(words))["data"]
    assert (data["text"], data["label"], data["task"]) == ("body", None, "embedding")
    assert set(prepare(source(folder, label=None, task="embedding")).splits) == set(SPLITS)


@pytest.mark.parametrize("path", ["./films", "../films", "~/films", "/films"])
def test_a_path_that_is_mistyped_is_no_name_of_the_hub(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    refused(EmptyDatasetError, rf"hf:{path}: no such folder", path)


def test_a_file_of_ones_own_may_be_called_as_those_that_the_library_makes(tmp_path: Path, folder: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    rows = datasets.load_from_disk(str(folder))["train"]
    rows.to_csv(str(files / "cache-train.csv"))
    before = digest_dataset(DatasetAddress(str(files)))
    rows.select(range(30)).to_csv(str(files / "cache-train.csv"))
    assert digest_dataset(DatasetAddress(str(files))) != before
    before = digest_dataset(DatasetAddress(str(folder)))
    (folder / "train" / "cache-1.arrow").write_bytes(b"made")
    assert digest_dataset(DatasetAddress(str(folder))) == before


def test_which_of_several_splits_is_evaluated_has_to_be_said(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"has the splits train, validation, test: say which one, as in data\.path=hf:.*#test"
    ):
        check_file_settings({"path": f"hf:{folder}"})
    check_file_settings({"path": f"hf:{folder}#test"})
    check_file_settings({"path": f"hf:{folder / 'train'}"})
